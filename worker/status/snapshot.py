"""The snapshot of the whole deployment that the operator's page and `customer-sync status` show.

Only reads from Redis belong here. `worker.status.summary` has the texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from config.keys import Mode
from config.settings import Measures
from jobs.queue.dead_letters import DeadLetter, DeadLetters
from jobs.queue.status import Overview, Standing, read_longest_waiting
from jobs.rate_limit import AUTUMN_UPDATES, STRIPE
from jobs.scan.record import ScanRecord
from jobs.scan.report import ScanRun
from worker.status.history import History, Minute
from worker.status.shared_state import ReadState, SharedState
from worker.status.trends import HOURS

WAITING_AT_MOST: Final = 20


@dataclass(frozen=True)
class Snapshot:
    """The state of the deployment at a moment.

    `minutes` is the history of the last hours. `waiting` has at most WAITING_AT_MOST customers, the longest waiting
    first. `letters` is the newest page of dead letters and `runs` the last scans, both the newest first. `rates` are
    the rate limits in requests a second, by name, None if not known.
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
        """The numbers of what waits, and the counters."""
        return self.state.overview


class SnapshotReader:
    """Reads snapshots."""

    def __init__(self, redis: Redis, measures: Measures, read_state: ReadState) -> None:
        """Do no I/O."""
        self._read_state = read_state
        self._history = History(redis, measures.key_prefix)
        self._letters = DeadLetters(redis, inbox=measures.inbox_stream, prefix=measures.key_prefix)
        self._scans = ScanRecord(redis, measures.key_prefix)
        self._redis = redis
        self._measures = measures

    async def read(self) -> Snapshot:
        """Return the snapshot of now. Raises RedisError, and TimeoutError if the shared state could not be read."""
        state = await self._read_state()
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
