"""The circuit breaker: it is closed while work flows, and open while a service is down or a person has to act.

An open breaker lets one customer at a time through, over all workers, as a probe. The first probe that succeeds closes
it. The script that settles writes it, so that it costs no call of its own.
"""

from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from jobs.errors import Halt, Limited, TryAgain
from jobs.queue.key_types import or_none

FAILURES_TO_OPEN = 5
"""Syncs in a row, over all workers, that failed for want of a service."""
LONGEST_PROBE_WAIT_MS = 5_000
NOT_THE_SERVICE = frozenset(
    {
        "idempotency_error",
        "unexpected_response",
        "stale_read",
        "sync_too_long",
        "create_failed_before",
        "claimed_elsewhere",
    }
)
"""Reasons to try again that say nothing about a service being down."""

Verdict = Literal["works", "down", "halt", "unknown"]


@dataclass(frozen=True)
class ServiceReport:
    """What a round learned about the services."""

    verdict: Verdict
    service: str = ""
    reason: str = ""
    message: str = ""


NOTHING_LEARNED = ServiceReport("unknown")


@dataclass(frozen=True)
class OpenBreaker:
    """An open breaker: since when (milliseconds since the epoch), why, and what a person should do about a halt."""

    kind: Literal["outage", "halt"]
    since_ms: int
    service: str
    reason: str
    message: str


def breaker_key(prefix: str) -> str:
    """A hash; there is none while all is well."""
    return f"{prefix}:breaker"


def report_of(error: Exception) -> ServiceReport:
    """What a failed round says about the services. A halt's message is our own text and holds no personal data."""
    if isinstance(error, Halt):
        return ServiceReport("halt", error.service, error.code, error.message)
    if isinstance(error, Limited):
        return ServiceReport("works")
    if not isinstance(error, TryAgain) or error.is_replay or error.code in NOT_THE_SERVICE:
        return NOTHING_LEARNED
    return ServiceReport("down", error.service, error.code)


async def read_breaker(redis: Redis, prefix: str) -> OpenBreaker | None:
    """Return why the breaker is open; None while it is closed."""
    names = ("opened", "kind", "since", "service", "reason", "message")
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hmget(breaker_key(prefix), list(names))
        (values,) = await pipe.execute(raise_on_error=False)
    # The next script that needs a key of the wrong type deletes it first.
    found = or_none(values) or [None] * len(names)
    texts = (value.decode(errors="replace") if value else "" for value in found)
    opened, kind, since, service, reason, message = texts
    if not opened:
        return None
    return OpenBreaker(
        "halt" if kind == "halt" else "outage", int(since) if since.isdecimal() else 0, service, reason, message
    )
