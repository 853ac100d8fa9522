"""The state that all workers share, read from Redis at most once a second and with a time-out.

A page or a scrape must not hang with Redis, and must not load it.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.notifications.state import NotificationState, read_notifications
from jobs.queue.failing_loops import FailingLoop
from jobs.queue.record import read_unreadable_totals
from jobs.queue.status import Overview, read_overview
from jobs.queue.watch.state import WatchState, read_watch
from jobs.rate_limit import read_shares
from jobs.scan.record import ScanRecord
from jobs.scan.report import ScanRun
from jobs.stripe.client import ENDPOINTS
from worker.loops.scanner import is_due
from worker.loops.watchdog import refusal_of_writes
from worker.redis_errors import reason_of

READ_SECONDS: Final = 2.0
"""Less than the usual time-outs of health checks and scrapes, which are 5 s or more."""
GOOD_FOR_SECONDS: Final = 1.0
SCAN_GRACE_MS: Final = 6 * 3_600_000
"""The time that a scheduled scan has to finish. An interrupted scan can be continued for that long."""
HOW_TO_REPAIR: Final = "redis-cli HDEL KEY_PREFIX:totals NAME: the total then counts from 0"
NAMED: Final = 5
NAME_OF_A_TOTAL: Final = re.compile(r"[a-z][a-z0-9_:.-]{0,63}")


@dataclass(frozen=True)
class ScanState:
    """The state of the full scans. Scans of a part are left out.

    `last` is the newest run and `last_done` the newest that did not fail, None if there is none. `began_ms` is the
    start of the last scan that the schedule counts, in milliseconds since the epoch. `is_overdue` is True if a
    scheduled scan was missed, or if there never was one.
    """

    last: ScanRun | None
    last_done: ScanRun | None
    began_ms: int | None
    is_overdue: bool


@dataclass(frozen=True)
class SharedState:
    """The numbers of the deployment, the share of each rate limit in use by its name, the scans and the watch."""

    overview: Overview
    rate_shares: Mapping[str, float]
    scan: ScanState
    unreadable_totals: tuple[str, ...] = ()
    """The names of totals that are not numbers. `overview` leaves them out."""
    refuses_writes: str = ""
    """The error with which Redis rejects writes; "" if it accepts them."""
    watch: WatchState = field(default_factory=WatchState)
    """The state of the watch."""
    notifications: NotificationState = field(default_factory=NotificationState)
    """The state of the notifications."""

    @property
    def watch_behind_seconds(self) -> float:
        """The age of the watch's position in seconds if it is behind; 0 if it is not, or is off."""
        return self.watch.behind_seconds(self.overview.now_ms)

    @property
    def unreadable_names(self) -> list[str]:
        """Return the first names that a worker may have written. Others may hold anything, so they are not shown."""
        return [name for name in self.unreadable_totals if NAME_OF_A_TOTAL.fullmatch(name)][:NAMED]


ReadState = Callable[[], Awaitable[SharedState | None]]
"""Returns the state now or a moment ago, None if Redis does not answer."""


class SharedStateReader:
    """Reads the shared state. `read_cached` never raises and never hangs; `read` raises the error of Redis."""

    def __init__(
        self,
        redis: Redis,
        *,
        prefix: str,
        inbox: str,
        scan_schedule: str,
        failing: Callable[[], Sequence[FailingLoop]] = tuple,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        """Do no I/O. `scan_schedule` is a cron expression in UTC.

        `failing` returns the loops of this process that keep failing. `read_cached` waits for Redis up to
        `read_seconds`.
        """
        self._read_seconds = read_seconds
        self._failing = failing
        self._redis = redis
        self._prefix = prefix
        self._inbox = inbox
        self._scan_schedule = scan_schedule
        self._scans = ScanRecord(redis, prefix)
        self._reading = asyncio.Lock()
        self._state: SharedState | None = None
        self._good_until = 0.0

    async def read_cached(self) -> SharedState | None:
        """Return the state, at most a second old; None if Redis does not answer. Concurrent callers share one read."""
        async with self._reading:
            if time.monotonic() >= self._good_until:
                self._state = await self._read_soon()
                self._good_until = time.monotonic() + GOOD_FOR_SECONDS
            return self._state

    async def _read_soon(self) -> SharedState | None:
        try:
            async with asyncio.timeout(self._read_seconds):
                return await self.read()
        except (RedisError, TimeoutError, OSError):
            return None

    async def read(self) -> SharedState:
        """Return the state now, without a time-out. Raises RedisError."""
        # Read before the totals: a total that breaks in between must not be both named here and shown there.
        unreadable = await read_unreadable_totals(self._redis, self._prefix)
        overview = await read_overview(self._redis, self._prefix, self._inbox)
        # Redis may lack the notes of this process: without free memory it rejects them.
        failing = {loop.name: loop for loop in (*overview.failing, *self._failing())}
        overview = replace(overview, failing=tuple(failing.values()))
        refusal = await refusal_of_writes(self._redis, self._prefix)
        return SharedState(
            overview,
            await read_shares(self._redis, self._prefix, ENDPOINTS),
            await self._read_scans(overview.now_ms),
            tuple(unreadable),
            "" if refusal is None else reason_of(refusal),
            await read_watch(self._redis, self._prefix),
            await read_notifications(self._redis, self._prefix),
        )

    async def _read_scans(self, now_ms: int) -> ScanState:
        runs = [run for run in await self._scans.history() if not run.scope]
        began_ms = await self._scans.watermark_ms()
        return ScanState(
            last=next(iter(runs), None),
            last_done=next((run for run in runs if run.state != "failed"), None),
            began_ms=began_ms,
            is_overdue=is_due(self._scan_schedule, began_ms, None, now_ms, grace_ms=SCAN_GRACE_MS),
        )
