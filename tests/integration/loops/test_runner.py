"""A loop that keeps failing is shown by its process, even if Redis rejects the note."""

import asyncio

from redis.asyncio import Redis

from jobs.queue.failing_loops import read_failing
from jobs.queue.status import read_standing
from tests.conftest import INBOX, PREFIX
from tests.support.processes import wait_until
from worker.loops.runner import Loops
from worker.status.health import why_not_ready
from worker.status.shared_state import SharedStateReader


async def test_failing_loop_is_shown_without_free_memory_in_redis(redis: Redis) -> None:
    loops = Loops(redis, PREFIX)
    shared = SharedStateReader(redis, prefix=PREFIX, inbox=INBOX, scan_schedule="0 3 * * *", failing=loops.failing)
    # Without free memory, Redis runs only scripts that it has loaded before.
    await shared.read()
    await redis.config_set("maxmemory", 1)
    task = loops.start("intake", lambda: redis.xadd(INBOX, {"no": "event"}))
    try:

        async def is_shown() -> bool:
            reasons = why_not_ready(await shared.read())
            return any("loop intake has failed" in each.text and "OutOfMemoryError" in each.text for each in reasons)

        await wait_until(is_shown)
        assert await read_failing(redis, PREFIX) == ()
        assert (await read_standing(redis, PREFIX, "ann")).state == "idle"
        await redis.config_set("maxmemory", 0)

        async def is_over() -> bool:
            return not (await shared.read()).overview.failing

        await wait_until(is_over)
    finally:
        await redis.config_set("maxmemory", 0)
        task.cancel()


async def test_loop_started_as_failing_is_noted_before_first_success(redis: Redis) -> None:
    loops, is_good = Loops(redis, PREFIX), asyncio.Event()
    task = loops.start("owner", is_good.wait, failing=TimeoutError())

    async def is_noted() -> bool:
        return [each.error for each in await read_failing(redis, PREFIX)] == ["TimeoutError"]

    async def is_over() -> bool:
        return await read_failing(redis, PREFIX) == () and loops.failing() == ()

    try:
        await wait_until(is_noted)
        assert [each.name for each in loops.failing()] == ["owner"]
        is_good.set()
        await wait_until(is_over)
    finally:
        task.cancel()
