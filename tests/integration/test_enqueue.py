"""Apps send events and read outcomes."""

import asyncio
import subprocess
import sys

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.enqueue import outcome_of, send, send_many, send_sync
from jobs.events import new_update, read_entry
from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX, World

ANN = new_update(customer_id="ann", changes={"name": "Ann", "metadata": {"k": None}}, event_id="e1")


async def test_both_ways_to_send_write_the_same_entry(redis: Redis, redis_server: EmbeddedRedis) -> None:
    assert await send(redis, ANN) == "e1"
    with SyncRedis.from_url(redis_server.url) as client:
        assert send_sync(client, ANN) == "e1"
    entries = [read_entry(fields) for _, fields in await redis.xrange(INBOX)]
    assert entries == [ANN, ANN]


async def test_event_without_an_id_is_known_by_its_entry(redis: Redis, redis_server: EmbeddedRedis) -> None:
    update = new_update(customer_id="ann", type="customer.reconcile")
    sent = await send(redis, update)
    async with Redis.from_url(redis_server.url, decode_responses=True) as client:
        also = await send(client, update)
    assert [entry.decode() for entry, _ in await redis.xrange(INBOX)] == [sent, also]


async def test_outcome_is_unknown_then_waiting_then_applied(world: World) -> None:
    world.autumn.seed("ann")
    assert await outcome_of(world.redis, "e1") is None
    await send(world.redis, ANN)
    assert await outcome_of(world.redis, "e1") is None
    await world.mailbox.move()
    waiting = await outcome_of(world.redis, "e1")
    assert waiting is not None
    assert (waiting.status, waiting.customer_id, waiting.at) == ("waiting", "ann", None)
    pending = asyncio.create_task(outcome_of(world.redis, "e1", wait_seconds=10))
    await world.run()
    applied = await pending
    assert applied is not None
    assert applied.status == "applied"
    assert applied.at is not None


async def test_full_redis_adds_none_of_many_events(redis: Redis) -> None:
    updates = [new_update(customer_id="ann", changes={"name": "x" * 2_000}) for _ in range(1_000)]
    await redis.config_set("maxmemory", (await redis.info("memory"))["used_memory"] + 500_000)
    try:
        with pytest.raises(RedisError):
            await send_many(redis, updates)
    finally:
        await redis.config_set("maxmemory", 0)
    assert await redis.xlen(INBOX) == 0
    await send_many(redis, updates)
    assert await redis.xlen(INBOX) == 1_000


async def test_wait_that_times_out_returns_the_known_outcome(redis: Redis) -> None:
    assert await outcome_of(redis, "never sent", wait_seconds=0.05) is None


def test_apps_need_only_pydantic_and_redis() -> None:
    code = "import sys, jobs.enqueue; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"pydantic", "redis"} <= set(loaded)
    assert not {"arq", "httpx", "aiohttp", "stripe", "structlog", "typer", "worker", "config"} & set(loaded)
