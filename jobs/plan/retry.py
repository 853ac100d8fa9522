"""Decide whether and when a failed sync is retried. The caller passes the clock and the randomness.

This belongs to the jobs and not to the worker, because a job settles its own failure while it holds the lease.
"""

import random
from dataclasses import dataclass

from jobs.errors import Halt, SyncError, TryAgain, describe

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 300.0
HALT_WAIT_SECONDS = 15.0
"""The wait of a customer that met a halt, and the time between two probes while the halt lasts."""
UNEXPECTED_TRIES = 5
POISON_ATTEMPTS = 8


@dataclass(frozen=True)
class History:
    """The failures in a row of a customer's events before this one.

    `attempts` counts failures of services, which began `failing_seconds` ago. `unexpected` counts other errors.
    """

    attempts: int
    failing_seconds: float
    unexpected: int = 0


@dataclass(frozen=True)
class Retry:
    """Retry after `after_seconds`, and never before `at_least_seconds`."""

    after_seconds: float
    at_least_seconds: float = 0.0


@dataclass(frozen=True)
class DeadLettered:
    """Do not retry. `reason` is a short code to group by, and `message` is for a person."""

    reason: str
    message: str


def is_permanent(error: Exception, attempts: int, *, others_work: bool) -> bool:
    """Return whether a failure that looks transient is permanent by now.

    Autumn's `internal_error` is mostly transient, but sometimes an event causes it each time. If it stays for
    POISON_ATTEMPTS while the syncs of other customers work, the event is the cause.
    """
    passing = isinstance(error, TryAgain) and error.code == "internal_error"
    return passing and others_work and attempts >= POISON_ATTEMPTS


def decide(error: Exception, history: History, jitter: random.Random) -> Retry | DeadLettered:
    """Return the outcome of the events whose sync ended with `error`.

    Waits grow exponentially with full jitter, and are never shorter than the service requires. The maximum age of
    events is not checked here.
    """
    if isinstance(error, Halt):
        return Retry(HALT_WAIT_SECONDS)
    if isinstance(error, TryAgain):
        required_seconds = error.after_seconds or 0.0
        return Retry(required_seconds + _wait(history.attempts, jitter), required_seconds)
    if isinstance(error, SyncError):
        return DeadLettered(error.code, error.message)
    if history.unexpected + 1 >= UNEXPECTED_TRIES:
        return DeadLettered("unexpected", describe(error))
    return Retry(_wait(history.unexpected, jitter))


def _wait(attempts: int, jitter: random.Random) -> float:
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(attempts, 20))
    return jitter.uniform(0.0, longest)
