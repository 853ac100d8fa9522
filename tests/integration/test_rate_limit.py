"""Rates shared over a real Redis are never exceeded, however many workers use them."""

import asyncio
import time

import pytest
from redis.asyncio import Redis

from jobs.errors import Limit, Limited, TimedOut, TryAgain
from jobs.rate_limit import Limits, Rates, read_shares
from tests.conftest import PREFIX
from tests.support.processes import wait_until


def limits(
    redis: Redis,
    *,
    updates: float = 1000,
    stripe: float = 1000,
    endpoint: float = 1000,
    slots: int = 6,
    share: float | None = None,
    recover_seconds: float = 10,
) -> Limits:
    rates = Rates(
        autumn_updates=updates,
        autumn_max_in_flight=slots,
        stripe_requests=stripe,
        stripe_endpoint_requests=endpoint,
    )
    return Limits(redis, rates, prefix=PREFIX, share=share, recover_seconds=recover_seconds)


async def request(one: Limits, endpoint: str, limit: Limit | None = None) -> None:
    async with one.stripe(endpoint):
        if limit is not None:
            raise Limited("stripe", "rate_limit", limit=limit)


async def test_two_workers_together_stay_within_a_rate(redis: Redis) -> None:
    workers = [limits(redis, stripe=100), limits(redis, stripe=100)]
    begin = time.monotonic()
    await asyncio.gather(*(request(workers[index % 2], f"GET /{index}") for index in range(60)))
    # 60 calls at 100 a second, with a burst of ten.
    assert time.monotonic() - begin >= 0.49


async def test_one_waiter_per_process_polls_for_a_slot(redis: Redis) -> None:
    one = limits(redis, slots=1)

    async def update() -> None:
        async with one.autumn_update(stripe_endpoints=[]):
            pass

    async def scripts_run() -> int:
        stats = await redis.info("commandstats")
        return int(stats["cmdstat_evalsha"]["calls"])

    async with one.autumn_update(stripe_endpoints=[]):
        before, begin = await scripts_run(), time.monotonic()
        waiting = [asyncio.create_task(update()) for _ in range(20)]

        async def have_retried() -> bool:
            return await scripts_run() - before >= 30

        await wait_until(have_retried)
        # Each tried once, and then one of them every 10 to 30 ms.
        assert await scripts_run() - before <= 20 + (time.monotonic() - begin) / 0.01
    await asyncio.gather(*waiting)


async def test_endpoint_has_its_own_rate(redis: Redis) -> None:
    one = limits(redis, endpoint=20)
    begin = time.monotonic()
    await asyncio.gather(*(request(one, "GET /a") for _ in range(7)))
    slow = time.monotonic() - begin
    assert slow >= 0.24
    await asyncio.gather(*(request(one, f"GET /{index}") for index in range(7)))


async def test_autumns_own_requests_count_against_stripes_rate(redis: Redis) -> None:
    one = limits(redis, stripe=20)
    begin = time.monotonic()
    for _ in range(4):
        async with one.autumn_update(stripe_endpoints=["GET /a", "POST /b"]):
            pass
    assert time.monotonic() - begin >= 0.29


async def test_updates_in_flight_stay_bounded_over_all_workers(redis: Redis) -> None:
    workers = [limits(redis, slots=3), limits(redis, slots=3)]
    running, most = 0, 0

    async def update(worker: Limits) -> None:
        nonlocal running, most
        async with worker.autumn_update(stripe_endpoints=[]):
            running += 1
            most = max(most, running)
            await asyncio.wait_for(redis.ping(), 60)
            running -= 1

    await asyncio.gather(*(update(workers[index % 2]) for index in range(40)))
    assert most == 3
    assert await redis.zcard(f"{PREFIX}:limit:autumn-slots") == 0


async def test_slot_is_released_when_the_update_fails(redis: Redis) -> None:
    one = limits(redis, slots=1)

    async def fail() -> None:
        async with one.autumn_update(stripe_endpoints=[]):
            raise ValueError

    for _ in range(3):
        with pytest.raises(ValueError):  # noqa: PT011 - it is the one above
            await fail()
    assert await redis.zcard(f"{PREFIX}:limit:autumn-slots") == 0


async def test_every_key_of_an_unused_rate_expires(redis: Redis) -> None:
    one = limits(redis)
    await request(one, "GET /a")
    async with one.autumn_update(stripe_endpoints=["GET /a"]):
        for key in await redis.keys("*"):
            left_ms = await redis.pttl(key)
            # -1 would be a key that never expires, and -2 is one that has expired since.
            assert left_ms != -1
            assert left_ms <= 10_000


