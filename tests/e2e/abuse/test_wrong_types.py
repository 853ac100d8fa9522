"""A key of the wrong Redis type affects only its customer."""

import pytest
from redis.asyncio import Redis

from autumn_sync_client.outcomes import event_buckets
from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from jobs.queue.record import read_totals
from jobs.queue.status import read_overview, read_standing
from tests.conftest import INBOX, PREFIX, World, read_dead
from tests.support.busy import attacked_box
from tests.support.steps import change, seed
from tests.support.watching import watched


async def with_wrong(redis: Redis, key: str) -> str:
    """Give the key a type that the worker never uses, and return it."""
    await redis.delete(key)
    await redis.sadd(key, "wrong")  # type: ignore[misc]  # one type for both clients
    return key


async def test_wrong_event_ids_key_stops_no_move(world: World) -> None:
    seed(world, "ann")
    seconds, _ = await world.redis.time()
    for bucket in event_buckets(seconds):
        await world.redis.xadd(f"{PREFIX}:events:{bucket}", {"by": "an app"})
    event = await change(world, "ann", name="Ann", event_id="e1")
    await world.run()
    outcome = await outcome_of(world.redis, "e1")
    assert outcome is not None, event
    assert outcome.status == "applied"
    assert (await read_totals(world.redis, PREFIX))["keys_replaced"] == 3


async def test_unreadable_outcome_of_an_event_stops_no_move(world: World) -> None:
    seed(world, "ann")
    seconds, _ = await world.redis.time()
    await world.redis.hset(f"{PREFIX}:events:{int(seconds // 43_200)}", mapping={"e1": "{no json", "e2": "[1]"})  # type: ignore[misc]  # one type for both clients
    assert await outcome_of(world.redis, "e1") is None
    for event in ("e1", "e2"):
        await change(world, "ann", name=event, event_id=event)
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "e2"


async def test_wrong_mailbox_makes_dead_letters_for_one_customer(world: World) -> None:
    seed(world, "ann", "bob")
    wrong = await with_wrong(world.redis, f"{PREFIX}:mailbox:ann")
    await change(world, "ann", name="Ann")
    await change(world, "bob", name="Bob")
    await world.run()
    (letter,) = await read_dead(world.redis)
    assert letter["reason"] == "mailbox_unusable"
    assert letter["message"] == f"{wrong} is not a stream: delete this key, then replay"
    assert letter["sent.customer_id"] == "ann"
    assert world.autumn.customers["bob"]["name"] == "Bob"


async def test_mailbox_that_turns_wrong_stops_only_its_customer(world: World) -> None:
    seed(world, "ann", "bob")
    await change(world, "ann", name="Ann")
    await change(world, "bob", name="Bob")
    await world.mailbox.move()
    await with_wrong(world.redis, f"{PREFIX}:mailbox:ann")
    standing = await read_standing(world.redis, PREFIX, "ann")
    assert (standing.entries, standing.wrong_keys) == (0, (f"{PREFIX}:mailbox:ann",))
    await world.run()
    assert world.autumn.customers["bob"]["name"] == "Bob"
    assert await world.redis.zcard(f"{PREFIX}:oldest") == 0


async def test_mailbox_without_ids_left_stops_only_its_customer(world: World) -> None:
    seed(world, "ann", "bob")
    last = f"{2**64 - 1}-{2**64 - 1}"
    await world.redis.xadd(f"{PREFIX}:mailbox:ann", {"customer_id": "ann", "changes": '{"name": "Old"}'}, id=last)
    await change(world, "ann", name="Ann")
    await change(world, "bob", name="Bob")
    await world.run()
    (letter,) = await read_dead(world.redis)
    assert (letter["reason"], letter["sent.customer_id"]) == ("mailbox_unusable", "ann")
    assert world.autumn.customers["bob"]["name"] == "Bob"


@pytest.mark.parametrize("key", ["customer:ann", "remembered:ann", "lease:ann", "breaker", "rechecks", "totals"])
async def test_wrong_key_that_can_be_recreated_delays_no_customer(world: World, key: str) -> None:
    seed(world, "ann")
    await with_wrong(world.redis, f"{PREFIX}:{key}")
    await change(world, "ann", name="Ann")
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Ann"


async def test_outcomes_key_of_wrong_type_delays_no_customer(world: World) -> None:
    seed(world, "ann")
    await with_wrong(world.redis, f"{PREFIX}-outcomes")
    await change(world, "ann", name="Ann")
    await world.redis.xadd(INBOX, {"no": "event"})
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Ann"
    assert (await read_overview(world.redis, PREFIX, INBOX)).wrong_keys == (f"{PREFIX}-outcomes",)


@pytest.mark.parametrize(
    "key", [INBOX, *(f"{PREFIX}:{name}" for name in ("waiting", "dispatched", "oldest", "dead", "queue"))]
)
async def test_overview_names_a_wrong_key_and_does_not_fail(redis: Redis, key: str) -> None:
    await with_wrong(redis, key)
    assert (await read_overview(redis, PREFIX, INBOX)).wrong_keys == (key,)


async def test_worker_continues_when_its_queue_key_turns_wrong() -> None:
    async with attacked_box() as box, Redis.from_url(box.environment["REDIS_URL"]) as redis:
        async with watched(box.environment) as one:
            await redis.delete(f"{PREFIX}:queue")
            await redis.set(f"{PREFIX}:queue", "x")
            event = await send(redis, new_update(customer_id="user_0", changes={"name": "Name"}))
            outcome = await outcome_of(redis, event, wait_seconds=60)
            assert outcome is not None
            assert outcome.status == "applied"
            assert one.running.process.returncode is None
        assert any("key_replaced" in line and f"{PREFIX}:queue" in line for line in one.running.log)
