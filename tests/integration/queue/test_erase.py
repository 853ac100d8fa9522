"""Forgetting a customer leaves none of its data in Redis, and loses no waiting event."""

from collections.abc import Iterable
from typing import Any

import pytest
from redis.asyncio import Redis

from jobs.queue.erase import Forgotten, StillWaitingError, forget
from jobs.queue.watch.state import WatchKeys
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX, World, read_dead
from tests.support.steps import change, reconcile, seed, time_passes

ANN = "user_forgetme"
BAD = '{"emial": "ann@forget.example", "name": "Forgettable Ann"}'
PERSONAL = (ANN.encode(), b"ann@forget.example", b"Forgettable Ann", b"secret-metadata")


async def contents(redis: Redis) -> list[bytes]:
    """Return all keys, fields and values in Redis."""
    found: list[bytes] = []
    async for key in redis.scan_iter():
        kind = await redis.type(key)
        if kind == b"none":  # It expired in the meantime.
            continue
        read: dict[bytes, Any] = {
            b"string": redis.get,
            b"hash": redis.hgetall,
            b"stream": redis.xrange,
            b"zset": lambda name: redis.zrange(name, 0, -1),
            b"list": lambda name: redis.lrange(name, 0, -1),
            b"set": redis.smembers,
        }
        found += [key, *flat(await read[kind](key))]
    return found


def flat(value: Any) -> Iterable[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from flat(pair)
    elif isinstance(value, list | tuple | set):
        for each in value:
            yield from flat(each)


async def about_ann(redis: Redis) -> list[bytes]:
    return [each for each in await contents(redis) if any(word in each for word in PERSONAL)]


async def store_data_of_each_kind(world: World) -> None:
    """Store a claim, applied events, a scheduled recheck, and dead letters of each kind."""
    stripe = world.stripe.seed_customer()
    world.autumn.seed(ANN, stripe_id=stripe["id"])
    await change(world, ANN, name="Forgettable Ann", email="ann@forget.example", metadata={"note": "secret-metadata"})
    await change(world, ANN, event_id=f"event-of-{ANN}", send_email_receipts=True)
    await world.redis.xadd(INBOX, {"customer_id": ANN, "changes": BAD, "event_id": "a1"})
    many = {f"field{number}": "secret-metadata" for number in range(40)}
    await world.redis.xadd(INBOX, dict({"customer_id": ANN, "event_id": "a2", **many}.items()))
    await world.run()


async def store_data_of_watch(redis: Redis, customer: str) -> None:
    """Store an old link, an edit in Stripe, a request, and a deferred request."""
    keys = WatchKeys(PREFIX)
    await redis.set(keys.request(customer), "1-0")
    await redis.zadd(keys.later, {customer: 1})
    stored = [(keys.links, f"cus_{customer}", f"1:{customer}"), (keys.edits(customer), "name", "digest")]
    for key, field, value in [*stored, (keys.later_events, customer, "stripe-evt_1")]:
        await redis.hset(key, field, value)  # type: ignore[misc]  # one type for both clients


async def forget_ann(world: World) -> Forgotten:
    return await forget(world.redis, inbox=INBOX, prefix=PREFIX, customer_id=ANN)


async def test_forgotten_customer_leaves_nothing_and_others_keep_everything(world: World) -> None:
    seed(world, "bob")
    await change(world, "bob", event_id="b1", name="Bob")
    await change(world, "nobody", event_id="b2", name="x")
    await world.run()
    await store_data_of_watch(world.redis, "bob")
    before = sorted(await contents(world.redis))
    await store_data_of_each_kind(world)
    await store_data_of_watch(world.redis, ANN)
    assert len({word for word in PERSONAL for each in await about_ann(world.redis) if word in each}) == len(PERSONAL)
    assert await forget_ann(world) == Forgotten(dead_letters=2, outcomes=4, event_ids=4)
    assert await about_ann(world.redis) == []
    after = sorted(await contents(world.redis))
    totals = await world.redis.hgetall(f"{PREFIX}:totals")  # type: ignore[misc]  # one type for both clients
    lost = [each for each in before if each not in after and not each.isdigit() and b":limit:" not in each]
    assert lost == []
    new = [each for each in after if each not in before and not each.isdigit() and b":limit:" not in each]
    assert set(new) <= set(totals)


async def test_forgetting_unknown_customer_changes_nothing(world: World) -> None:
    assert await forget_ann(world) == Forgotten(0, 0, 0)


async def test_more_than_one_page_is_forgotten(world: World) -> None:
    for number in range(1100):
        await world.redis.xadd(INBOX, {"customer_id": ANN, "changes": "[]", "event_id": f"e{number}"})
    await world.run(rounds=40)
    assert len(await read_dead(world.redis)) == 1100
    assert await forget_ann(world) == Forgotten(1100, 1100, 1100)
    assert await about_ann(world.redis) == []


async def test_waiting_event_prevents_forgetting(world: World) -> None:
    seed(world, ANN)
    await change(world, ANN, name="Forgettable Ann")
    await world.run()
    before = await contents(world.redis)
    await change(world, ANN, name="Later Ann")
    with pytest.raises(StillWaitingError):
        await forget_ann(world)
    await world.mailbox.move()
    with pytest.raises(StillWaitingError):
        await forget_ann(world)
    await world.mailbox.dispatch(10)
    with pytest.raises(StillWaitingError):
        await forget_ann(world)
    assert await world.mailbox.take(ANN) is not None
    with pytest.raises(StillWaitingError):
        await forget_ann(world)
    assert [each for each in before if each not in await contents(world.redis) and ANN.encode() in each] == []


async def test_failing_event_prevents_forgetting(world: World) -> None:
    seed(world, ANN)
    world.autumn.switches.add(Fault("503"))
    await change(world, ANN, name="Forgettable Ann")
    await world.run()
    with pytest.raises(StillWaitingError):
        await forget_ann(world)
    world.autumn.switches.clear()
    await time_passes(world)
    await world.run()
    assert world.autumn.customers[ANN]["name"] == "Forgettable Ann"
    await forget_ann(world)
    assert await about_ann(world.redis) == []


async def test_events_after_forgetting_are_stored_as_usual(world: World) -> None:
    seed(world, ANN)
    await change(world, ANN, event_id="e1", name="Forgettable Ann")
    await world.run()
    await forget_ann(world)
    await change(world, ANN, event_id="e1", name="Ann again")
    await world.run()
    assert world.autumn.customers[ANN]["name"] == "Ann again"
    assert await about_ann(world.redis) != []


async def test_reconcile_after_forgetting_repairs_same_drift_again(world: World) -> None:
    seed(world, ANN)
    await change(world, ANN, name="Forgettable Ann")
    await world.run()
    stripe_id = world.autumn.customers[ANN]["stripe_id"]
    for _ in range(2):
        world.stripe.edit(stripe_id, name="Drift")
        await forget_ann(world)
        await reconcile(world, ANN)
        await world.run()
        assert world.stripe.customers[stripe_id]["name"] == "Forgettable Ann"
