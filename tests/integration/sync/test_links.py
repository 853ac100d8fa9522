"""Links that are lost, requested, or belong to another customer: what is written, and what stays unchanged."""

import asyncio
from typing import Any

import pytest

from jobs.enqueue import outcome_of
from jobs.queue.breaker import read_breaker
from jobs.queue.record import read_customer
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX, World, read_dead
from tests.support.steps import change, reconcile, seed, time_passes, under


def updates(world: World) -> list[dict[str, Any]]:
    calls = [call for call in world.autumn.calls if call.path == "/v1/customers.update" and call.status == 200]
    return [{name: value for name, value in call.body.items() if name != "customer_id"} for call in calls]


def delete(world: World, stripe_id: str) -> None:
    world.stripe.customers[stripe_id] = {"id": stripe_id, "object": "customer", "deleted": True}


async def ends(world: World, event: str) -> tuple[str, str | None]:
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    return outcome.status, outcome.reason


async def test_lost_link_is_repaired_in_update_of_change(world: World) -> None:
    world.autumn.seed(
        "ann", name="Ann", email="ann@example.com", stripe_id=world.stripe.seed_customer(deleted=True)["id"]
    )
    await change(world, "ann", name="Ann Two", send_email_receipts=True)
    await world.run()
    (stripe_id,) = [each["id"] for each in world.stripe.customers.values() if not each.get("deleted")]
    assert updates(world) == [{"name": "Ann Two", "send_email_receipts": True, "stripe_id": stripe_id}]
    after = world.stripe.customers[stripe_id]
    assert (after["name"], after["email"], after["metadata"]["autumn_id"]) == ("Ann Two", "ann@example.com", "ann")


@pytest.mark.parametrize("stripe_id", [".", "..", "search", "a/b"])
async def test_malformed_stripe_id_in_autumn_is_repaired(world: World, stripe_id: str) -> None:
    world.autumn.seed("ann", name="Ann", stripe_id=stripe_id)
    event = await change(world, "ann", name="Ann Two")
    await world.run()
    assert (await ends(world, event))[0] == "applied"
    assert world.autumn.customers["ann"]["stripe_id"] in world.stripe.customers


async def test_customer_deleted_after_fetch_is_repaired_at_once(world: World) -> None:
    seed(world, "ann")
    before = world.autumn.customers["ann"]["stripe_id"]
    world.autumn.switches.add(Fault("hang", route="customers.update", times=1, seconds=3600))
    await change(world, "ann", name="Ann")
    running = asyncio.create_task(world.run())
    while not world.autumn.switches.fired:
        await world.redis.ping()
    delete(world, before)
    world.autumn.switches.release()
    await running
    linked = world.autumn.customers["ann"]["stripe_id"]
    assert linked != before
    assert world.stripe.customers[linked]["name"] == "Ann"


async def test_link_by_another_writer_during_update_does_not_halt(
    world: World,
) -> None:
    world.autumn.seed("ann", stripe_id="cus_gone")
    right = world.stripe.seed_customer(metadata={"autumn_id": "ann"})
    world.autumn.switches.add(Fault("hang", route="customers.update", times=1, seconds=3600))
    event = await change(world, "ann", name="Ann")
    running = asyncio.create_task(world.run())
    while not world.autumn.switches.fired:
        await world.redis.ping()
    world.autumn.customers["ann"]["stripe_id"] = right["id"]
    world.autumn.switches.release()
    await running
    assert await read_breaker(world.redis, PREFIX) is None
    assert await ends(world, event) == ("applied", None)
    assert world.stripe.customers[right["id"]]["name"] == "Ann"


async def test_deleted_customer_is_created_again(world: World) -> None:
    world.autumn.seed("ann", name="Ann")
    for expected in (1, 2, 3):
        await change(world, "ann", metadata={"attempt": expected})
        await world.run()
        linked = world.autumn.customers["ann"]["stripe_id"]
        assert world.stripe.customers[linked]["name"] == "Ann"
        assert len(world.stripe.customers) == expected
        delete(world, linked)


