"""The inbox for apps that send over HTTP: adds their events at the rate of their source, and finds an event.

Apps with access to Redis use `autumn_sync_client`, and code of the worker uses jobs.enqueue.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from autumn_sync_client.outcomes import Outcome, parse_outcome
from jobs.queue.record import read_outcome
from jobs.queue.scripts import Scripts

EVENTS_PER_SECOND: Final = 2_000
"""Events that each source may add a second, over all processes. They merge, so Autumn gets fewer updates.

An event of more than EVENT_BYTES counts as more than one.
"""
EVENT_BYTES: Final = 1024
BURST: Final = 2_000
"""Events of a source that may come at once."""
READS_PER_SECOND: Final = 1_000
"""Reads of outcomes for each source, over all processes. As many may come at once."""
SEARCHED_AT_MOST: Final = 1_000
"""Entries of the inbox that are searched for an event, the newest first. This takes Redis up to 4 ms."""
SEARCHED_FOR_A_READ: Final = 50
"""Entries whose search counts as one more read. So a source may occupy Redis for a fifth of its time."""


class RateExceededError(Exception):
    """The rate of the source does not allow the request before `wait_seconds`."""

    def __init__(self, wait_seconds: float) -> None:
        """Keep the time."""
        super().__init__(f"wait {wait_seconds:.3f} s")
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Found:
    """The outcome of an event, None if nothing is known of it. Its status is `waiting` also in the inbox.

    `is_searched` is False if nothing was found, and the inbox has more entries than were searched.
    """

    outcome: Outcome | None
    is_searched: bool = True


class Inbox:
    """The client of the inbox."""

    def __init__(
        self,
        redis: Redis,
        *,
        inbox: str,
        prefix: str,
        events_per_second: int = EVENTS_PER_SECOND,
        burst: int = BURST,
        reads_per_second: int = READS_PER_SECOND,
    ) -> None:
        """Open no connection. `inbox` is the stream. The rates are those of each source.

        `redis` answers in bytes, and must not repeat a command: a late repetition could overtake newer events.
        """
        self._redis = redis
        self._scripts = Scripts(redis, "add_events", "find_event")
        self._inbox = inbox
        self._prefix = prefix
        self._rate = (1_000_000 // events_per_second, burst)
        self._rate_of_reads = (1_000_000 // reads_per_second, reads_per_second)

    async def add(self, source: str, events: Sequence[Mapping[str, str]]) -> list[str]:
        """Add events in one atomic step, all or none. Return the ids of the entries.

        `events` are the fields of the entries, a burst at most. Raises RateExceededError, and RedisError: after a lost
        connection, Redis may have all of them.
        """
        arguments: list[str | int] = [*self._rate, self._units_of(events), len(events)]
        for fields in events:
            arguments.append(2 * len(fields))
            for field in fields.items():
                arguments.extend(field)
        keys = [self._inbox, f"{self._prefix}:intake-rate:{source}"]
        wait_us, ids = await self._scripts.run("add_events", keys, arguments)
        if wait_us > 0:
            raise RateExceededError(wait_us / 1_000_000)
        return [entry.decode() for entry in ids]

    def _units_of(self, events: Sequence[Mapping[str, str]]) -> int:
        """Return the events as the rate counts them. A request may need a whole burst, and not more."""
        sizes = (sum(len(text.encode()) for text in fields.values()) for fields in events)
        return min(self._rate[1], sum(max(1, size // EVENT_BYTES) for size in sizes))

    async def find(self, source: str, event_id: str) -> Found:
        """Return what is known of an event of the last 24 hours, by its `event_id` or entry id.

        Raises RateExceededError if the source reads too often, and RedisError.
        """
        keys = [self._inbox, f"{self._prefix}:intake-rate:{source}:reads"]
        arguments = [*self._rate_of_reads, self._prefix, event_id, SEARCHED_AT_MOST, SEARCHED_FOR_A_READ]
        wait_us, note, entry, customer, is_cut = await self._scripts.run("find_event", keys, arguments)
        if wait_us > 0:
            raise RateExceededError(wait_us / 1_000_000)
        if entry:
            return Found(Outcome("waiting", customer.decode(errors="replace"), entry.decode()))
        return Found(parse_outcome(note or None), is_searched=not is_cut)

    async def follow(self, event_id: str, found: Outcome | None) -> Outcome | None:
        """Return the outcome of an event after `find`, without a search of the inbox. Raises RedisError."""
        outcome = await read_outcome(self._redis, self._prefix, event_id)
        if outcome is None or found is None:
            return outcome or found
        # An event that was sent again is in the inbox, and its outcome is still that of the dead entry.
        is_of_dead_entry = outcome.status == "dead" and outcome.entry_id != found.entry_id
        return found if is_of_dead_entry else outcome
