"""A sync from the inbox to both services over HTTP, in each state without a fault."""

import json
from typing import Any

import pytest

from jobs.enqueue import outcome_of
from jobs.queue.record import read_customer, read_totals
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX, World, read_dead
from tests.support.steps import change, reconcile

RECEIPTS = "autumn_send_email_receipts"


def updates(world: World) -> list[dict[str, Any]]:
    return [call.body for call in world.autumn.calls if call.path == "/v1/customers.update"]


def own_writes(world: World) -> list[Any]:
    """Return the writes to Stripe that carry our key. Those of Autumn do not."""
    return [
        call
        for call in world.stripe.calls
        if call.method == "POST" and (call.idempotency_key or "").startswith("autumn:")
    ]


async def test_linked_customer_gets_change_on_both_sides(world: World) -> None:
    stripe = world.stripe.seed_customer(name="Ann", email="old@example.com", metadata={"autumn_id": "ann"})
    world.autumn.seed("ann", name="Ann", email="old@example.com", stripe_id=stripe["id"])
    event = await change(world, "ann", email="new@example.com", send_email_receipts=True)
    await world.run()
    after = world.stripe.customers[stripe["id"]]
    assert world.autumn.customers["ann"]["email"] == "new@example.com"
    assert after["email"] == "new@example.com"
    assert after["metadata"] == {"autumn_id": "ann", RECEIPTS: "true"}
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    assert outcome.status == "applied"
    record = await read_customer(world.redis, PREFIX, "ann")
    assert (record.link, record.stripe_id, record.receipts) == ("linked", stripe["id"], "")


async def test_unlinked_customer_is_created_linked_and_filled(world: World) -> None:
    world.autumn.seed("ann", name="Ann", email="ann@example.com")
    await change(world, "ann", name="Ann Two")
    await world.run()
    (stripe,) = world.stripe.customers.values()
    assert world.autumn.customers["ann"]["stripe_id"] == stripe["id"]
    assert (stripe["name"], stripe["email"]) == ("Ann Two", "ann@example.com")
    assert stripe["metadata"] == {"autumn_id": "ann", RECEIPTS: "false"}


async def test_our_stripe_customer_is_linked_and_not_created_again(world: World) -> None:
    mine = world.stripe.seed_customer(email="other@example.com", metadata={"autumn_id": "ann"})
    world.stripe.seed_customer(email="ann@example.com", metadata={"autumn_id": "bob"})
    world.stripe.seed_customer(email="ann@example.com")
    world.autumn.seed("ann", email="ann@example.com")
    await change(world, "ann", name="Ann")
    await world.run()
    assert world.autumn.customers["ann"]["stripe_id"] == mine["id"]
    assert len(world.stripe.customers) == 3


async def test_same_email_alone_never_links_customers(world: World) -> None:
    stranger = world.stripe.seed_customer(email="ann@example.com")
    world.autumn.seed("ann", email="ann@example.com")
    await change(world, "ann", name="Ann")
    await world.run()
    assert world.autumn.customers["ann"]["stripe_id"] != stranger["id"]
    assert world.stripe.customers[stranger["id"]]["metadata"] == {}


async def test_unclaimed_customer_is_claimed(world: World) -> None:
    stripe = world.stripe.seed_customer(name="Ann", email="ann@example.com")
    world.autumn.seed("ann", name="Ann", email="ann@example.com", stripe_id=stripe["id"])
    await reconcile(world, "ann")
    await world.run()
    assert world.stripe.customers[stripe["id"]]["metadata"]["autumn_id"] == "ann"


async def test_reconcile_repairs_stripe_without_update_of_autumn(world: World) -> None:
    stripe = world.stripe.seed_customer(name="Edited", email="ann@example.com", metadata={"autumn_id": "ann"})
    world.autumn.seed("ann", name="Ann", email="ann@example.com", stripe_id=stripe["id"])
    await reconcile(world, "ann")
    await world.run()
    assert world.stripe.customers[stripe["id"]]["name"] == "Ann"
    assert updates(world) == []


async def test_customer_in_sync_is_not_written(world: World) -> None:
    metadata = {"autumn_id": "ann", RECEIPTS: "false"}
    stripe = world.stripe.seed_customer(name="Ann", email="ann@example.com", metadata=metadata)
    world.autumn.seed("ann", name="Ann", email="ann@example.com", stripe_id=stripe["id"])
    await reconcile(world, "ann")
    await world.run()
    assert own_writes(world) == []