async def test_requested_stripe_id_is_linked_claimed_and_filled(world: World) -> None:
    seed(world, "ann")
    world.autumn.customers["ann"]["email"] = "ann@example.com"
    other = world.stripe.seed_customer(name="Other")
    await change(world, "ann", stripe_id=other["id"], name="Ann")
    await world.run()
    after = world.stripe.customers[other["id"]]
    assert world.autumn.customers["ann"]["stripe_id"] == other["id"]
    assert (after["name"], after["email"], after["metadata"]["autumn_id"]) == ("Ann", "ann@example.com", "ann")


@pytest.mark.parametrize("was", ["linked", "gone", "foreign", "ambiguous"])
async def test_requested_stripe_id_replaces_any_link(world: World, was: str) -> None:
    for _ in range(2):
        world.stripe.seed_customer(metadata={"autumn_id": "ann" if was == "ambiguous" else "bob"})
    first = next(iter(world.stripe.customers))
    wrong = {"linked": world.stripe.seed_customer()["id"], "gone": "cus_gone", "foreign": first, "ambiguous": None}
    world.autumn.seed("ann", stripe_id=wrong[was])
    right = world.stripe.seed_customer(metadata={"autumn_id": "ann"})
    event = await change(world, "ann", stripe_id=right["id"])
    await world.run()
    assert await ends(world, event) == ("applied", None)
    assert world.autumn.customers["ann"]["stripe_id"] == right["id"]
    assert {write.object_id for write in world.stripe.writes} == {right["id"]}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (None, "stripe_customer_missing"),
        ({"deleted": True}, "stripe_customer_missing"),
        ({"metadata": {"autumn_id": "bob"}}, "needs-review"),
    ],
)
async def test_forbidden_stripe_id_is_refused_before_update(
    world: World, fields: dict[str, Any] | None, reason: str
) -> None:
    seed(world, "ann")
    linked = world.autumn.customers["ann"]["stripe_id"]
    wanted = world.stripe.seed_customer(**fields)["id"] if fields is not None else "cus_missing"
    good = await change(world, "ann", name="Ann")
    bad = await change(world, "ann", stripe_id=wanted)
    await world.run()
    assert await ends(world, good) == ("applied", None)
    assert await ends(world, bad) == ("dead", reason)
    (letter,) = await read_dead(world.redis)
    assert letter["message"].startswith(f"changes.stripe_id: {wanted}")
    assert world.autumn.customers["ann"]["stripe_id"] == linked
    assert wanted not in {write.object_id for write in world.stripe.writes}


async def test_stripe_id_of_other_mode_halts(world: World) -> None:
    seed(world, "ann")
    wanted = world.stripe.seed_customer(livemode=True)
    await change(world, "ann", stripe_id=wanted["id"])
    await world.run()
    breaker = await read_breaker(world.redis, PREFIX)
    assert breaker is not None
    assert (breaker.kind, breaker.reason) == ("halt", "wrong_mode")
    assert updates(world) == []


@pytest.mark.parametrize("when_unlinked", ["create", "link-only"])
async def test_unlinked_customer_stays_unlinked_in_same_sync(world: World, when_unlinked: str) -> None:
    world = under(world, when_unlinked=when_unlinked)
    seed(world, "ann")
    await change(world, "ann", stripe_id=None, name="Ann")
    await world.run()
    assert world.autumn.customers["ann"]["stripe_id"] is None
    assert world.stripe.writes == []
    assert [call.endpoint for call in world.stripe.calls if "search" in call.endpoint] == []


@pytest.mark.parametrize("was_linked", [True, False])
async def test_change_after_refused_one_finds_our_customer(world: World, was_linked: bool) -> None:
    """The first change unlinks, the second is refused, the third links again: to our customer, not a new one."""
    seed(world, "ann")
    ours = world.autumn.customers["ann"]["stripe_id"]
    if not was_linked:
        world.autumn.customers["ann"]["stripe_id"] = None
    await change(world, "ann", stripe_id=None)
    await change(world, "ann", stripe_id="cus_missing")
    await change(world, "ann", name="Ann")
    await world.run()
    assert world.autumn.customers["ann"]["stripe_id"] == ours
    assert list(world.stripe.customers) == [ours]


