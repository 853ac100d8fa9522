"""The line: whether customers are called at all. It closes while a service is down or a person has to mend something.

A closed line lets one customer at a time through, over all workers, as a probe; the first that gets through opens it
again. It is written by the script that settles, so that telling it costs nothing.
"""

from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from jobs.errors import Halt, Limited, TryAgain
from jobs.queue.key_types import or_none

FAILURES_TO_CLOSE = 5
"""Syncs in a row, over all workers, that failed for want of a service."""
LONGEST_PROBE_WAIT_MS = 5_000
HALT_WAIT_MS = 15_000
NOT_THE_SERVICE = frozenset(
    {
        "idempotency_error",
        "unexpected_response",
        "stale_read",
        "round_too_long",
        "create_failed_before",
        "claimed_elsewhere",
    }
)
"""Reasons to try again that say nothing about a service being down."""

Verdict = Literal["works", "down", "halt", "unknown"]


@dataclass(frozen=True)
class LineReport:
    """What a round learned about the services."""

    verdict: Verdict
    service: str = ""
    reason: str = ""
    message: str = ""


NOTHING_LEARNED = LineReport("unknown")


@dataclass(frozen=True)
class Line:
    """A closed line: since when (milliseconds since the epoch), why, and what a person should do about a halt."""

    kind: Literal["outage", "halt"]
    since_ms: int
    service: str
    reason: str
    message: str


def line_key(prefix: str) -> str:
    """A hash; there is none while all is well."""
    return f"{prefix}:line"


def report_of(error: Exception) -> LineReport:
    """What a failed round says about the services. A halt's message is our own text and holds no personal data."""
    if isinstance(error, Halt):
        return LineReport("halt", error.service, error.code, error.message)
    if isinstance(error, Limited):
        return LineReport("works")
    if not isinstance(error, TryAgain) or error.is_replay or error.code in NOT_THE_SERVICE:
        return NOTHING_LEARNED
    return LineReport("down", error.service, error.code)


async def read_line(redis: Redis, prefix: str) -> Line | None:
    """Why the line is closed; None while it is open."""
    names = ("closed", "kind", "since", "service", "reason", "message")
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hmget(line_key(prefix), list(names))
        (values,) = await pipe.execute(raise_on_error=False)
    # The next script that needs a key of the wrong type deletes it first.
    found = or_none(values) or [None] * len(names)
    texts = (value.decode(errors="replace") if value else "" for value in found)
    closed, kind, since, service, reason, message = texts
    if not closed:
        return None
    return Line(
        "halt" if kind == "halt" else "outage", int(since) if since.isdecimal() else 0, service, reason, message
    )