async def test_only_requested_null_erases_value_in_stripe(world: World) -> None:
    stripe = world.stripe.seed_customer(name="Ann", email="ann@example.com", metadata={"autumn_id": "ann"})
    world.autumn.seed("ann", name=None, email="ann@example.com", stripe_id=stripe["id"])
    await change(world, "ann", email=None)
    await world.run()
    after = world.stripe.customers[stripe["id"]]
    assert (after["name"], after["email"]) == ("Ann", None)


async def test_null_stripe_id_unlinks_and_creates_nothing(world: World) -> None:
    stripe = world.stripe.seed_customer(metadata={"autumn_id": "ann"})
    world.autumn.seed("ann", stripe_id=stripe["id"])
    await change(world, "ann", stripe_id=None)
    await world.run()
    assert world.autumn.customers["ann"]["stripe_id"] is None
    assert list(world.stripe.customers) == [stripe["id"]]


async def test_burst_is_merged_into_few_updates(world: World) -> None:
    stripe = world.stripe.seed_customer(metadata={"autumn_id": "ann"})
    world.autumn.seed("ann", stripe_id=stripe["id"])
    for index in range(500):
        await change(world, "ann", name=f"Ann {index}", metadata={f"k{index % 7}": index})
    await world.run()
    assert len(updates(world)) == 5
    assert world.autumn.customers["ann"]["name"] == "Ann 499"
    assert world.stripe.customers[stripe["id"]]["name"] == "Ann 499"
    assert world.autumn.customers["ann"]["metadata"] == {f"k{index % 7}": index for index in range(493, 500)}
    totals = await read_totals(world.redis, PREFIX)
    assert (totals["applied"], totals["merged"]) == (500, 495)


async def test_invalid_entry_is_dead_lettered_and_others_are_applied(world: World) -> None:
    world.autumn.seed("ann")
    await change(world, "ann", name="First")
    await world.redis.xadd(INBOX, {"customer_id": "ann", "changes": '{"emial": "ann@example.com"}', "event_id": "bad"})
    await change(world, "ann", metadata={"after": True})
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "First"
    assert world.autumn.customers["ann"]["metadata"] == {"after": True}
    (letter,) = await read_dead(world.redis, PREFIX)
    assert letter["reason"] == "invalid_event"
    assert letter["message"].startswith("changes.emial")
    outcome = await outcome_of(world.redis, "bad")
    assert outcome is not None
    assert (outcome.status, outcome.reason) == ("dead", "invalid_event")


async def test_refused_change_is_found_and_others_are_applied(world: World) -> None:
    world.autumn.seed("ann")
    for index in range(6):
        await change(world, "ann", name=f"Ann {index}")
    await change(world, "ann", event_id="refused", stripe_id="cus_doesnotexist")
    for index in range(6, 9):
        await change(world, "ann", metadata={f"k{index}": index})
    await world.run()
    assert [letter["sent.event_id"] for letter in await read_dead(world.redis, PREFIX)] == ["refused"]
    assert world.autumn.customers["ann"]["name"] == "Ann 5"
    assert world.autumn.customers["ann"]["metadata"] == {"k6": 6, "k7": 7, "k8": 8}


async def test_unknown_customer_costs_one_fetch_and_dead_letters_each_event(world: World) -> None:
    for index in range(8):
        await change(world, "nobody", name=f"{index}")
    await world.run()
    letters = await read_dead(world.redis, PREFIX)
    assert {letter["reason"] for letter in letters} == {"customer_not_found"}
    assert (len(letters), [call.path for call in world.autumn.calls]) == (8, ["/v1/customers.get"])


async def test_foreign_customer_is_not_changed_and_needs_review(world: World) -> None:
    stripe = world.stripe.seed_customer(name="Bob", email="bob@example.com", metadata={"autumn_id": "bob"})
    world.autumn.seed("ann", name="Ann", stripe_id=stripe["id"])
    await reconcile(world, "ann")
    await world.run()
    assert own_writes(world) == []
    (letter,) = await read_dead(world.redis, PREFIX)
    assert letter["reason"] == "needs-review"
    assert "bob" in letter["message"]
    assert stripe["id"] in letter["message"]


async def test_two_customers_of_ours_need_review(world: World) -> None:
    for _ in range(2):
        world.stripe.seed_customer(metadata={"autumn_id": "ann"})
    world.autumn.seed("ann", name="Ann")
    await reconcile(world, "ann")
    await world.run()
    assert own_writes(world) == []
    assert world.autumn.customers["ann"]["stripe_id"] is None
    assert [letter["reason"] for letter in await read_dead(world.redis, PREFIX)] == ["needs-review"]


