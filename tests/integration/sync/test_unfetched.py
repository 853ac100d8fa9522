"""A sync that trusts an earlier fetch: one call for an update, two with a name or e-mail, and a fetch if in doubt."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from jobs.enqueue import outcome_of
from jobs.queue.breaker import FAILURES_TO_OPEN, read_breaker
from jobs.queue.record import read_customer
from sandbox.faults import Fault
from tests.conftest import PREFIX, World, read_dead
from tests.integration.sync.test_stripe_first import findings, in_stripe, plant, status
from tests.support.steps import change, make_due, reconcile, time_passes, under
from tests.support.watches import KEYS, poll, poller_of, watch_is_current


async def calls_of(world: World, *changes: dict[str, Any]) -> list[str]:
    """Return our calls to both services that these changes lead to, in order."""
    autumn, stripe = len(world.autumn.calls), len(world.stripe.calls)
    for each in changes:
        await change(world, "ann", **each)
    await world.run()
    calls = [(call.started, call.path.removeprefix("/v1/")) for call in world.autumn.calls[autumn:]]
    ours = [call for call in world.stripe.calls[stripe:] if "PythonBindings" in call.user_agent]
    calls += [(call.at, f"stripe {call.endpoint}") for call in ours]
    return [name for _, name in sorted(calls)]


@pytest.fixture
async def known(world: World) -> World:
    """A world with a linked customer that a sync has fetched, and a watch that is up to date."""
    plant(world)
    await watch_is_current(world.redis)
    await reconcile(world, "ann")
    await world.run()
    return world


def both(world: World, field: str) -> tuple[Any, Any]:
    return world.autumn.customers["ann"][field], in_stripe(world)[field]


GET, UPDATE = "customers.get", "customers.update"
RETRIEVE, WRITE = "stripe customers.retrieve", "stripe customers.update"


async def test_change_of_a_known_customer_is_one_call(known: World) -> None:
    assert await calls_of(known, {"metadata": {"plan": "pro"}}) == [UPDATE]
    assert await calls_of(known, {"metadata": {"plan": "max"}}, {"fingerprint": "f"}) == [UPDATE]
    assert known.autumn.customers["ann"]["metadata"] == {"plan": "max"}


async def test_new_name_is_two_calls_with_stripe_first(known: World) -> None:
    assert await calls_of(known, {"name": "Ann B."}) == [WRITE, UPDATE]
    assert both(known, "name") == ("Ann B.", "Ann B.")
    assert both(known, "email") == ("ann@example.com", "ann@example.com")
    assert await calls_of(known, {"name": "Ann B.", "email": "ann.b@example.com"}) == [WRITE, UPDATE]
    assert both(known, "email") == ("ann.b@example.com", "ann.b@example.com")


async def test_name_that_both_sides_had_is_written_again(known: World) -> None:
    known.stripe.edit(in_stripe(known)["id"], name="Edited")
    assert await calls_of(known, {"name": "Ann"}) == [WRITE, UPDATE]
    assert both(known, "name") == ("Ann", "Ann")


async def test_flag_is_written_to_stripe_after_the_update(known: World) -> None:
    assert await calls_of(known, {"send_email_receipts": True}) == [UPDATE, WRITE]
    assert in_stripe(known)["metadata"]["autumn_send_email_receipts"] == "true"
    assert await calls_of(known, {"metadata": {"k": 1}}) == [UPDATE]


async def test_copied_metadata_is_fetched_only_when_it_changes(world: World) -> None:
    world = under(world, metadata_keys=("plan",))
    plant(world)
    await watch_is_current(world.redis)
    assert await calls_of(world, {"metadata": {"plan": "pro"}}) == [GET, RETRIEVE, UPDATE, WRITE]
    assert await calls_of(world, {"metadata": {"other": 1}}) == [UPDATE]
    assert await calls_of(world, {"metadata": {"plan": "max"}}) == [UPDATE, RETRIEVE, WRITE]
    assert in_stripe(world)["metadata"]["plan"] == "max"
    assert await calls_of(world, {"metadata": {"plan": "max"}}) == [UPDATE]


@pytest.mark.parametrize("changes", [{"name": None}, {"stripe_id": None}, {"name": "n" * 257}], ids=str)
async def test_change_that_clears_or_links_is_fetched(known: World, changes: dict[str, Any]) -> None:
    assert (await calls_of(known, changes))[:1] == [GET]


async def test_reconcile_beside_a_change_is_fetched(known: World) -> None:
    await reconcile(known, "ann")
    assert (await calls_of(known, {"metadata": {"k": 1}}))[:2] == [GET, RETRIEVE]


async def test_fetch_is_trusted_for_the_time_of_the_setting(known: World) -> None:
    never = replace(known, deps=replace(known.deps, link_trust_seconds=0.0))
    assert await calls_of(never, {"metadata": {"k": 1}}) == [GET, RETRIEVE, UPDATE]
    assert await calls_of(known, {"metadata": {"k": 2}}) == [UPDATE]
    record = await read_customer(known.redis, PREFIX, "ann")
    assert record.verified is not None
    aged = {**vars(record.verified), "at": record.verified.at - 901}
    await known.redis.hset(f"{PREFIX}:customer:ann", "verified", json.dumps(aged))  # type: ignore[misc]  # one type for both clients
    assert await calls_of(known, {"metadata": {"k": 3}}) == [GET, RETRIEVE, UPDATE]
    assert await calls_of(known, {"metadata": {"k": 4}}) == [UPDATE]


async def test_trust_is_not_renewed_by_a_sync_that_fetches_nothing(known: World) -> None:
    before = (await read_customer(known.redis, PREFIX, "ann")).verified
    assert await calls_of(known, {"metadata": {"k": 1}}) == [UPDATE]
    assert (await read_customer(known.redis, PREFIX, "ann")).verified == before
    assert await calls_of(known, {"name": "Ann B."}) == [WRITE, UPDATE]
    after = (await read_customer(known.redis, PREFIX, "ann")).verified
    assert before is not None
    assert after is not None
    assert (after.at, after.digests != before.digests) == (before.at, True)


@pytest.mark.parametrize(
    "state",
    [
        {"position": "1"},
        {"off": "no_permission"},
        {"off": "setting"},
        {"position": "x"},
        {"pause_ms": "0"},
        {"position": str(2**40)},
    ],
    ids=str,
)
async def test_late_or_absent_watch_leads_to_a_fetch(known: World, state: dict[str, str]) -> None:
    await known.redis.hset(KEYS.watch, mapping=state)  # type: ignore[misc]  # one type for both clients
    assert await calls_of(known, {"metadata": {"k": 1}}) == [GET, RETRIEVE, UPDATE]
    await known.redis.delete(KEYS.watch)
    assert await calls_of(known, {"metadata": {"k": 2}}) == [GET, RETRIEVE, UPDATE]


async def test_change_by_another_writer_leads_to_a_fetch(known: World) -> None:
    poller = poller_of(known)
    await poll(known, poller)
    await known.run()
    assert await calls_of(known, {"metadata": {"k": 1}}) == [UPDATE]
    known.stripe.edit(in_stripe(known)["id"], phone="1")
    await poll(known, poller)
    assert await calls_of(known, {"metadata": {"k": 2}}) == [UPDATE]
    known.stripe.edit(in_stripe(known)["id"], email="ann.new@example.com")
    await poll(known, poller)
    assert (await calls_of(known, {"metadata": {"k": 3}}))[:2] == [GET, RETRIEVE]


@pytest.mark.parametrize("changes", ["1", "x"])
async def test_event_noted_since_the_fetch_began_leads_to_a_fetch(known: World, changes: str) -> None:
    record = f"{PREFIX}:customer:ann"
    await known.redis.hset(record, "changes_in_stripe", changes)  # type: ignore[misc]  # one type for both clients
    assert await calls_of(known, {"metadata": {"k": 1}}) == [GET, RETRIEVE, UPDATE]
    assert await calls_of(known, {"metadata": {"k": 2}}) == [UPDATE]


async def test_other_link_in_the_answer_leads_to_a_fetch(known: World) -> None:
    other = known.stripe.seed_customer(metadata={"autumn_id": "ann"}, name="Ann", email="ann@example.com")
    known.autumn.customers["ann"]["stripe_id"] = other["id"]
    assert await calls_of(known, {"metadata": {"k": 1}}) == [UPDATE, RETRIEVE, WRITE]
    assert in_stripe(known)["id"] == other["id"]
    assert in_stripe(known)["metadata"]["autumn_send_email_receipts"] == "false"


async def test_name_goes_to_the_new_link_if_another_app_linked(known: World) -> None:
    other = known.stripe.seed_customer(metadata={"autumn_id": "ann"}, name="Ann", email="ann@example.com")
    known.autumn.customers["ann"]["stripe_id"] = other["id"]
    assert (await calls_of(known, {"name": "Ann B."}))[:3] == [WRITE, UPDATE, RETRIEVE]
    assert both(known, "name") == ("Ann B.", "Ann B.")


async def test_other_name_in_the_answer_leads_to_a_fetch(known: World) -> None:
    known.autumn.customers["ann"]["name"] = "Ann C."
    assert await calls_of(known, {"metadata": {"k": 1}}) == [UPDATE, RETRIEVE, WRITE]
    assert both(known, "name") == ("Ann C.", "Ann C.")


async def test_lost_stripe_customer_is_found_in_the_same_sync(known: World) -> None:
    known.stripe.delete(in_stripe(known)["id"])
    for changes in ({"metadata": {"k": 1}}, {"name": "Ann B."}):
        event = await change(known, "ann", **changes)
        await known.run()
        assert await status(known, event) == ("applied", None)
    assert in_stripe(known)["metadata"]["autumn_id"] == "ann"
    assert both(known, "name") == ("Ann B.", "Ann B.")


async def test_stripe_customer_of_another_owner_is_found_before_autumn_is_written(known: World) -> None:
    in_stripe(known)["metadata"]["autumn_id"] = "bob"
    event = await change(known, "ann", name="Ann B.")
    await known.run()
    assert await status(known, event) == ("dead", "needs-review")
    assert known.autumn.customers["ann"]["name"] == "Ann"


async def test_other_environment_in_the_answer_halts(known: World) -> None:
    known.autumn.customers["ann"]["env"] = "live"
    event = await change(known, "ann", metadata={"k": 1})
    await known.run()
    outcome = await outcome_of(known.redis, event)
    assert outcome is not None
    assert outcome.status == "waiting"
    assert await read_dead(known.redis) == []


async def test_change_that_autumn_applied_is_applied_if_the_create_is_refused(known: World) -> None:
    in_stripe(known)["metadata"].pop("autumn_id")
    known.autumn.customers["ann"]["stripe_id"] = None
    known.stripe.switches.add(Fault("400", route="POST /v1/customers"))
    event = await change(known, "ann", metadata={"k": 1})
    await known.run()
    assert await status(known, event) == ("applied", None)
    assert [kind for kind, _ in await findings(known)][-1] == "refused-by-stripe"


async def test_change_that_autumn_applied_is_applied_if_the_fetch_is_refused(known: World) -> None:
    known.autumn.customers["ann"]["name"] = "Other"
    known.stripe.switches.add(Fault("400", route="GET /v1/customers/"))
    event = await change(known, "ann", metadata={"k": 1})
    await known.run()
    assert await status(known, event) == ("applied", None)


async def test_edit_that_autumn_refuses_stops_no_event(known: World) -> None:
    in_stripe(known)["email"] = "not an address"
    event = await change(known, "ann", name="Ann B.")
    await known.run()
    assert await status(known, event) == ("applied", None)
    assert both(known, "name") == ("Ann B.", "Ann B.")


async def test_late_webhook_of_another_field_does_not_undo_a_name(known: World) -> None:
    poller = poller_of(known)
    known.stripe.edit(in_stripe(known)["id"], phone="1")
    assert await calls_of(known, {"name": "Ann B."}) == [WRITE, UPDATE]
    await poll(known, poller)
    await known.stripe.webhooks.deliver_all()
    assert both(known, "name") == ("Ann", "Ann B.")
    await time_passes(known)
    await known.run()
    assert both(known, "name") == ("Ann B.", "Ann B.")


async def test_breaker_opens_while_only_stripe_fails(known: World) -> None:
    plant(known, "bob")
    known.stripe.switches.add(Fault("503", route="GET /v1/customers/"))
    for number in range(FAILURES_TO_OPEN):
        await change(known, "bob", metadata={"k": number})
        await change(known, "ann", metadata={"k": number})
        await known.run()
        await make_due(known.redis)
    assert await read_breaker(known.redis, PREFIX) is not None


async def test_receipts_that_are_turned_on_at_a_deploy_lead_to_a_fetch(known: World) -> None:
    deployed = under(known, receipts="open")
    assert await calls_of(deployed, {"metadata": {"k": 1}}) == [GET, RETRIEVE, UPDATE]


async def test_customer_with_a_finding_is_fetched_each_time(world: World) -> None:
    world = under(world, receipts="open")
    full = {f"k{number}": "v" for number in range(50)}
    stripe = plant(world)
    world.autumn.customers["ann"]["send_email_receipts"] = True
    world.stripe.seed_payment_intent(customer=stripe["id"], status="requires_action", metadata=full)
    await watch_is_current(world.redis)
    for number in range(2):
        assert (await calls_of(world, {"metadata": {"k": number}}))[:2] == [GET, RETRIEVE]
        assert [kind for kind, _ in await findings(world)] == ["receipt-not-set"]


async def test_refused_change_becomes_a_dead_letter_after_a_fetch(known: World) -> None:
    bad, good = await change(known, "ann", email="foo@com"), await change(known, "ann", metadata={"k": 1})
    await known.run()
    assert [await status(known, event) for event in (bad, good)] == [("dead", "stripe_refused"), ("applied", None)]
    assert both(known, "email") == ("ann@example.com", "ann@example.com")


@pytest.mark.parametrize("kind", ["lost", "503"])
async def test_update_of_unknown_fate_leads_to_a_fetch(known: World, kind: Any) -> None:
    known.autumn.switches.add(Fault(kind, route=UPDATE, times=1))
    assert await calls_of(known, {"name": "Ann B."}) == [WRITE, UPDATE]
    await time_passes(known)
    await known.run()
    assert both(known, "name") == ("Ann B.", "Ann B.")
    assert GET in [call.path.removeprefix("/v1/") for call in known.autumn.calls[-2:]]


async def test_customer_renamed_in_autumn_is_refused_as_before(known: World) -> None:
    known.autumn.customers["ann.new"] = known.autumn.customers.pop("ann")
    await change(known, "ann", metadata={"k": 1})
    await known.run()
    (letter,) = await read_dead(known.redis)
    assert letter["reason"] == "customer_not_found"


async def test_event_after_an_unseen_edit_of_the_same_field_wins(known: World) -> None:
    poller = poller_of(known)
    await poll(known, poller)
    await known.run()
    known.stripe.edit(in_stripe(known)["id"], name="Edited")
    assert await calls_of(known, {"name": "Ann B."}) == [WRITE, UPDATE]
    await known.stripe.webhooks.deliver_all()
    assert both(known, "name") == ("Edited", "Ann B.")
    await poll(known, poller)
    await reconcile(known, "ann")
    await known.run()
    assert both(known, "name") == ("Ann B.", "Ann B.")


async def watch_has_seen(world: World, seconds: float) -> None:
    """Move the position of the watch ahead, as if time had passed."""
    await world.redis.hset(KEYS.watch, "position", str(int(time.time() + seconds)))  # type: ignore[misc]  # one type for both clients


async def test_replaced_edit_is_left_open_until_the_watch_has_seen_it(known: World) -> None:
    stripe = in_stripe(known)["id"]
    known.stripe.edit(stripe, name="Edited")
    assert await calls_of(known, {"name": "Ann B."}) == [WRITE, UPDATE]
    await known.stripe.webhooks.deliver_all()
    await time_passes(known)
    await known.run()
    assert both(known, "name") == ("Edited", "Ann B.")
    await poll(known)
    await time_passes(known)
    await known.run()
    assert both(known, "name") == ("Ann B.", "Ann B.")


async def test_later_change_in_autumn_that_stripe_does_not_have_stays(known: World) -> None:
    assert await calls_of(known, {"name": "Ann B."}) == [WRITE, UPDATE]
    known.autumn.customers["ann"]["name"] = "Ann C."
    await time_passes(known)
    await known.run()
    assert both(known, "name") == ("Ann C.", "Ann B.")
    await watch_has_seen(known, 60)
    await time_passes(known)
    await known.run()
    assert both(known, "name") == ("Ann C.", "Ann C.")


async def test_edit_of_the_other_field_that_the_watch_has_not_seen_stays(known: World) -> None:
    known.stripe.edit(in_stripe(known)["id"], email="edited@example.com")
    assert await calls_of(known, {"metadata": {"k": 1}}) == [UPDATE]
    await known.stripe.webhooks.deliver_all()
    await reconcile(known, "ann")
    await known.run()
    assert both(known, "email") == ("edited@example.com", "edited@example.com")


async def test_new_payment_is_left_to_the_watch(world: World) -> None:
    world = under(world, receipts="open")
    plant(world)
    await watch_is_current(world.redis)
    assert (await calls_of(world, {"send_email_receipts": True}))[:3] == [GET, RETRIEVE, UPDATE]
    assert await calls_of(world, {"metadata": {"k": 1}}) == [UPDATE]
    assert await calls_of(world, {"name": "Ann B."}) == [WRITE, UPDATE]
    assert "stripe payment_intents.list" in await calls_of(world, {"email": "ann.b@example.com"})


async def test_record_holds_no_name_or_address(known: World) -> None:
    stored = await known.redis.hgetall(f"{PREFIX}:customer:ann")  # type: ignore[misc]  # one type for both clients
    assert stored[b"verified"]
    assert not any(b"example.com" in value or b"Ann" in value for value in stored.values())
