"""The state of the watch in Redis: its position in Stripe's events, its deferred reconciles, and what it saw.

Owns the keys of the watch. `jobs.watch` is the watch itself.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from redis.asyncio import Redis

from jobs.plan.edits import Edit
from jobs.queue.key_types import answer_or_none

NO_PERMISSION: Final = "no_permission"
OFF_BY_SETTING: Final = "setting"
"""Reasons why the watch is off: Stripe refuses the list of events, and STRIPE_EVENTS_POLL_SECONDS is 0."""
BEHIND_POLLS: Final = 3
BEHIND_SECONDS: Final = 180.0
"""The watch is behind if its position is older than this time, and than BEHIND_POLLS polls."""
FUTURE_SECONDS: Final = 2 * 86_400.0
"""A stored time of a customer may be this far in the future. A later one counts as unreadable."""
_COUNT: Final = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class WatchKeys:
    """The Redis keys of the watch. All but `links` expire."""

    prefix: str

    @property
    def watch(self) -> str:
        """Hash: the position, the time of the next poll, and why the watch is off or fails."""
        return f"{self.prefix}:watch"

    @property
    def lease(self) -> str:
        """The token of the process that polls. Expires if the process dies."""
        return f"{self.prefix}:watch:lease"

    @property
    def seen(self) -> str:
        """Sorted set: the ids of the events that were seen, by their time of creation in seconds."""
        return f"{self.prefix}:watch:seen"

    @property
    def later(self) -> str:
        """Sorted set: customer by when its deferred reconcile is due, in milliseconds."""
        return f"{self.prefix}:watch:later"

    @property
    def later_events(self) -> str:
        """Hash: the event id of the deferred reconcile of each customer in `later`."""
        return f"{self.prefix}:watch:later_events"

    @property
    def backlog(self) -> str:
        """Sorted set: customer by when its reconcile may be requested (ms). It stays there while too much waits."""
        return f"{self.prefix}:watch:backlog"

    @property
    def backlog_events(self) -> str:
        """Hash: the event id of the reconcile of each customer in `backlog`."""
        return f"{self.prefix}:watch:backlog_events"

    @property
    def links(self) -> str:
        """Hash: by Stripe customer, 1 if its receipts are on or else 0, a colon, and its Autumn customer."""
        return f"{self.prefix}:watch:links"

    def request(self, customer_id: str) -> str:
        """The id of the inbox entry of the last reconcile that the watch requested. Expires in a day."""
        return f"{self.prefix}:watch:request:{customer_id}"

    def requests(self, customer_id: str) -> str:
        """The number of reconciles that changes of the customer in Stripe led to. Expires in an hour."""
        return f"{self.prefix}:watch:requests:{customer_id}"

    def edits(self, customer_id: str) -> str:
        """Hash: by name or e-mail, JSON about a value that somebody wrote in Stripe. Expires in 8 days.

        A list: its digest, when the watch saw it and when it was written (in milliseconds since the epoch), and the
        digest of the value before.
        """
        return f"{self.prefix}:watch:edits:{customer_id}"


@dataclass(frozen=True)
class SeenInStripe:
    """An event of Stripe in a customer record, as a script writes it.

    `at_ms` is when the event was created, `cause` is its writer (`jobs.watch.events.Cause`), `fields` are what changed.
    """

    at_ms: int
    type: str
    cause: str
    fields: tuple[str, ...] = ()


def read_seen(text: str) -> tuple[SeenInStripe, ...]:
    """Return the events, the earliest first. Raises ValueError, TypeError or KeyError if the text is malformed."""
    return tuple(sorted((_read_one(one) for one in json.loads(text)), key=lambda seen: seen.at_ms))


def write_seen(seen: Sequence[SeenInStripe]) -> str:
    """Return the events in their format; "" if there is none."""
    return json.dumps([asdict(one) for one in seen]) if seen else ""


def _read_one(one: Any) -> SeenInStripe:
    # An empty table of Lua becomes an empty object.
    seen = SeenInStripe(one["at_ms"], one["type"], one["cause"], tuple(one["fields"] or ()))
    latest_ms = (time.time() + FUTURE_SECONDS) * 1000
    if isinstance(seen.at_ms, bool) or not isinstance(seen.at_ms, int) or not 0 <= seen.at_ms <= latest_ms:
        raise ValueError("not a time")
    if not all(isinstance(word, str) for word in (seen.type, seen.cause, *seen.fields)):
        raise TypeError("not words")
    return seen


@dataclass(frozen=True)
class WatchState:
    """The state of the watch. Times are in milliseconds since the epoch, on the clock of Redis; None if unknown.

    - `position_ms`: every event that was created before it was read.
    - `polled_ms`: the end of the last complete poll.
    - `off`: why the watch is off (NO_PERMISSION, OFF_BY_SETTING); empty if it is on. `off_since_ms` is when that began.
    - `error`: the code of the error that ended the last poll; empty after a complete one.
    - `pause_seconds`: the time between two polls of the worker that polled last.
    - `deferred`, `backlog`: the number of customers with a deferred reconcile, and of those that wait until fewer
      events wait.
    """

    position_ms: int | None = None
    polled_ms: int | None = None
    off: str = ""
    off_since_ms: int | None = None
    error: str = ""
    error_since_ms: int | None = None
    pause_seconds: float = 0.0
    deferred: int = 0
    backlog: int = 0

    def behind_seconds(self, now_ms: int) -> float:
        """Return the age of the position in seconds if the watch is behind, else 0.

        A watch that never finished a poll is behind since its first failure.
        """
        since_ms = self.error_since_ms if self.position_ms is None else self.position_ms
        if since_ms is None or self.off:
            return 0.0
        age_seconds = (now_ms - since_ms) / 1000
        return age_seconds if age_seconds > max(BEHIND_POLLS * self.pause_seconds, BEHIND_SECONDS) else 0.0


def parse_edits(raw: Mapping[bytes, bytes]) -> dict[str, Edit]:
    """Return the edits of a customer, by field. Unreadable ones are left out."""
    edits: dict[str, Edit] = {}
    for name, text in raw.items():
        try:
            digest, at_ms, written_ms, before = json.loads(text)
            edits[name.decode()] = Edit(str(digest), float(at_ms) / 1000, str(before), float(written_ms) / 1000)
        except (ValueError, TypeError, RecursionError):
            continue
    return edits


async def read_watch(redis: Redis, prefix: str) -> WatchState:
    """Return the state of the watch. Raises RedisError."""
    keys = WatchKeys(prefix)
    fields: Any = redis.hgetall(keys.watch)
    raw: dict[bytes, bytes] = await answer_or_none(fields) or {}
    stored = {name.decode(errors="replace"): text.decode(errors="replace") for name, text in raw.items()}
    position = _count(stored.get("position", ""))
    return WatchState(
        position_ms=None if position is None else position * 1000,
        polled_ms=_count(stored.get("polled_ms", "")),
        off=stored.get("off", ""),
        off_since_ms=_count(stored.get("off_since_ms", "")),
        error=stored.get("error", ""),
        error_since_ms=_count(stored.get("error_since_ms", "")),
        pause_seconds=(_count(stored.get("pause_ms", "")) or 0) / 1000,
        deferred=await answer_or_none(redis.zcard(keys.later)) or 0,
        backlog=await answer_or_none(redis.zcard(keys.backlog)) or 0,
    )


def _count(text: str) -> int | None:
    return int(text) if _COUNT.fullmatch(text) else None
