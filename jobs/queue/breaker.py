"""The circuit breaker: closed while work flows, open while a service is down or a person has to fix the configuration.

An open breaker lets one customer at a time through, over all workers, as a probe. The first successful probe closes it.
`settle.lua` updates it, so it needs no round trip of its own.
"""

from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from jobs.errors import Halt, Limited, TryAgain
from jobs.queue.key_types import or_none

FAILURES_TO_OPEN = 5
"""Syncs in a row, over all workers, that failed because a service was down."""
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
"""Error codes of retries that do not mean that a service is down."""

Verdict = Literal["works", "down", "halt", "unknown"]


@dataclass(frozen=True)
class ServiceReport:
    """The state of the services, as one sync observed it. If only one of them was called, `service` names it."""

    verdict: Verdict
    service: str = ""
    reason: str = ""
    message: str = ""


NOTHING_LEARNED = ServiceReport("unknown")


@dataclass(frozen=True)
class OpenBreaker:
    """An open breaker: since when (milliseconds since the epoch), why, and how a person can fix a halt."""

    kind: Literal["outage", "halt"]
    since_ms: int
    service: str
    reason: str
    message: str


def breaker_key(prefix: str) -> str:
    """Return the key of a hash. It does not exist while nothing fails."""
    return f"{prefix}:breaker"


def report_of(error: Exception) -> ServiceReport:
    """Return what a failed sync says about the services. The message of a halt holds no personal data."""
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
    # If the key has the wrong type, the next script that needs it deletes it.
    found = or_none(values) or [None] * len(names)
    texts = (value.decode(errors="replace") if value else "" for value in found)
    opened, kind, since, service, reason, message = texts
    if not opened:
        return None
    return OpenBreaker(
        "halt" if kind == "halt" else "outage", int(since) if since.isdecimal() else 0, service, reason, message
    )
