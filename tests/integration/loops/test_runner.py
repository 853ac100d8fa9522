"""Loops that keep failing: shown by their own process even if Redis takes no note of it."""

import asyncio

from redis.asyncio import Redis

from jobs.queue.failing import read_failing
from jobs.queue.status import read_standing
from tests.conftest import INBOX, PREFIX
from tests.support.processes import wait_until
from worker.loops.runner import Loops
from worker.status.health import why_a_person_should_look
from worker.status.shared_state import SharedStateReader


async def test_failing_loop_is_shown_by_its_process_if_redis_has_no_memory_left(redis: Redis) -> None:
    loops = Loops(redis, PREFIX)
    shared = SharedStateReader(redis, prefix=PREFIX, inbox=INBOX, scan_schedule="0 3 * * *", failing=loops.failing)
    # A Redis that has no memory left runs scripts it knows.
    await shared.read()
    await redis.config_set("maxmemory", 1)
    task = loops.start("intake", lambda: redis.xadd(INBOX, {"no": "event"}))
    try:

        async def is_shown() -> bool:
            reasons = why_a_person_should_look(await shared.read())
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


async def test_loop_that_starts_as_failing_is_noted_before_its_first_turn_ends(redis: Redis) -> None:
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
