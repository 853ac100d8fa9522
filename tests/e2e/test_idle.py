"""Idle workers ask Redis for little, and take work and stop at once."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import pytest
from redis.asyncio import Redis

from jobs.queue.record import read_totals
from sandbox.everything import Sandbox
from tests.conftest import INBOX, PREFIX
from tests.support.processes import wait_until, worker
from tests.support.unlimited import FAST, seed, unlimited_sandbox

MOST_COMMANDS_PER_SECOND = 3
WINDOW_SECONDS = 12
"""Longer than each pause of an idle worker."""
LATE_SAMPLE_SECONDS = 8
WORKERS = 4


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with unlimited_sandbox() as everything:
        everything.environment.update(FAST)
        yield everything


@pytest.fixture
async def redis(box: Sandbox) -> AsyncIterator[Redis]:
    async with Redis.from_url(box.redis.url) as client:
        yield client


async def commands_in_a_window(redis: Redis) -> list[str]:
    """Return the commands that clients send in WINDOW_SECONDS of the clock of Redis, which cross no full minute.

    A worker writes a sample after each full minute, on a busy machine some seconds later.
    """
    sent: list[str] = []
    began: float | None = None
    async with redis.monitor() as monitor:
        async for each in monitor.listen():
            if began is None and LATE_SAMPLE_SECONDS < each["time"] % 60 < 60 - WINDOW_SECONDS - 1:
                began = each["time"]
            if began is not None and each["time"] - began >= WINDOW_SECONDS:
                break
            if began is not None and each["client_type"] != "lua":
                sent.append(each["command"])
    return sent


async def test_idle_worker_sends_at_most_three_commands_a_second(box: Sandbox, redis: Redis) -> None:
    async with worker(box.environment):
        await add(redis, seed(box, 1))
        await wait_until(partial(all_applied, redis, 1))

        async def is_idle() -> bool:
            return not await redis.exists(f"{PREFIX}:dispatched")

        await wait_until(is_idle)
        sent = await commands_in_a_window(redis)
    assert 0 < len(sent) <= MOST_COMMANDS_PER_SECOND * WINDOW_SECONDS, sent


async def test_four_workers_share_jobs(box: Sandbox, redis: Redis) -> None:
    customers = seed(box, 100)
    box.autumn.switches.latency_seconds = 0.1
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(worker(box.environment)) for _ in range(WORKERS)]
        sent = 0

        async def have_all_taken_some() -> bool:
            nonlocal sent
            await add(redis, customers)
            sent += len(customers)
            await wait_until(partial(all_applied, redis, sent))
            return all(any('"sync_settled"' in line for line in one.log) for one in running)

        # A busy machine may keep a worker waiting during the first events.
        await wait_until(have_all_taken_some)


async def test_idle_workers_take_work_after_a_restart_of_redis(box: Sandbox, redis: Redis) -> None:
    customers = seed(box, 8)
    async with worker(box.environment) as one, worker(box.environment) as another:
        await add(redis, customers[:4])
        await wait_until(partial(all_applied, redis, 4))
        box.redis.stop()
        box.redis.start()
        await redis.connection_pool.disconnect()
        await add(redis, customers[4:])
        await wait_until(partial(all_applied, redis, 8))
        assert [each.process.returncode for each in (one, another)] == [None, None]


async def test_idle_worker_ends_without_error_at_sigterm(box: Sandbox, redis: Redis) -> None:
    async with worker(box.environment) as running:
        await add(redis, seed(box, 1))
        await wait_until(partial(all_applied, redis, 1))
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.process.wait(), 30) == 0

        async def is_complete() -> bool:
            return running.is_read

        await wait_until(is_complete)
    levels = [json.loads(line).get("level") for line in running.log if line.startswith("{")]
    assert "error" not in levels
    assert not any("Traceback" in line for line in running.log)


async def add(redis: Redis, customers: list[str]) -> None:
    for customer in customers:
        await redis.xadd(INBOX, {"customer_id": customer, "changes": '{"metadata": {"plan": "pro"}}'})


async def all_applied(redis: Redis, count: int) -> bool:
    return (await read_totals(redis, PREFIX)).get("applied", 0) >= count
