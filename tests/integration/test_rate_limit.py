"""The shared rates on a real Redis: nobody exceeds them, however many ask."""

import asyncio
import time

import pytest
from redis.asyncio import Redis

from jobs.rate_limit import Limits
from tests.conftest import PREFIX


def limits(
    redis: Redis, *, updates: float = 1000, stripe: float = 1000, endpoint: float = 1000, places: int = 6
) -> Limits:
    return Limits(
        redis,
        prefix=PREFIX,
        autumn_updates=updates,
        autumn_max_in_flight=places,
        stripe_requests=stripe,
        stripe_endpoint_requests=endpoint,
    )


async def test_two_workers_together_stay_within_a_rate(redis: Redis) -> None:
    workers = [limits(redis, stripe=100), limits(redis, stripe=100)]
    begin = time.monotonic()
    await asyncio.gather(*(workers[index % 2].stripe(f"GET /{index}") for index in range(60)))
    # 60 calls at 100 a second, ten of which may come at once.
    assert time.monotonic() - begin >= 0.49


async def test_an_endpoint_has_a_rate_of_its_own(redis: Redis) -> None:
    one = limits(redis, endpoint=20)
    begin = time.monotonic()
    await asyncio.gather(*(one.stripe("GET /a") for _ in range(7)))
    slow = time.monotonic() - begin
    assert slow >= 0.24
    await asyncio.gather(*(one.stripe(f"GET /{index}") for index in range(7)))


async def test_requests_that_autumn_makes_itself_come_out_of_stripes_rate(redis: Redis) -> None:
    one = limits(redis, stripe=20)
    begin = time.monotonic()
    for _ in range(4):
        async with one.autumn_update(stripe_endpoints=["GET /a", "POST /b"]):
            pass
    assert time.monotonic() - begin >= 0.29


async def test_updates_in_flight_stay_below_their_number_over_all_workers(redis: Redis) -> None:
    workers = [limits(redis, places=3), limits(redis, places=3)]
    running, most = 0, 0

    async def update(worker: Limits) -> None:
        nonlocal running, most
        async with worker.autumn_update(stripe_endpoints=[]):
            running += 1
            most = max(most, running)
            await asyncio.wait_for(redis.ping(), 5)
            running -= 1

    await asyncio.gather(*(update(workers[index % 2]) for index in range(40)))
    assert most == 3
    assert await redis.zcard(f"{PREFIX}:limit:autumn-places") == 0


async def test_a_place_is_given_back_when_the_update_fails(redis: Redis) -> None:
    one = limits(redis, places=1)

    async def fail() -> None:
        async with one.autumn_update(stripe_endpoints=[]):
            raise ValueError

    for _ in range(3):
        with pytest.raises(ValueError):  # noqa: PT011 - it is the one above
            await fail()
    assert await redis.zcard(f"{PREFIX}:limit:autumn-places") == 0


async def test_every_key_of_a_rate_is_gone_when_it_is_not_used(redis: Redis) -> None:
    one = limits(redis)
    await one.stripe("GET /a")
    async with one.autumn_update(stripe_endpoints=["GET /a"]):
        for key in await redis.keys("*"):
            assert 0 < await redis.pttl(key) <= 90_000