async def test_slot_is_held_a_minute_after_a_lost_answer(redis: Redis) -> None:
    one = limits(redis)
    slots = f"{PREFIX}:limit:autumn-slots"

    async def left_seconds() -> float:
        ((_, until_us),) = await redis.zrange(slots, 0, -1, withscores=True)
        seconds, _ = await redis.time()
        return float(until_us) / 1_000_000 - float(seconds)

    async def time_out() -> None:
        async with one.autumn_update(stripe_endpoints=[]):
            assert await left_seconds() < 6
            await redis.zadd(slots, {(await redis.zrange(slots, 0, 0))[0]: 0})
            await one.renew()
            assert -60 < await left_seconds() < 6
            raise TimedOut("autumn", "timeout", may_land_for_seconds=60)

    with pytest.raises(TimedOut):
        await time_out()
    await one.renew()
    assert await left_seconds() > 50


@pytest.mark.parametrize("kind", ["update", "create"])
@pytest.mark.parametrize(("seconds", "kept"), [(60.0, 1), (0.0, 0)])
async def test_slot_is_kept_while_a_write_may_still_land(redis: Redis, kind: str, seconds: float, kept: int) -> None:
    one = limits(redis)

    async def lose_the_answer() -> None:
        async with one.autumn_update(stripe_endpoints=[]) if kind == "update" else one.autumn_create():
            raise TryAgain("autumn", "connection_lost", may_land_for_seconds=seconds)

    with pytest.raises(TryAgain):
        await lose_the_answer()
    await one.renew()
    assert await redis.zcard(f"{PREFIX}:limit:autumn-slots") == kept


async def test_lost_answers_never_take_the_last_slot(redis: Redis) -> None:
    workers = [limits(redis, slots=3), limits(redis, slots=3)]

    async def update(worker: Limits, *, lost: bool) -> None:
        async with worker.autumn_update(stripe_endpoints=[]):
            if lost:
                raise TryAgain("autumn", "connection_lost", may_land_for_seconds=3600)

    for index in range(6):
        with pytest.raises(TryAgain):
            await update(workers[index % 2], lost=True)
    assert await redis.zcard(f"{PREFIX}:limit:autumn-slots") == 2
    async with asyncio.timeout(60):
        await asyncio.gather(*(update(worker, lost=False) for worker in workers))


async def test_create_takes_a_slot_but_no_update_share(redis: Redis) -> None:
    one = limits(redis, updates=0.01, slots=2)
    async with one.autumn_create(), one.autumn_create():
        assert await redis.zcard(f"{PREFIX}:limit:autumn-slots") == 2
        assert await redis.keys("*updates*") == []
    assert await redis.zcard(f"{PREFIX}:limit:autumn-slots") == 0


async def test_429_slows_its_rate_for_all_workers(redis: Redis) -> None:
    one, other = limits(redis, stripe=100, endpoint=100), limits(redis, stripe=100, endpoint=100)
    with pytest.raises(Limited):
        await request(one, "GET /a", "stripe-endpoint")
    begin = time.monotonic()
    await asyncio.gather(*(request(other, "GET /a") for _ in range(20)))
    # 20 calls at half of 100 a second, less the burst of ten.
    assert time.monotonic() - begin >= 0.19
    assert [key.decode() for key in await redis.keys("*:slow")] == [f"{PREFIX}:limit:stripe:GET /a:slow"]


@pytest.mark.parametrize(
    ("limit", "slowed"), [("stripe", "stripe"), ("stripe-endpoint", "stripe:GET /a"), ("autumn", "autumn-updates")]
)
async def test_each_429_reason_slows_its_own_rate(redis: Redis, limit: Limit, slowed: str) -> None:
    with pytest.raises(Limited):
        await request(limits(redis), "GET /a", limit)
    assert [key.decode() for key in await redis.keys("*:slow")] == [f"{PREFIX}:limit:{slowed}:slow"]


async def test_object_lock_slows_no_rate(redis: Redis) -> None:
    with pytest.raises(Limited):
        await request(limits(redis), "GET /a", "customer")
    assert await redis.keys("*:slow") == []


async def redis_us(redis: Redis) -> int:
    seconds, microseconds = await redis.time()
    return int(seconds) * 1_000_000 + int(microseconds)


async def takes(redis: Redis, one: Limits, seconds: float) -> bool:
    """Return whether a request reserves so many seconds of Stripe's rate. Nothing is reserved before and after."""
    rate = f"{PREFIX}:limit:stripe"
    begin_us = await redis_us(redis)
    await request(one, "GET /a")
    free_us, end_us = int(await redis.getdel(rate)), await redis_us(redis)
    # The reservation was made between the two times.
    return (free_us - end_us) / 1_000_000 <= seconds <= (free_us - begin_us) / 1_000_000


