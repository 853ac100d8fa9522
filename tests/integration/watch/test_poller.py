"""The poller: one process at a time, no event lost, each one acted on once, and failures that stop nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from jobs.queue.watch.state import read_watch
from jobs.scan.record import ScanKeys, ScanProgress, ScanRecord
from jobs.watch.poller import AGED_SECONDS, OVERLAP_SECONDS
from sandbox.faults import Fault
from sandbox.redis import embedded_redis
from tests.conftest import INBOX, PREFIX, World, opened_world
from tests.support.watches import KEYS, Clock, by_webhook, counted, plant_linked, poll, poller_of, queue_of, requested

REQUESTED = ScanKeys(PREFIX).requested
LIST = "GET /v1/events"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def world(redis: Redis, clock: Clock) -> AsyncIterator[World]:
    async with opened_world(redis, clock) as opened:
        yield opened


def empty(world: World, *customers: str) -> None:
    """Empty the e-mail addresses of these customers in Stripe."""
    for each in customers:
        world.stripe.edit(world.autumn.customers[each]["stripe_id"], email="")


def many(count: int, name: str = "c") -> list[str]:
    return [f"{name}{number}" for number in range(count)]


def list_calls(world: World) -> int:
    return sum(call.endpoint == "events.list" for call in world.stripe.calls)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 - it happens in Redis
            await asyncio.sleep(0.01)


async def set_position(redis: Redis, seconds_ago: float) -> None:
    await redis.hset(KEYS.watch, "position", str(int(time.time() - seconds_ago)))  # type: ignore[misc]


async def position(redis: Redis) -> float:
    state = await read_watch(redis, PREFIX)
    assert state.position_ms is not None
    return state.position_ms / 1000


async def test_first_poll_requests_a_scan_and_begins_now(world: World) -> None:
    begin = int(time.time())
    with capture_logs() as logs:
        await poll(world)
    assert await world.redis.exists(REQUESTED) == 1
    assert await position(world.redis) >= begin
    assert [line["event"] for line in logs if line["event"].startswith("watch_")] == ["watch_began"]
    await world.redis.delete(REQUESTED)
    await poll(world)
    assert await world.redis.exists(REQUESTED) == 0


async def test_lost_position_during_a_scan_begins_with_the_scan(world: World, clock: Clock) -> None:
    plant_linked(world, "ann")
    clock.ahead_seconds = -3 * 3600
    empty(world, "ann")
    clock.ahead_seconds = 0
    scans = ScanRecord(world.redis, PREFIX)
    await scans.begin()
    await scans.renew(ScanProgress(run="1", started_ms=int((time.time() - 4 * 3600) * 1000)))
    await poll(world)
    assert await requested(world.redis) == ["ann"]


async def test_position_that_aged_out_requests_a_scan_and_begins_now(world: World, clock: Clock) -> None:
    plant_linked(world, "ann", "ben")
    clock.ahead_seconds = -86_400
    empty(world, "ann")
    clock.ahead_seconds = 0
    empty(world, "ben")
    await set_position(world.redis, AGED_SECONDS + 60)
    await poll(world)
    assert await world.redis.exists(REQUESTED) == 1
    assert await position(world.redis) > time.time() - 60
    assert await requested(world.redis) == ["ben"]


@pytest.mark.parametrize("stored", ["x", "-1", str(10**11), ""])
async def test_impossible_position_counts_as_none(world: World, stored: str) -> None:
    await world.redis.hset(KEYS.watch, "position", stored)  # type: ignore[misc]
    await poll(world)
    assert await world.redis.exists(REQUESTED) == 1
    assert await position(world.redis) > time.time() - 60


async def test_downtime_is_caught_up_however_many_pages(world: World, clock: Clock) -> None:
    customers = many(250)
    plant_linked(world, *customers)
    for number, customer in enumerate(customers):
        clock.ahead_seconds = -86_400 + 60 * number
        empty(world, customer)
    clock.ahead_seconds = 0
    plant_linked(world, *many(120, "d"))
    empty(world, *many(120, "d"))
    await set_position(world.redis, 86_400)
    with capture_logs() as logs:
        await poll(world)
    assert sorted(await requested(world.redis)) == sorted([*customers, *many(120, "d")])
    assert (await counted(world.redis)).total() == 370
    assert await world.redis.exists(REQUESTED) == 0
    assert "watch_caught_up" in {line["event"] for line in logs}
    await poll(world)
    assert len(await requested(world.redis)) == 370


async def test_one_process_polls_for_all(world: World) -> None:
    pollers = [poller_of(world) for _ in range(5)]
    for _ in range(3):
        await asyncio.gather(*(each.tick() for each in pollers))
    assert list_calls(world) == 1


async def test_another_process_goes_on_after_the_holder_died(world: World) -> None:
    plant_linked(world, "ann")
    await poll(world)
    empty(world, "ann")
    dead = queue_of(world.redis, 1)
    await world.redis.hset(KEYS.watch, "next_poll_ms", "0")  # type: ignore[misc]
    assert (await dead.tick()).polls
    other = poller_of(world, poll_seconds=1)
    await other.tick()
    assert await requested(world.redis) == []

    async def is_done() -> bool:
        await other.tick()
        return bool(await requested(world.redis))

    await until(is_done)
    assert await requested(world.redis) == ["ann"]


async def test_interrupted_catch_up_goes_on_from_its_last_slice(world: World, clock: Clock) -> None:
    customers = many(60)
    plant_linked(world, *customers)
    for number, customer in enumerate(customers):
        clock.ahead_seconds = -10 * 3600 + 600 * number
        empty(world, customer)
    clock.ahead_seconds = 0
    await set_position(world.redis, 10 * 3600)
    begun = await position(world.redis)
    killed = asyncio.create_task(poller_of(world).tick())

    async def is_under_way() -> bool:
        return await position(world.redis) > begun + 3 * 3600

    await until(is_under_way)
    killed.cancel()
    await asyncio.wait({killed})
    reached = await position(world.redis)
    assert reached < time.time() - 60
    # A process that stops in order releases its lease.
    await poller_of(world).tick()
    assert sorted(await requested(world.redis)) == sorted(customers)
    assert await counted(world.redis) == {"customer.updated:requested": 60}


async def test_lost_lease_ends_the_poll(world: World) -> None:
    await poll(world)
    plant_linked(world, "ann")
    empty(world, "ann")
    world.stripe.switches.add(Fault("hang", route=LIST, times=1))
    running = asyncio.create_task(poll(world, poller_of(world, poll_seconds=1)))

    async def hangs() -> bool:
        return world.stripe.switches.fired.get("hang", 0) > 0

    await until(hangs)
    await world.redis.set(KEYS.lease, "another", px=60_000)
    with capture_logs() as logs:
        await running
    assert [(line["event"], line["error"]) for line in logs] == [("watch_poll_failed", "lease_lost")]
    assert await world.redis.get(KEYS.lease) == b"another"
    world.stripe.switches.release()


async def test_long_poll_keeps_its_lease_and_requests_deferred_reconciles(world: World) -> None:
    await poll(world)
    await world.redis.zadd(KEYS.later, {"ann": (time.time() + 3) * 1000})
    world.stripe.switches.add(Fault("hang", route=LIST, times=1))
    running = asyncio.create_task(poll(world, poller_of(world, poll_seconds=1)))

    async def is_requested() -> bool:
        return await requested(world.redis) == ["ann"]

    await until(is_requested)
    assert await world.redis.exists(KEYS.lease) == 1
    world.stripe.switches.release()
    await running
    assert (await read_watch(world.redis, PREFIX)).error == ""


async def test_late_unordered_and_repeated_events_are_each_acted_on_once(world: World, clock: Clock) -> None:
    customers = many(40)
    plant_linked(world, *customers)
    await poll(world)
    events = world.stripe.events
    events.ids_in_order, events.repeats, events.shifts = False, 0.3, 0.5
    events.list_delay_seconds = (0.0, OVERLAP_SECONDS - 60)
    empty(world, *customers)
    for _ in range(4):
        await poll(world)
        clock.ahead_seconds += OVERLAP_SECONDS / 4
    await poll(world)
    assert sorted(await requested(world.redis)) == sorted(customers)
    assert await counted(world.redis) == {"customer.updated:requested": 40}


async def test_withheld_event_leads_to_nothing(world: World) -> None:
    plant_linked(world, "ann", "ben")
    await poll(world)
    world.stripe.events.withheld = 1.0
    empty(world, "ann")
    world.stripe.events.withheld = 0.0
    empty(world, "ben")
    await poll(world)
    assert await requested(world.redis) == ["ben"]


async def test_event_seen_by_webhook_and_poll_acts_once(world: World) -> None:
    customers = many(20)
    plant_linked(world, *customers)
    await poll(world)
    empty(world, *customers)
    events = world.stripe.events.made
    await asyncio.gather(poll(world), *(by_webhook(world, event) for event in [*events, *events]))
    assert sorted(await requested(world.redis)) == sorted(customers)
    assert await counted(world.redis) == {"customer.updated:requested": 20}


async def test_many_events_of_one_customer_make_one_request(world: World) -> None:
    plant_linked(world, "ann")
    await poll(world)
    for number in range(10):
        world.stripe.edit(world.autumn.customers["ann"]["stripe_id"], email=f"{number}@example.com")
        empty(world, "ann")
    await poll(world)
    assert await requested(world.redis) == ["ann"]
    found = await counted(world.redis)
    assert (found["customer.updated:requested"], found["customer.updated:waiting"]) == (1, 9)


async def test_watch_is_off_until_the_permission_is_granted(world: World) -> None:
    plant_linked(world, "ann")
    world.stripe.switches.add(Fault("403", route=LIST))
    with capture_logs() as logs:
        for _ in range(2):
            await poll(world)
    assert [line["event"] for line in logs] == ["watch_turned_off"]
    state = await read_watch(world.redis, PREFIX)
    assert (state.off, state.error, state.behind_seconds(2**50)) == ("no_permission", "", 0)
    assert await world.redis.exists(REQUESTED) == 0
    calls = list_calls(world)
    await poller_of(world).tick()
    assert list_calls(world) == calls
    empty(world, "ann")
    world.stripe.switches.clear()
    with capture_logs() as logs:
        await poll(world)
    assert [line["event"] for line in logs] == ["watch_began", "watch_turned_on"]
    assert (await read_watch(world.redis, PREFIX)).off == ""
    assert await requested(world.redis) == ["ann"]


@pytest.mark.parametrize("kind", ["400", "429", "500", "503", "cut", "garbage"])
async def test_failed_poll_is_noted_and_loses_nothing(world: World, kind: str) -> None:
    plant_linked(world, "ann")
    await poll(world)
    before = await position(world.redis)
    empty(world, "ann")
    world.stripe.switches.add(Fault(kind, route=LIST))  # type: ignore[arg-type]
    with capture_logs() as logs:
        await poll(world)
    assert [line["event"] for line in logs] == ["watch_poll_failed"]
    state = await read_watch(world.redis, PREFIX)
    assert state.error
    assert await position(world.redis) == before
    calls = list_calls(world)
    await poller_of(world).tick()
    assert list_calls(world) == calls
    world.stripe.switches.clear()
    await poll(world)
    assert (await read_watch(world.redis, PREFIX)).error == ""
    assert await requested(world.redis) == ["ann"]


async def test_failure_of_a_later_page_acts_on_each_event_once(world: World) -> None:
    customers = many(150)
    plant_linked(world, *customers)
    await poll(world)
    empty(world, *customers)
    poller = poller_of(world)
    running = asyncio.create_task(poll(world, poller))

    async def is_under_way() -> bool:
        return bool(await world.redis.xlen(INBOX))

    await until(is_under_way)
    world.stripe.switches.add(Fault("503", route=LIST))
    await running
    world.stripe.switches.clear()
    await poll(world, poller)
    assert sorted(await requested(world.redis)) == sorted(customers)
    assert (await counted(world.redis)).total() == 150


async def test_malformed_events_stop_no_others(world: World) -> None:
    plant_linked(world, "ann")
    await poll(world)
    events = world.stripe.events
    events.record("customer.updated", {"id": 5, "metadata": []}, events.cause("app"), {"email": ["x"], "metadata": 1})
    events.record("customer.updated", {}, events.cause("app"))
    events.record("charge.succeeded", {"customer": {"id": 1}, "receipt_number": 5}, events.cause("app"))
    events.made[-2]["data"] = None
    empty(world, "ann")
    await poll(world)
    await poll(world)
    assert await requested(world.redis) == ["ann"]
    assert (await read_watch(world.redis, PREFIX)).error == ""
    assert (await counted(world.redis))["customer.updated:unreadable"] == 1


async def test_watch_goes_on_after_redis_restarted(tmp_path: Path) -> None:
    with embedded_redis(directory=tmp_path) as server:
        async with (
            Redis.from_url(server.url, retry=Retry(NoBackoff(), 0)) as client,
            opened_world(client) as world,
        ):
            plant_linked(world, "ann", "ben")
            poller = poller_of(world)
            await poll(world, poller)
            empty(world, "ann")
            await poll(world, poller)
            empty(world, "ben")
            await asyncio.to_thread(server.stop)
            with pytest.raises((RedisError, OSError)):
                await poller.tick()
            await asyncio.to_thread(server.start)
            await poll(world, poller)
            assert await requested(client) == ["ann", "ben"]
            assert await counted(client) == {"customer.updated:requested": 2}