async def test_second_customer_of_shared_stripe_customer_is_foreign(world: World) -> None:
    shared = world.stripe.seed_customer()
    for customer in ("ann", "bob"):
        world.autumn.seed(customer, stripe_id=shared["id"])
    await change(world, "ann", name="Ann")
    await world.run()
    event = await change(world, "bob", name="Bob")
    await world.run()
    assert await ends(world, event) == ("dead", "needs-review")
    (letter,) = await read_dead(world.redis)
    assert all(word in letter["message"] for word in ("ann", "bob", shared["id"], "replay"))
    assert world.stripe.customers[shared["id"]]["name"] == "Ann"
    assert world.autumn.customers["bob"]["name"] is None


async def test_rename_is_refused_with_instructions(world: World) -> None:
    seed(world, "ann")
    fields = {"customer_id": "ann", "changes": '{"name": "Ann", "new_customer_id": "anna"}', "event_id": "e1"}
    await world.redis.xadd(INBOX, dict(fields.items()))
    await world.run()
    (letter,) = await read_dead(world.redis)
    assert letter["reason"] == "invalid_event"
    assert letter["message"].startswith("changes.new_customer_id: this worker cannot rename a customer")
    assert world.autumn.calls == []


async def test_missing_autumn_customer_is_created_if_policy_says_so(world: World) -> None:
    world = under(world, when_missing="create")
    world.autumn.switches.add(Fault("lost", route="get_or_create", times=1))
    event = await change(world, "ann", name="Ann", email="ann@example.com")
    await world.run()
    await time_passes(world)
    await world.run()
    assert await ends(world, event) == ("applied", None)
    row = world.autumn.customers["ann"]
    assert (row["name"], world.stripe.customers[row["stripe_id"]]["email"]) == ("Ann", "ann@example.com")
    assert len(world.stripe.customers) == 1


async def test_reconcile_of_unknown_customer_creates_none(world: World) -> None:
    world = under(world, when_missing="create")
    event = await reconcile(world, "ann")
    await world.run()
    assert await ends(world, event) == ("dead", "customer_not_found")
    assert world.autumn.customers == {}


async def test_unlinked_customer_is_updated_without_search(world: World) -> None:
    world.stripe.search_available = False
    world.autumn.seed("ann", email="ann@example.com")
    event = await change(world, "ann", name="Ann")
    await world.run()
    assert await ends(world, event) == ("applied", None)
    assert world.stripe.customers == {}
    record = await read_customer(world.redis, PREFIX, "ann")
    assert "no search" in record.reports


async def test_long_name_is_refused_and_other_changes_are_applied(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", metadata={"a": 1})
    bad = await change(world, "ann", name="x" * 257)
    await change(world, "ann", metadata={"b": 2})
    await world.run()
    assert await ends(world, bad) == ("dead", "too_long")
    assert world.autumn.customers["ann"]["metadata"] == {"a": 1, "b": 2}
    assert all(len(body.get("name") or "") <= 256 for body in updates(world))


async def test_configured_metadata_is_copied_and_removed(world: World) -> None:
    world = under(world, metadata_keys=("plan", "seats"))
    seed(world, "ann")
    stripe_id = world.autumn.customers["ann"]["stripe_id"]
    await change(world, "ann", metadata={"plan": "pro", "seats": 3, "secret": "x"})
    await world.run()
    after = world.stripe.customers[stripe_id]["metadata"]
    assert (after["plan"], after["seats"], "secret" in after) == ("pro", "3", False)
    await change(world, "ann", metadata={"plan": None})
    await world.run()
    assert "plan" not in world.stripe.customers[stripe_id]["metadata"]
    del world.autumn.customers["ann"]["metadata"]["seats"]
    await reconcile(world, "ann")
    await world.run()
    assert world.stripe.customers[stripe_id]["metadata"]["seats"] == "3", "no change removed it"
