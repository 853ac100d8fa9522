"""A worker reads arq's queue when the bell rings, and every few seconds without it."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from arq.connections import ArqRedis
from redis.asyncio import Redis

from sandbox.redis import EmbeddedRedis, embedded_redis
from tests.conftest import PREFIX
from tests.support.processes import wait_until
from worker.redis_client import open_redis, queue_name
from worker.wakeups import READ_SECONDS, Bell, WakingRedis, bell_of, ring

QUEUE = queue_name(PREFIX)
BELL = bell_of(QUEUE)
TRIES = 20
SHORT_READ_SECONDS = 0.4
"""The time-out of the client. A blocking read of the bell takes half of it."""


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    with embedded_redis(aof=True) as one:
        yield one


@asynccontextmanager
async def waking(url: str) -> AsyncIterator[ArqRedis]:
    redis = open_redis(url, PREFIX, client=WakingRedis)
    try:
        yield redis
    finally:
        await redis.aclose(close_connection_pool=True)


@asynccontextmanager
async def hearing(url: str) -> AsyncIterator[tuple[ArqRedis, Bell]]:
    redis = open_redis(url, PREFIX, read_seconds=SHORT_READ_SECONDS)
    bell = Bell(redis, QUEUE)
    try:
        yield redis, bell
    finally:
        await bell.close()
        await redis.aclose(close_connection_pool=True)


async def has_job(redis: ArqRedis) -> bool:
    """Read the queue as arq does, with a time that is too early for a new job."""
    return bool(await redis.zrangebyscore(QUEUE, min=float("-inf"), max=0, start=0, num=10))


async def reads(redis: Redis) -> int:
    """Return how often the queue was read so far."""
    counters = await redis.info("commandstats")
    return int(counters.get("cmdstat_zrangebyscore", {}).get("calls", 0))


@pytest.mark.usefixtures("redis")
async def test_job_is_found_after_a_ring(redis_server: EmbeddedRedis) -> None:
    async with waking(redis_server.url) as worker:
        assert not await has_job(worker)
        await worker.enqueue_job("sync_customer", _job_id="one")
        await ring(worker)
        await wait_until(partial(has_job, worker))


async def test_silent_bell_needs_no_read_of_the_queue(redis: Redis, redis_server: EmbeddedRedis) -> None:
    for _ in range(TRIES):
        async with waking(redis_server.url) as worker:
            began = time.monotonic()
            assert not await has_job(worker)
            before = await reads(redis)
            assert not await has_job(worker)
            # After READ_SECONDS the worker has to read the queue.
            if time.monotonic() - began < READ_SECONDS:
                assert await reads(redis) == before
                return
    raise AssertionError(f"{TRIES} tries took {READ_SECONDS} s or more")


async def test_job_is_found_although_its_ring_is_lost(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with waking(redis_server.url) as worker:
        assert not await has_job(worker)
        await worker.enqueue_job("sync_customer", _job_id="one")
        await redis.delete(BELL)
        await wait_until(partial(has_job, worker))


async def test_jobs_that_arq_left_are_read_again_without_a_ring(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with waking(redis_server.url) as worker:
        await worker.enqueue_job("sync_customer", _job_id="one")
        assert await has_job(worker)
        assert await has_job(worker)
        await redis.zrem(QUEUE, "one")
        assert not await has_job(worker)


async def test_other_queue_is_read_at_once(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with waking(redis_server.url) as worker:
        assert not await has_job(worker)
        await redis.zadd("another", {"one": 1})
        assert await worker.zrangebyscore("another", min=0, max=1) == [b"one"]


@pytest.mark.usefixtures("redis")
async def test_every_listener_hears_a_ring_once(redis_server: EmbeddedRedis) -> None:
    async with hearing(redis_server.url) as (client, one), hearing(redis_server.url) as (_, another):
        await ring(client)
        assert await one.rings_within(30)
        assert await another.rings_within(30)
        assert not await one.rings_within(0)


async def test_bell_with_smaller_ids_is_heard(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with hearing(redis_server.url) as (client, bell):
        await redis.xadd(BELL, {"by": "a Redis whose clock is ahead"}, id="9999999999999-0")
        assert await bell.rings_within(30)
        await redis.delete(BELL)
        await ring(client)
        assert await bell.rings_within(30)


@pytest.mark.parametrize("last_id", ["", "18446744073709551615-18446744073709551615"])
async def test_ring_repairs_an_unusable_bell(redis: Redis, redis_server: EmbeddedRedis, last_id: str) -> None:
    async with hearing(redis_server.url) as (client, bell):
        if last_id:
            await redis.xadd(BELL, {"by": "x"}, id=last_id)
            assert await bell.rings_within(30)
        else:
            await redis.set(BELL, "x")
            assert not await bell.rings_within(0.01)
        await ring(client)
        await ring(client)
        assert await redis.type(BELL) == b"stream"
        assert await bell.rings_within(30)


async def test_bell_expires(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with hearing(redis_server.url) as (client, _):
        await ring(client)
        assert await redis.pttl(BELL) > 0
        await ring(client)
        assert await redis.xlen(BELL) == 1


async def test_ring_after_a_restart_of_redis_is_heard(server: EmbeddedRedis) -> None:
    async with hearing(server.url) as (client, bell):
        await ring(client)
        assert await bell.rings_within(30)
        assert not await bell.rings_within(0.01)
        server.stop()
        server.start()
        await ring(client)
        assert await bell.rings_within(30)


async def test_job_is_found_after_redis_lost_its_data(server: EmbeddedRedis) -> None:
    async with waking(server.url) as worker, Redis.from_url(server.url) as admin:
        assert not await has_job(worker)
        await admin.flushall()
        server.stop()
        server.start()
        await worker.enqueue_job("sync_customer", _job_id="one")
        await ring(worker)
        await wait_until(partial(has_job, worker))


async def test_client_closes_in_the_middle_of_a_blocking_read(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with waking(redis_server.url) as worker:
        assert not await has_job(worker)
        assert not await has_job(worker)

    async def has_no_blocked_client() -> bool:
        return bool((await redis.info("clients"))["blocked_clients"] == 0)

    await wait_until(has_no_blocked_client)
