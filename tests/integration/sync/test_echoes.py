"""Echoes: Stripe sends a webhook with the whole customer, and Autumn copies its name and e-mail, perhaps late.

Each webhook is delivered by hand at the worst moment. No unchanged value may be lost, and later changes of others stay.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from sandbox.faults import Fault
from tests.conftest import PREFIX, World, read_dead
from tests.support.echoes.steps import (
    RIGHT,
    STALE,
    apply,
    both,
    findings,
    later,
    plant,
    recheck,
    update_by_another_app,
)
from tests.support.steps import change, reconcile, seed, time_passes, under


@pytest.mark.parametrize("says_more", [False, True], ids=["changes only", "changes or not"])
@pytest.mark.parametrize("state", ["relinked", "linked with drift", "linked and unclaimed", "found by our id"])
async def test_unchanged_field_survives_change_of_another(world: World, state: str, *, says_more: bool) -> None:
    world.stripe.webhooks.without_change = says_more
    owner = "ann" if state in {"linked with drift", "found by our id"} else None
    is_linked = state in {"linked with drift", "linked and unclaimed"}
    stripe_id = plant(world, owner=owner, is_linked=is_linked, email=STALE)
    await apply(world, name="Ann B.", **({"stripe_id": stripe_id} if state == "relinked" else {}))
    await world.stripe.webhooks.deliver_all()
    await apply(world, metadata={"k": 1})
    await world.stripe.webhooks.deliver_all()
    await recheck(world)
    assert both(world, "email") == (RIGHT, RIGHT)
    assert both(world, "name") == ("Ann B.", "Ann B.")


async def test_change_of_name_leaves_autumn_nothing_to_write_to_stripe(world: World) -> None:
    plant(world, email=STALE)
    await apply(world, name="Ann B.")
    by_autumn = [write.changed for write in world.stripe.writes if write.why == "Autumn itself"]
    assert by_autumn == [{}]
    keys = [event["request"]["idempotency_key"] for event in world.stripe.webhooks.events]
    assert all(key.startswith("autumn:") for key in keys)


@pytest.mark.parametrize("says_more", [False, True], ids=["changes only", "changes or not"])
async def test_late_webhook_of_older_name_loses_nothing(world: World, *, says_more: bool) -> None:
    webhooks = world.stripe.webhooks
    webhooks.without_change = says_more
    plant(world)
    await apply(world, name="v1")
    first = len(webhooks.events)
    await apply(world, name="v2")
    for event in webhooks.events[:first]:
        await webhooks.deliver(event)
    await apply(world, metadata={"k": 1})
    assert both(world, "name") == ("v2", "v2")
    await webhooks.deliver_all()
    await recheck(world)
    assert both(world, "name") == ("v2", "v2")


@pytest.mark.parametrize("older", ["name", "email", "both"])
async def test_sync_reapplies_profile_that_echo_reverted(world: World, older: str) -> None:
    plant(world)
    await apply(world, name="Ann B.", email="ann.new@example.com")
    stored = {"name": "Ann", "email": RIGHT}
    row = world.autumn.customers["ann"]
    row.update(stored if older == "both" else {older: stored[older]})
    await reconcile(world, "ann")
    await world.run()
    assert both(world, "name") == ("Ann B.", "Ann B.")
    assert both(world, "email") == ("ann.new@example.com", "ann.new@example.com")


async def test_cleared_email_is_cleared_again_after_echo(world: World) -> None:
    plant(world)
    await apply(world, email=None)
    world.autumn.customers["ann"]["email"] = RIGHT
    await recheck(world)
    assert both(world, "email") == (None, None)


async def test_later_change_of_another_app_stays_for_every_field(world: World) -> None:
    stripe_id = plant(world)
    world.autumn.customers["ann"].update(send_email_receipts=True, metadata={"plan": "pro"})
    world = under(world, metadata_keys=("plan",))
    await apply(world, send_email_receipts=False, metadata={"plan": "free"}, name="N1")
    minute = later(world, 60)
    await update_by_another_app(world, send_email_receipts=True, metadata={"plan": "pro"}, name="Theirs")
    await apply(minute, email="ann.new@example.com")
    await recheck(minute)
    row = world.autumn.customers["ann"]
    assert (row["send_email_receipts"], row["metadata"]["plan"], row["name"]) == (True, "pro", "Theirs")
    shown = world.stripe.customers[stripe_id]
    assert (shown["metadata"]["autumn_send_email_receipts"], shown["metadata"]["plan"]) == ("true", "pro")
    assert both(world, "name") == ("Theirs", "Theirs")
    assert both(world, "email") == ("ann.new@example.com", "ann.new@example.com")


async def test_older_name_chosen_on_both_sides_stays(world: World) -> None:
    plant(world)
    await apply(world, name="v1")
    await apply(world, name="v2")
    await update_by_another_app(world, name="v1")
    await recheck(world)
    assert both(world, "name") == ("v1", "v1")


async def test_edit_in_stripe_after_change_stays(world: World) -> None:
    stripe_id = plant(world)
    await apply(world, name="v2")
    world.stripe.edit(stripe_id, name="By hand")
    await recheck(world)
    assert both(world, "name") == ("By hand", "By hand")
    await world.stripe.webhooks.deliver_all()
    await recheck(world)
    assert both(world, "name") == ("By hand", "By hand")


@pytest.mark.parametrize("by", ["an app in Autumn", "a person in Stripe"])
@pytest.mark.parametrize("metadata_between", [True, False])
async def test_late_webhook_of_another_writer_brings_no_older_value_back(
    world: World, by: str, *, metadata_between: bool
) -> None:
    stripe_id = plant(world)
    if by == "an app in Autumn":
        await update_by_another_app(world, name="Theirs")
        await apply(world, email="ann.new@example.com")
        expected = ("Theirs", "ann.new@example.com")
    else:
        world.stripe.edit(stripe_id, email="hand@example.com")
        await apply(world, name="Ann B.")
        expected = ("Ann B.", "hand@example.com")
    await world.stripe.webhooks.deliver_all()
    if metadata_between:
        await apply(world, metadata={"k": 1})
        assert (both(world, "name"), both(world, "email")) == tuple((value, value) for value in expected)
    await recheck(world)
    assert (both(world, "name"), both(world, "email")) == tuple((value, value) for value in expected)


@pytest.mark.parametrize("before", ["a change", "a change that an echo reverted", "another app"])
@pytest.mark.parametrize("then", ["many changes at once", "many changes one by one"])
async def test_late_webhook_from_before_many_changes_loses_nothing(world: World, before: str, then: str) -> None:
    world.stripe.webhooks.without_change = True
    plant(world)
    await (update_by_another_app(world, name="Before") if before == "another app" else apply(world, name="Before"))
    old = len(world.stripe.webhooks.events)
    if before == "a change that an echo reverted":
        world.autumn.customers["ann"]["name"] = "Ann"
    for number in range(30):
        await change(world, "ann", name=f"v{number}")
        if then == "many changes one by one":
            await world.run()
    await world.run()
    for event in world.stripe.webhooks.events[:old]:
        await world.stripe.webhooks.deliver(event)
    await recheck(world)
    assert both(world, "name") == ("v29", "v29")


@pytest.mark.parametrize("edited", [{"name": "By hand"}, {"name": "By hand", "email": "hand@example.com"}], ids=len)
@pytest.mark.parametrize("before", [None, "name", "email"])
@pytest.mark.parametrize("between", [None, "an event", "a reconcile", "a refused change"])
async def test_overwritten_edit_in_stripe_loses_to_later_change(
    world: World, between: str | None, before: str | None, edited: dict[str, str]
) -> None:
    stripe_id = plant(world)
    if before is not None:
        await apply(world, **{before: "v1" if before == "name" else "ann.new@example.com"})
    world.stripe.edit(stripe_id, **edited)
    if between == "an event":
        await apply(world, metadata={"k": 1})
    elif between == "a reconcile":
        await reconcile(world, "ann")
        await world.run()
    elif between == "a refused change":
        await change(world, "ann", email="foo@com")
    await apply(world, name="v2")
    await world.stripe.webhooks.deliver_all()
    await recheck(world)
    email = edited.get("email", "ann.new@example.com" if before == "email" else RIGHT)
    assert (both(world, "name"), both(world, "email")) == (("v2", "v2"), (email, email))


@pytest.mark.parametrize("between", ["an event", "a reconcile"])
async def test_overwritten_edit_in_stripe_returns_with_its_webhook(world: World, between: str) -> None:
    stripe_id = plant(world)
    world.stripe.edit(stripe_id, name="By hand")
    if between == "an event":
        await apply(world, metadata={"k": 1})
    else:
        await reconcile(world, "ann")
    await world.run()
    assert both(world, "name") == ("Ann", "Ann")
    await world.stripe.webhooks.deliver_all()
    await recheck(world)
    assert both(world, "name") == ("By hand", "By hand")


async def test_edit_before_each_recheck_causes_no_loop(world: World) -> None:
    stripe_id, rechecks = plant(world), 0
    await apply(world, email="ann.new@example.com")
    while await world.redis.zcard(f"{PREFIX}:rechecks"):
        world.stripe.edit(stripe_id, name="By hand")
        await time_passes(world)
        await world.run()
        rechecks += 1
        assert rechecks < 5
    assert both(world, "name") == ("By hand", "By hand")


async def test_reverted_value_named_by_waiting_change_is_not_written(world: World) -> None:
    plant(world)
    await apply(world, name="v1", email="ann.new@example.com")
    world.autumn.customers["ann"].update(name="Ann", email=RIGHT)
    await apply(world, name="v2")
    written = [write.changed["name"][1] for write in world.stripe.writes if "name" in write.changed]
    assert written == ["v1", "v2"]
    assert both(world, "email") == ("ann.new@example.com", "ann.new@example.com")


async def test_edit_in_stripe_loses_to_later_change_of_same_field(world: World) -> None:
    stripe_id = plant(world)
    world.stripe.edit(stripe_id, name="By hand")
    await apply(world, name="Ann B.")
    await world.stripe.webhooks.deliver_all()
    await recheck(world)
    assert both(world, "name") == ("Ann B.", "Ann B.")


@pytest.mark.parametrize("field", ["name", "send_email_receipts"])
async def test_stale_read_does_not_overrule_update_answer(world: World, field: str) -> None:
    stripe_id = plant(world)
    old, new = ("Ann", "v2") if field == "name" else (False, True)
    await apply(world, **{field: new})
    row = world.autumn.customers["ann"]
    row[field] = old  # as a lagging replica shows it
    await reconcile(world, "ann")
    await world.run()
    shown = world.stripe.customers[stripe_id]
    assert shown["metadata"]["autumn_send_email_receipts"] == ("true" if field == "send_email_receipts" else "false")
    assert shown["name"] == ("v2" if field == "name" else "Ann")
    row[field] = new
    await time_passes(world)
    await world.run()
    assert row[field] == new
    assert await read_dead(world.redis) == []


async def test_reads_use_cache_that_writes_update(world: World) -> None:
    plant(world)
    world.autumn.replica_lag_seconds = 1.5
    await apply(world, name="v2", send_email_receipts=True)
    await reconcile(world, "ann")
    await world.run()
    assert both(world, "name") == ("v2", "v2")
    assert world.autumn.customers["ann"]["send_email_receipts"] is True


async def test_echo_between_read_and_update_is_recognised(world: World) -> None:
    plant(world)
    await apply(world, email="ann.new@example.com")
    world.autumn.switches.add(Fault("hang", route="customers.update", times=1, seconds=3600))
    syncing = asyncio.create_task(apply(world, metadata={"k": 1}))
    while not world.autumn.switches.fired.get("hang"):
        await world.redis.ping()
    world.autumn.customers["ann"]["email"] = RIGHT
    world.autumn.switches.release()
    await syncing
    assert both(world, "email") == ("ann.new@example.com", "ann.new@example.com")


async def test_repeated_echo_becomes_finding_instead_of_loop(world: World) -> None:
    plant(world)
    await apply(world, name="New")
    row, looks = world.autumn.customers["ann"], 0
    while await world.redis.zcard(f"{PREFIX}:rechecks"):
        row["name"] = "Ann"
        await time_passes(world)
        await world.run()
        looks += 1
        assert looks < 20
    sent = [call.body["name"] for call in world.autumn.calls if "name" in call.body]
    assert (looks, sent) == (4, ["New"] * 4)
    assert await findings(world) == ["reapply-given-up"]
    await apply(world, name="Next")
    assert both(world, "name") == ("Next", "Next")
    assert await world.redis.zcard(f"{PREFIX}:rechecks") == 1


@pytest.mark.parametrize("failing", ["a read", "the update"])
async def test_failed_reapply_does_not_count(world: World, failing: str) -> None:
    plant(world)
    await apply(world, name="New")
    world.autumn.customers["ann"]["name"] = "Ann"
    switches, route = (
        (world.stripe.switches, "GET ") if failing == "a read" else (world.autumn.switches, "customers.update")
    )
    switches.add(Fault("503", route=route, times=4))
    for _ in range(6):
        await time_passes(world)
        await world.run()
    assert both(world, "name") == ("New", "New")
    assert await findings(world) == []


async def test_newer_change_of_other_writer_is_not_undone(world: World) -> None:
    plant(world)
    await apply(world, name="First")
    world.autumn.customers["ann"]["name"] = "Ann"
    await change(world, "ann", name="Newer")
    await recheck(world)
    assert both(world, "name") == ("Newer", "Newer")


async def test_older_value_is_forgotten_after_minutes(world: World) -> None:
    plant(world)
    await apply(world, name="v2")
    much_later = later(world, 601)
    await update_by_another_app(world, name=None)
    world.autumn.customers["ann"]["name"] = "Ann"
    await recheck(much_later)
    assert both(world, "name") == ("Ann", "Ann")


async def test_memory_holds_no_name_or_address(world: World) -> None:
    plant(world)
    await apply(world, name="Secret name", email="secret@example.com", metadata={"note": "secret note"})
    kept = await world.redis.get(f"{PREFIX}:remembered:ann")
    assert kept is not None
    assert b"ecret" not in kept
    assert 0 < await world.redis.ttl(f"{PREFIX}:remembered:ann") <= 600


@pytest.mark.parametrize(
    "changes", [{"send_email_receipts": True}, {"metadata": {"k": 1}}], ids=["a flag", "a metadata key"]
)
async def test_change_without_echo_needs_no_recheck(world: World, changes: Mapping[str, Any]) -> None:
    plant(world)
    await apply(world, **changes)
    assert await world.redis.zcard(f"{PREFIX}:rechecks") == 0


async def test_recheck_of_right_values_only_reads(world: World) -> None:
    plant(world)
    await apply(world, name="New", email="ann.new@example.com")
    autumn, stripe = len(world.autumn.calls), len(world.stripe.calls)
    await recheck(world)
    assert [call.path for call in world.autumn.calls[autumn:]] == ["/v1/customers.get"]
    assert [call.method for call in world.stripe.calls[stripe:]] == ["GET"]


async def test_rechecks_can_be_turned_off(world: World) -> None:
    seed(world, "ann")
    world = replace(world, deps=replace(world.deps, recheck_after_seconds=0))
    await apply(world, name="New")
    assert await world.redis.zcard(f"{PREFIX}:rechecks") == 0
