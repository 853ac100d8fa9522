"""The history of the last hours by minute: written by every worker, drawn on the operator's page.

The first worker of a minute writes the shared numbers, and each adds its own requests. One hash holds an hour and
expires after a day. Only numbers belong here, and no data of a customer.
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
from worker.status.shared_state import ReadState

MINUTE_MS: Final = 60_000
MINUTES_AN_HOUR: Final = 60
KEPT_SECONDS: Final = 25 * 3600
CALLS: Final = "calls:"
COUNT: Final = re.compile(r"[0-9]{1,19}")
COUNTED: Final = ("received", "applied", "dead")


@dataclass(frozen=True)
class Minute:
    """One minute, `number` counted since the epoch.

    `totals` are the counters of received, applied and dead-lettered events at that minute, since the beginning.
    `oldest_seconds` is the age of the oldest waiting change, 0 if none waited. `calls` are the requests to the services
    in the minute before, by the name of their rate limit.
    """

    number: int
    totals: Mapping[str, int]
    oldest_seconds: int
    calls: Mapping[str, int]


class History:
    """Writes and reads the minutes. Every method that is awaited raises RedisError."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        """Do no I/O. `redis` returns bytes."""
        self._redis = redis
        self._prefix = prefix

    def key(self, hour: int) -> str:
        """Return the key of a hash with the minutes of an hour since the epoch. Expires after 25 hours."""
        return f"{self._prefix}:history:{hour}"

    async def note(self, overview: Overview, calls: Mapping[str, int]) -> None:
        """Write the current minute by the clock of Redis. `calls` are this process's requests since its last write."""
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
        """Return the minutes of the last hours, the oldest first. Skip minutes that are missing or unreadable."""
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
    """Writes the minutes of one process."""

    def __init__(self, history: History, read_state: ReadState, calls: Callable[[], Mapping[str, int]]) -> None:
        """Do no I/O. `calls` returns the requests of this process so far, by the name of their rate limit."""
        self._history = history
        self._read_state = read_state
        self._calls = calls
        self._noted: Mapping[str, int] = {}
        self._seconds_to_next = 0.0

    async def note_minute(self) -> None:
        """Wait for the next minute and write it. Raises RedisError.

        The wait comes first, so that the loop counts as working as soon as a minute is written after a failure.
        """
        seconds, self._seconds_to_next = self._seconds_to_next, 0.0
        await asyncio.sleep(seconds)
        state = await self._read_state()
        if state is None:
            self._seconds_to_next = 1.0
            return
        calls = dict(self._calls())
        await self._history.note(state.overview, {each: calls[each] - self._noted.get(each, 0) for each in calls})
        self._noted = calls
        self._seconds_to_next = (MINUTE_MS - state.overview.now_ms % MINUTE_MS) / 1000
