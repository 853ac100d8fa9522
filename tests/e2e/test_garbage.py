"""A real worker keeps its memory flat and applies good events behind much large garbage in the inbox."""

from collections.abc import AsyncIterator

import psutil
import pytest
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from sandbox.everything import Sandbox, sandbox
from tests.conftest import INBOX, PREFIX
from tests.support.processes import wait_until, worker

ENTRIES = 30_000
GROWTH_MB = 25
"""An entry of 5 MB takes some of it, because the blocking read returns the entry once."""


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        yield everything


def garbage(index: int) -> dict[str | bytes, str | bytes]:
    kinds: list[dict[str | bytes, str | bytes]] = [
        {"foo": "bar"},
        {"customer_id": "a b", "changes": "{}"},
        {b"\xff\xfe": b"\x00\xff" * 20},
        {"customer_id": b"\x80abc", "changes": b"\x00"},
    ]
    return kinds[index % len(kinds)]


async def fill(redis: Redis) -> None:
    for first in range(0, ENTRIES, 5000):
        async with redis.pipeline(transaction=False) as pipe:
            for index in range(first, first + 5000):
                pipe.xadd(INBOX, dict(garbage(index).items()))
            await pipe.execute()
    for _ in range(10):
        await redis.xadd(INBOX, {"customer_id": "ann", "changes": b"x" * 5_000_000})


async def test_garbage_is_dead_lettered_and_delays_no_good_event(
    box: Sandbox,
) -> None:
    box.autumn.seed("ann")
    async with worker(box.environment) as running, Redis.from_url(box.environment["REDIS_URL"]) as redis:
        process = psutil.Process(running.pid)
        before = process.memory_info().rss
        await fill(redis)
        event = await send(redis, new_update(customer_id="ann", changes={"name": "Ann"}))
        await wait_until(lambda: _moved(redis), seconds=90)
        outcome = await outcome_of(redis, event, wait_seconds=100)
        assert outcome is not None
        assert outcome.status == "applied"
        assert await redis.xlen(f"{PREFIX}:dead") == ENTRIES + 10
        assert (process.memory_info().rss - before) / 1e6 < GROWTH_MB


async def _moved(redis: Redis) -> bool:
    return int(await redis.xlen(INBOX)) == 0
