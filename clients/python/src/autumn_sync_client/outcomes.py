"""The outcome of an event, and where and how it is stored in Redis. Lua scripts of the worker write it.

The worker reads outcomes with this code, too. No I/O belongs here.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

HALF_DAY_SECONDS: Final = 43_200
FIRST_PAUSE_SECONDS: Final = 0.02
LONGEST_PAUSE_SECONDS: Final = 0.5
Status = Literal["waiting", "applied", "dead"]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one event.

    `status` is `waiting` until the event is `applied` or `dead`. `reason` is set if it is dead, or if it is a reconcile
    of the watch that was dropped. `at` is in milliseconds since the epoch, None while the event waits.
    """

    status: Status
    customer_id: str
    entry_id: str
    reason: str | None = None
    at: int | None = None


def events_key(prefix: str, bucket: int) -> str:
    """Return the key of a hash from event id to outcome.

    A bucket is half a day, counted from the epoch. The hash expires after 36 hours.
    """
    return f"{prefix}:events:{bucket}"


def event_buckets(now_seconds: float) -> Sequence[int]:
    """Return the buckets that hold the event ids of the last 24 hours, newest first.

    It includes one future bucket, because this clock may be behind the clock of Redis.
    """
    newest = int(now_seconds // HALF_DAY_SECONDS) + 1
    return range(newest, newest - 4, -1)


def parse_outcome(note: bytes | str | None) -> Outcome | None:
    """Return the outcome in a note; None if there is no note or it cannot be read."""
    try:
        found = json.loads(note or b"{}")
        return Outcome(found["status"], found["customer"], found["entry"], found.get("reason"), found.get("at"))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None


def is_final(outcome: Outcome | None) -> bool:
    """Return whether the outcome is known and will not change."""
    return outcome is not None and outcome.status != "waiting"


def polls(wait_seconds: float) -> Iterator[tuple[float, float]]:
    """Yield, for each poll of an outcome, the seconds that are left to wait and the pause after it.

    The caller stops as soon as the outcome is final. The last poll comes after `wait_seconds`, with two zeros.
    """
    deadline = time.monotonic() + wait_seconds
    pause = FIRST_PAUSE_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        yield left, min(pause, left)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
    yield 0.0, 0.0
