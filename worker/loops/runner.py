"""The loops beside the jobs: each repeats its function while the process lives, also after an error.

A loop that keeps failing is noted in Redis, for /readyz of all processes and `customer-sync status`. A Redis without
free memory rejects the note. Then only /readyz and the page of the same process show it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.errors import describe
from jobs.queue.failing_loops import FailingLoop, clear_failing, note_failing
from worker.redis_errors import reason_of

log = structlog.get_logger(__name__)

PAUSE_AFTER_ERROR_SECONDS: Final = 1.0
FAILING_AFTER_SECONDS: Final = 3.0
"""A loop keeps failing after this time without a success. Shorter failures may be a short fault of Redis."""


class Loops:
    """Starts loops, and notes in Redis those that keep failing."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        """Do no I/O."""
        self._redis = redis
        self._prefix = prefix
        self._failing: dict[str, FailingLoop] = {}

    def failing(self) -> tuple[FailingLoop, ...]:
        """Return the loops of this process that keep failing."""
        return tuple(self._failing.values())

    def start(
        self,
        name: str,
        run_once: Callable[[], Awaitable[Any]],
        pause_seconds: float = 0.0,
        *,
        failing: Exception | None = None,
    ) -> asyncio.Task[None]:
        """Repeat `run_once` until cancelled, with a pause after each run. An error ends neither this loop nor others.

        `name` is one of jobs.queue.failing_loops.LOOPS. With `failing`, the loop counts as failing until it succeeds.
        """
        return asyncio.create_task(self._run(name, run_once, pause_seconds, failing))

    async def _run(
        self, name: str, run_once: Callable[[], Awaitable[Any]], pause_seconds: float, failing: Exception | None
    ) -> None:
        failing_since: float | None = None
        if failing is not None:
            failing_since = time.monotonic()
            await self._note(name, 0.0, failing)
        while True:
            try:
                await run_once()
                failing_since = None
                if name in self._failing:
                    await clear_failing(self._redis, self._prefix, name)
                    del self._failing[name]
                await asyncio.sleep(pause_seconds)
            except Exception as error:
                log.error("loop_failed", loop=name, error=reason_of(error), cause=describe(error))
                now = time.monotonic()
                failing_since = now if failing_since is None else failing_since
                if now - failing_since >= FAILING_AFTER_SECONDS:
                    await self._note(name, now - failing_since, error)
                await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)

    async def _note(self, name: str, seconds: float, error: Exception) -> None:
        since_ms = int((time.time() - seconds) * 1000)
        self._failing[name] = FailingLoop(name, since_ms, reason_of(error))
        with suppress(RedisError, OSError):
            await note_failing(self._redis, self._prefix, self._failing[name])