async def test_failed_search_creates_nothing_and_is_retried(world: World) -> None:
    world.autumn.seed("ann", email="ann@example.com")
    world.stripe.switches.add(Fault("500", route="GET /v1/customers/search", times=1))
    event = await change(world, "ann", name="Ann")
    await world.run()
    assert world.stripe.customers == {}
    record = await read_customer(world.redis, PREFIX, "ann")
    assert (record.attempts, record.last_error != "") == (1, True)
    await world.redis.zadd(f"{PREFIX}:waiting", {"ann": 0})
    await world.run()
    assert len(world.stripe.customers) == 1
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    assert outcome.status == "applied"


async def test_lost_answer_of_create_makes_no_second_customer(world: World) -> None:
    world.autumn.seed("ann")
    world.stripe.search_lag_seconds = 3600
    world.stripe.switches.add(Fault("lost", route="POST /v1/customers", times=1))
    await change(world, "ann", name="Ann")
    await world.run()
    await world.redis.zadd(f"{PREFIX}:waiting", {"ann": 0})
    await world.run()
    assert len(world.stripe.customers) == 1
    assert world.autumn.customers["ann"]["stripe_id"] in world.stripe.customers


async def test_every_write_to_stripe_carries_key_that_autumn_knows(world: World) -> None:
    world.autumn.seed("ann", name="Ann")
    await change(world, "ann", email="ann@example.com")
    await world.run()
    await change(world, "ann", send_email_receipts=True)
    await world.run()
    keys = [call.idempotency_key for call in own_writes(world)]
    assert len(keys) == len(set(keys)) == 4
    assert all(len(key) <= 255 for key in keys)


async def test_value_that_alternates_is_written_each_time(world: World) -> None:
    stripe = world.stripe.seed_customer(metadata={"autumn_id": "ann", RECEIPTS: "false"})
    world.autumn.seed("ann", stripe_id=stripe["id"])
    for receipts in (True, False, True):
        await change(world, "ann", send_email_receipts=receipts)
        await world.run()
        assert world.stripe.customers[stripe["id"]]["metadata"][RECEIPTS] == str(receipts).lower()


async def test_wrong_mode_halts_and_loses_nothing(world: World) -> None:
    stripe = world.stripe.seed_customer(metadata={"autumn_id": "ann"}, livemode=True)
    world.autumn.seed("ann", stripe_id=stripe["id"], name="Ann")
    await reconcile(world, "ann")
    await world.run()
    assert own_writes(world) == []
    assert await read_dead(world.redis, PREFIX) == []
    record = await read_customer(world.redis, PREFIX, "ann")
    assert (record.last_error, record.attempts) == ("wrong_mode", 0)
    assert await world.redis.zcard(f"{PREFIX}:waiting") == 1


async def test_outcome_stream_holds_no_sent_values(world: World) -> None:
    world.autumn.seed("ann")
    await change(world, "ann", event_id="e1", email="ann@example.com")
    await world.run()
    ((_, fields),) = await world.redis.xrange(f"{PREFIX}-outcomes")
    assert {key.decode() for key in fields} == {"customer", "entry", "event", "status", "reason"}
    assert fields[b"event"] == b"e1"
    assert "example.com" not in json.dumps({key.decode(): value.decode() for key, value in fields.items()})


async def test_hundred_customers_do_not_wait_for_hanging_one(world: World) -> None:
    world.autumn.seed("slow", name="Slow")
    world.autumn.seed("ann", name="Ann")
    world.autumn.switches.add(Fault("503", route="customers.update", times=1))
    await change(world, "slow", name="x")
    await world.run()
    await change(world, "ann", name="y")
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "y"
    assert await world.redis.zcard(f"{PREFIX}:waiting") == 1


@pytest.mark.parametrize("count", [1, 3])
async def test_flag_without_email_address_is_recorded(world: World, count: int) -> None:
    stripe = world.stripe.seed_customer(metadata={"autumn_id": "ann"})
    world.autumn.seed("ann", stripe_id=stripe["id"])
    for _ in range(count):
        await change(world, "ann", send_email_receipts=True)
    await world.run()
    record = await read_customer(world.redis, PREFIX, "ann")
    assert record.receipts == "no e-mail address"
