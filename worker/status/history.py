"""How things went, minute by minute, over the last hours: noted by every worker, drawn on the operator's page.

What all workers share is noted by whichever is first in a minute; the calls of each are added up. Bounded: a day of
minutes, in a hash an hour. Numbers only: nothing of a customer belongs in here.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from jobs.queue.key_types import or_none
from jobs.queue.record import PLAUSIBLE
from jobs.queue.replacing import delete_if_wrong
from jobs.queue.status import Overview
from worker.status.shared_state import Look

MINUTE_MS: Final = 60_000
MINUTES_AN_HOUR: Final = 60
KEPT_SECONDS: Final = 25 * 3600
CALLS: Final = "calls:"
COUNT: Final = re.compile(r"[0-9]{1,19}")
COUNTED: Final = ("received", "applied", "dead")


@dataclass(frozen=True)
class Minute:
    """One minute, `number` counted since the epoch.

    `totals` are the counters since the beginning as they were then: events that were received, applied, dead.
    `oldest_seconds` is how old the oldest change was that waited, 0 where none did. `calls` are those that were let
    through in the minute before, by the name of their limit.
    """

    number: int
    totals: Mapping[str, int]
    oldest_seconds: int
    calls: Mapping[str, int]


class History:
    """The door to the minutes. Every method raises RedisError when Redis does not do what it is asked."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        """Opens nothing. `redis` answers in bytes."""
        self._redis = redis
        self._prefix = prefix

    def key(self, hour: int) -> str:
        """A hash of the minutes of an hour since the epoch, by minute and name. Lives 25 hours."""
        return f"{self._prefix}:history:{hour}"

    async def note(self, overview: Overview, calls: Mapping[str, int]) -> None:
        """Note the minute that it is now by the clock of Redis; `calls` are this process's since it last noted."""
        number = overview.now_ms // MINUTE_MS
        key = self.key(number // MINUTES_AN_HOUR)
        shared = {name: overview.totals.get(name, 0) for name in COUNTED}
        shared["oldest"] = int(overview.age_seconds(overview.oldest_sent_ms) or 0)
        await delete_if_wrong(self._redis, self._prefix, key, "hash")
        async with self._redis.pipeline(transaction=True) as pipe:
            for name, value in shared.items():
                pipe.hsetnx(key, f"{number}:{name}", str(value))
            for limit, times in calls.items():
                if times:
                    pipe.hincrby(key, f"{number}:{CALLS}{limit}", times)
            pipe.expire(key, KEPT_SECONDS)
            await pipe.execute()

    async def read(self, *, until_ms: int, hours: int) -> list[Minute]:
        """The minutes of the last hours that were noted, the oldest first, without those that cannot be read."""
        last = until_ms // MINUTE_MS
        first = last - hours * MINUTES_AN_HOUR
        async with self._redis.pipeline(transaction=False) as pipe:
            for hour in range(first // MINUTES_AN_HOUR, last // MINUTES_AN_HOUR + 1):
                pipe.hgetall(self.key(hour))
            hashes = [or_none(answer) or {} for answer in await pipe.execute(raise_on_error=False)]
        noted: dict[int, dict[str, int]] = {}
        for name, value in (pair for each in hashes for pair in each.items()):
            number, _, what = name.decode(errors="replace").partition(":")
            if COUNT.fullmatch(number) and COUNT.fullmatch(value.decode(errors="replace")):
                noted.setdefault(int(number), {})[what] = min(int(value), PLAUSIBLE)
        whole = [number for number in sorted(noted) if noted[number].keys() >= {*COUNTED, "oldest"}]
        return [_minute(number, noted[number]) for number in whole if first <= number <= last]


def _minute(number: int, noted: Mapping[str, int]) -> Minute:
    return Minute(
        number=number,
        totals={name: noted[name] for name in COUNTED},
        oldest_seconds=noted["oldest"],
        calls={name.removeprefix(CALLS): value for name, value in noted.items() if name.startswith(CALLS)},
    )


class Sampler:
    """Notes the minutes of one process."""

    def __init__(self, history: History, look: Look, calls: Callable[[], Mapping[str, int]]) -> None:
        """`calls` gives how many this process has made so far, by the name of their limit."""
        self._history = history
        self._look = look
        self._calls = calls
        self._noted: Mapping[str, int] = {}
        self._seconds_to_next = 0.0

    async def run(self) -> None:
        """Wait for the next minute, and note it. Raises RedisError.

        The wait comes first, so that a run that succeeds after a failure ends at once and shows that all is well.
        """
        seconds, self._seconds_to_next = self._seconds_to_next, 0.0
        await asyncio.sleep(seconds)
        state = await self._look()
        if state is None:
            self._seconds_to_next = 1.0
            return
        calls = dict(self._calls())
        await self._history.note(state.overview, {each: calls[each] - self._noted.get(each, 0) for each in calls})
        self._noted = calls
        self._seconds_to_next = (MINUTE_MS - state.overview.now_ms % MINUTE_MS) / 1000
