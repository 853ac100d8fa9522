"""Everything at a glance, read for whoever shows it: the operator's page and `customer-sync status` show the same.

Reads only. What it comes to in words, worker.status.summary says; nothing that shows it belongs in here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from config.settings import Measures, Mode
from jobs.queue.dead_letters import DeadLetter, DeadLetters
from jobs.queue.status import Overview, Standing, read_longest_waiting
from jobs.rate_limit import AUTUMN_UPDATES, STRIPE
from jobs.scan.record import ScanRecord
from jobs.scan.report import ScanRun
from worker.status.history import History, Minute
from worker.status.shared_state import Look, SharedState
from worker.status.trends import HOURS

WAITING_AT_MOST: Final = 20


@dataclass(frozen=True)
class Snapshot:
    """What was read at a moment.

    `minutes` are those of the last hours that were noted. `waiting` are the customers that have waited longest, the
    longest first, WAITING_AT_MOST of them. `letters` are the newest page of dead letters, and `runs` the last scans,
    both the newest first. `rates` are the calls a second that each limit lets through, by its name, None where that is
    not known.
    """

    state: SharedState
    minutes: Sequence[Minute]
    waiting: Sequence[Standing]
    letters: Sequence[DeadLetter]
    runs: Sequence[ScanRun]
    rates: Mapping[str, float | None]
    mode: Mode | None

    @property
    def overview(self) -> Overview:
        """How much waits, and the counters."""
        return self.state.overview


class Snapshots:
    """The door to them."""

    def __init__(self, redis: Redis, measures: Measures, look: Look) -> None:
        """Opens nothing. `look` gives what all workers share, None where Redis does not tell."""
        self._look = look
        self._history = History(redis, measures.key_prefix)
        self._letters = DeadLetters(redis, inbox=measures.inbox_stream, prefix=measures.key_prefix)
        self._scans = ScanRecord(redis, measures.key_prefix)
        self._redis = redis
        self._measures = measures

    async def read(self) -> Snapshot:
        """The snapshot of now. Raises RedisError, and TimeoutError where the look gave nothing."""
        state = await self._look()
        if state is None:
            raise TimeoutError
        return Snapshot(
            state=state,
            minutes=await self._history.read(until_ms=state.overview.now_ms, hours=HOURS),
            waiting=await read_longest_waiting(self._redis, self._measures.key_prefix, WAITING_AT_MOST),
            letters=await self._newest_letters(),
            runs=await self._scans.history(),
            rates={AUTUMN_UPDATES: self._measures.autumn_updates_per_second, STRIPE: self._measures.stripe_rate},
            mode=self._measures.mode,
        )

    async def _newest_letters(self) -> Sequence[DeadLetter]:
        async for page in self._letters.pages(newest_first=True, at_most_pages=1):
            return page
        return ()
