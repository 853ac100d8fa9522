"""The inbox for senders that a process of ours serves, such as apps that send over HTTP.

Adds events at the rate of their source, and finds an event in the inbox or its outcome. Apps on Redis use jobs.enqueue.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from autumn_sync_client.outcomes import Outcome, parse_outcome
from jobs.queue.scripts import Scripts

EVENTS_PER_SECOND: Final = 2_000
"""Events that each source may add a second, over all processes. They merge, so Autumn gets fewer updates."""
BURST: Final = 2_000
"""Events of a source that may come at once."""
ANSWER_MS: Final = 180_000
"""The time for which the ids of a request are kept. The client of Redis repeats a command for two minutes at most."""
SEARCHED_AT_MOST: Final = 1_000
"""Entries of the inbox that are searched for an event, the newest first. This takes Redis about a millisecond."""


class RateExceededError(Exception):
    """The source has sent too many events. It may send these after `wait_seconds`."""

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
    ) -> None:
        """Open no connection. `redis` answers in bytes. `inbox` is the stream. The rate is that of each source."""
        self._scripts = Scripts(redis, "add_events", "find_event")
        self._inbox = inbox
        self._prefix = prefix
        self._rate = [1_000_000 // events_per_second, burst, ANSWER_MS]

    async def add(self, source: str, events: Sequence[Mapping[str, str]]) -> list[str]:
        """Add events in one atomic step, all or none. Return the ids of the entries.

        `events` are the fields of the entries, a burst at most. Raises RateExceededError, and RedisError: after a lost
        connection, Redis may have all of them.
        """
        keys = [self._inbox, f"{self._prefix}:intake-rate:{source}", f"{self._prefix}:intake:{secrets.token_hex(8)}"]
        arguments: list[str | int] = [*self._rate, len(events)]
        for fields in events:
            arguments.append(2 * len(fields))
            for field in fields.items():
                arguments.extend(field)
        wait_us, ids = await self._scripts.run("add_events", keys, arguments)
        if wait_us > 0:
            raise RateExceededError(wait_us / 1_000_000)
        return [entry.decode() for entry in ids]

    async def find(self, event_id: str) -> Found:
        """Return what is known of an event of the last 24 hours, by its `event_id` or entry id. Raises RedisError."""
        arguments = [self._prefix, event_id, SEARCHED_AT_MOST]
        note, entry, customer, is_cut = await self._scripts.run("find_event", [self._inbox], arguments)
        if entry:
            return Found(Outcome("waiting", customer.decode(errors="replace"), entry.decode()))
        return Found(parse_outcome(note or None), is_searched=not is_cut)
