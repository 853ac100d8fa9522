"""Both ways to the worker, for the sync and the async client: the same events, outcomes and errors."""

import asyncio

import pytest
from redis.asyncio import Redis

from autumn_sync_client import InvalidEvents, InvalidField
from jobs.events import new_update, read_entry
from jobs.queue.record import read_totals
from tests.conftest import INBOX, PREFIX, World
from tests.integration.clients.conftest import AnyClient

NAMES = ["Ann", "Änn", "Ann 'quoted' \"twice\"\n", ""]


async def test_events_arrive_in_order_as_they_were_sent(client: AnyClient, redis: Redis) -> None:
    updates = [new_update(customer_id="ann", changes={"name": name}, event_id=f"e-{name or 0}") for name in NAMES]
    reconcile = {"customer_id": "bob", "type": "customer.reconcile", "event_id": "e/5?"}
    assert await client.send_many([*updates, reconcile]) == [*(str(each.event_id) for each in updates), "e/5?"]
    # Over HTTP, the name of the token becomes the source.
    received = [read_entry(fields).model_copy(update={"source": None}) for _, fields in await redis.xrange(INBOX)]
    assert received == [*updates, new_update(**reconcile)]


async def test_sent_id_is_the_event_id_of_the_entry(client: AnyClient, redis: Redis) -> None:
    sent = await client.send({"customer_id": "ann", "changes": {"metadata": {"plan": None, "deep": [1, {"a": 2.5}]}}})
    ((_, fields),) = await redis.xrange(INBOX)
    assert fields[b"event_id"].decode() == sent
    assert (
        read_entry(fields).changes
        == new_update(customer_id="ann", changes={"metadata": {"plan": None, "deep": [1, {"a": 2.5}]}}).changes
    )


async def test_wrong_event_keeps_all_events_out_of_the_inbox(client: AnyClient, redis: Redis) -> None:
    right, wrong = [{"customer_id": "ann", "changes": {field: "Ann"}} for field in ("name", "nmae")]
    with pytest.raises(InvalidEvents) as raised:
        await client.send_many([right, wrong])
    (field,) = raised.value.fields
    assert (field.entry, field.field) == (1, "changes.nmae")
    assert isinstance(field, InvalidField)
    assert await redis.xlen(INBOX) == 0


async def test_outcome_is_unknown_then_waiting_then_applied(client: AnyClient, world: World) -> None:
    world.autumn.seed("ann")
    event = await client.send({"customer_id": "ann", "changes": {"name": "Ann"}, "event_id": "signup/ann?"})
    await world.mailbox.move()
    waiting = await client.outcome(event)
    assert waiting is not None
    assert (waiting.status, waiting.customer_id, waiting.reason, waiting.at) == ("waiting", "ann", None, None)
    pending = asyncio.create_task(client.outcome(event, wait_seconds=30))
    await world.run()
    applied = await pending
    assert applied is not None
    assert (applied.status, applied.customer_id, applied.entry_id) == ("applied", "ann", waiting.entry_id)
    assert applied.at is not None


async def test_dead_letter_has_its_reason(client: AnyClient, world: World) -> None:
    event = await client.send({"customer_id": "nobody", "changes": {"name": "Ann"}})
    await world.run()
    outcome = await client.outcome(event, wait_seconds=10)
    assert outcome is not None
    assert (outcome.status, outcome.reason) == ("dead", "customer_not_found")


@pytest.mark.parametrize("event_id", [".", "..", "a/../b", "%2E", "ä b?#"])
async def test_any_event_id_has_its_outcome(client: AnyClient, world: World, event_id: str) -> None:
    world.autumn.seed("ann")
    await client.send({"customer_id": "ann", "changes": {"name": "Ann"}, "event_id": event_id})
    await world.run()
    outcome = await client.outcome(event_id, wait_seconds=10)
    assert outcome is not None
    assert outcome.status == "applied"


async def test_unknown_event_has_no_outcome(client: AnyClient) -> None:
    assert await client.outcome("never sent") is None
    assert await client.outcome("never sent", wait_seconds=0.1) is None


async def test_repeated_event_is_one_event(client: AnyClient, world: World) -> None:
    world.autumn.seed("ann")
    update = {"customer_id": "ann", "changes": {"name": "Ann"}, "event_id": "e1"}
    assert [await client.send(update) for _ in range(2)] == ["e1", "e1"]
    await world.run()
    assert (await read_totals(world.redis, PREFIX))["duplicates"] == 1
    outcome = await client.outcome("e1")
    assert outcome is not None
    assert outcome.status == "applied"