async def test_simultaneous_429s_slow_once_and_the_rate_recovers(redis: Redis) -> None:
    recover_seconds = 600
    one = limits(redis, stripe=0.02, recover_seconds=recover_seconds)
    assert await takes(redis, one, 50)
    await asyncio.gather(
        *(request(limits(redis, recover_seconds=recover_seconds), f"GET /{index}", "stripe") for index in range(5)),
        return_exceptions=True,
    )
    await redis.delete(f"{PREFIX}:limit:stripe")
    assert await takes(redis, one, 100)
    slow = f"{PREFIX}:limit:stripe:slow"
    await redis.hincrby(slow, "since", -recover_seconds * 1_000_000)  # type: ignore[misc]  # one type for both clients
    assert await takes(redis, one, 50)


@pytest.mark.parametrize(("steps", "factor"), [("2", 4), ("1000", 8), ("x", 1)])
async def test_share_that_is_read_is_the_share_that_throttles(redis: Redis, steps: str, factor: int) -> None:
    since = await redis_us(redis)
    await redis.hset(f"{PREFIX}:limit:stripe:slow", mapping={"steps": steps, "since": since})  # type: ignore[misc]  # one type for both clients
    assert await takes(redis, limits(redis, stripe=0.02), 50 * factor)
    assert await read_shares(redis, PREFIX, []) == {"autumn-updates": 1, "autumn-lists": 1, "stripe": 1 / factor}


async def test_scan_uses_no_more_than_its_share(redis: Redis) -> None:
    scan = limits(redis, stripe=20, share=0.5)
    begin = time.monotonic()
    await asyncio.gather(*(request(scan, f"GET /{index}") for index in range(8)))
    # Eight calls at half of 20 a second, less a burst of one.
    assert time.monotonic() - begin >= 0.69


async def test_events_do_not_wait_for_a_scan(redis: Redis) -> None:
    # The scan's second request waits for 50 s, and an event for a twentieth of a second.
    scan, events = limits(redis, stripe=20, share=0.001), limits(redis, stripe=20)
    reading = [asyncio.create_task(request(scan, f"GET /{index}")) for index in range(8)]

    async def all_wait_but_one() -> bool:
        free_us = int(await redis.get(f"{PREFIX}:limit:share:stripe") or 0)
        return sum(each.done() for each in reading) == 1 and free_us - await redis_us(redis) > 300_000_000

    await wait_until(all_wait_but_one)
    assert int(await redis.get(f"{PREFIX}:limit:stripe") or 0) - await redis_us(redis) <= 50_000
    await request(events, "GET /event")
    assert sum(each.done() for each in reading) == 1
    for each in reading:
        each.cancel()
    await asyncio.gather(*reading, return_exceptions=True)


async def test_list_has_its_own_rate_slowed_by_its_429(redis: Redis) -> None:
    one = limits(redis)

    async def list_page() -> None:
        async with one.autumn_list():
            raise Limited("autumn", "http_429", limit="autumn")

    with pytest.raises(Limited):
        await list_page()
    assert [key.decode() for key in await redis.keys("*:slow")] == [f"{PREFIX}:limit:autumn-lists:slow"]


@pytest.mark.alone
async def test_process_that_was_late_does_not_call_all_at_once(redis: Redis) -> None:
    one, sent = limits(redis, stripe=20), list[float]()

    async def call(number: int) -> None:
        async with one.stripe(f"GET /{number}"):
            sent.append(time.monotonic())

    calls = [asyncio.create_task(call(number)) for number in range(24)]

    async def has_begun() -> bool:
        return len(sent) >= 4

    await wait_until(has_begun)
    time.sleep(0.6)  # noqa: ASYNC251 - the process stands still, and the time of twelve calls passes
    await asyncio.gather(*calls)
    at_once = max(sum(first <= at < first + 0.1 for at in sent) for first in sent)
    # The burst, those that come in this time, and those that are a little late.
    assert at_once <= 2 + 2 + 2 + 1


async def test_late_call_does_not_wait_behind_those_without_a_slot(redis: Redis) -> None:
    one, write = limits(redis, slots=4, updates=20, endpoint=20), "POST /v1/customers/{id}"

    async def update() -> None:
        async with one.autumn_update(stripe_endpoints=[write]):
            pass

    calls = [asyncio.create_task(request(one, write)) for _ in range(20)]
    calls += [asyncio.create_task(update()) for _ in range(8)]

    async def slots_are_held() -> bool:
        return int(await redis.zcard(f"{PREFIX}:limit:autumn-slots")) == 4

    await wait_until(slots_are_held)
    time.sleep(1.5)  # noqa: ASYNC251 - the process stands still
    async with asyncio.timeout(60):
        await asyncio.gather(*calls)
