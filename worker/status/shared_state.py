"""What all workers share, as Redis has it at a moment: read for whoever asks, rarely, and never for long.

A page or a scrape must not hang because Redis does, nor ask it more than it needs to be asked.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.queue.failing import FailingLoop
from jobs.queue.record import read_unreadable_totals
from jobs.queue.status import Overview, read_overview
from jobs.rate_limit import read_shares
from jobs.scan.record import ScanRecord
from jobs.scan.report import ScanRun
from jobs.stripe.client import ENDPOINTS
from worker.loops.scanner import is_due
from worker.loops.watchdog import refusal_of_writes
from worker.redis_errors import reason_of

READ_SECONDS: Final = 2.0
"""Less than the time-outs of probes and scrapes, which begin at 5 s or 10 s as a rule."""
GOOD_FOR_SECONDS: Final = 1.0
"""However many ask: Redis is asked once a second."""
SCAN_GRACE_MS: Final = 6 * 3_600_000
"""How long after its time a scan may take to come to its end: a run that was cut short is gone on with for so long."""
HOW_TO_REPAIR: Final = "redis-cli HDEL KEY_PREFIX:totals NAME: the total then counts from 0"
NAMED: Final = 5
NAME_OF_A_TOTAL: Final = re.compile(r"[a-z][a-z0-9_:.-]{0,63}")


@dataclass(frozen=True)
class ScanState:
    """What is known of the scans of everything, those that were bounded to a part left aside.

    `last` is the newest run, `last_done` the newest that came to its end, None where there is none. `began_ms` is when
    the last one began that did what the schedule asks for, in milliseconds since the epoch. `is_overdue`: a time of the
    schedule has come and gone without one, or there never was one.
    """

    last: ScanRun | None
    last_done: ScanRun | None
    began_ms: int | None
    is_overdue: bool


@dataclass(frozen=True)
class SharedState:
    """Where the work stands, the share of each rate that is in force, by its name, and what is known of scans."""

    overview: Overview
    rate_shares: Mapping[str, float]
    scan: ScanState
    unreadable_totals: tuple[str, ...] = ()
    """The names of totals that are not numbers, and are left out."""
    refuses_writes: str = ""
    """The error with which Redis refuses writes; "" if it takes them."""

    @property
    def unreadable_names(self) -> list[str]:
        """The first names of those that are ours: others may be anything."""
        return [name for name in self.unreadable_totals if NAME_OF_A_TOTAL.fullmatch(name)][:NAMED]


Look = Callable[[], Awaitable[SharedState | None]]
"""Gives the state as it is now or was a moment ago, None where Redis does not tell. Never raises, never hangs."""


class SharedStateReader:
    """Reads it; `look` is a Look, and so is `read` for whoever wants to know why Redis does not tell."""

    def __init__(
        self,
        redis: Redis,
        *,
        prefix: str,
        inbox: str,
        scan_schedule: str,
        failing: Callable[[], Sequence[FailingLoop]] = tuple,
    ) -> None:
        """Opens nothing. `scan_schedule` is as cron writes it, in UTC.

        `failing` gives the loops of this process that keep failing.
        """
        self._failing = failing
        self._redis = redis
        self._prefix = prefix
        self._inbox = inbox
        self._scan_schedule = scan_schedule
        self._scans = ScanRecord(redis, prefix)
        self._reading = asyncio.Lock()
        self._state: SharedState | None = None
        self._good_until = 0.0

    async def look(self) -> SharedState | None:
        """See Look. Who asks while another's reading is on its way shares it."""
        async with self._reading:
            if time.monotonic() >= self._good_until:
                self._state = await self._read_soon()
                self._good_until = time.monotonic() + GOOD_FOR_SECONDS
            return self._state

    async def _read_soon(self) -> SharedState | None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await self.read()
        except (RedisError, TimeoutError, OSError):
            return None

    async def read(self) -> SharedState:
        """The state as it is now, however long that takes. Raises RedisError."""
        # Before the totals: one that is spoiled meanwhile must not be counted here and shown there.
        unreadable = await read_unreadable_totals(self._redis, self._prefix)
        overview = await read_overview(self._redis, self._prefix, self._inbox)
        # Those of this process may not be noted in Redis: it takes no notes if it has no memory left.
        failing = {loop.name: loop for loop in (*overview.failing, *self._failing())}
        overview = replace(overview, failing=tuple(failing.values()))
        refusal = await refusal_of_writes(self._redis, self._prefix)
        return SharedState(
            overview,
            await read_shares(self._redis, self._prefix, ENDPOINTS),
            await self._read_scans(overview.now_ms),
            tuple(unreadable),
            "" if refusal is None else reason_of(refusal),
        )

    async def _read_scans(self, now_ms: int) -> ScanState:
        """The one place that knows where scans are recorded."""
        runs = [run for run in await self._scans.history() if not run.scope]
        began_ms = await self._scans.watermark_ms()
        return ScanState(
            last=next(iter(runs), None),
            last_done=next((run for run in runs if run.state != "failed"), None),
            began_ms=began_ms,
            is_overdue=is_due(self._scan_schedule, began_ms, None, now_ms, grace_ms=SCAN_GRACE_MS),
        )
