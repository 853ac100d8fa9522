"""Whether a failed sync is tried again, and when. Purely computational: clock and randomness are handed in.

Part of the jobs, not of the worker that runs them, because the job itself settles its failures while it holds the
lease.
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
    """What a customer's changes went through before this failure, all in a row.

    `attempts` that failed as services do, for `failing_seconds`, and `unexpected` errors, which are counted apart.
    """

    attempts: int
    failing_seconds: float
    unexpected: int = 0


@dataclass(frozen=True)
class Again:
    """Try again after so many seconds, of which `at_least_seconds` hold whatever else is known."""

    after_seconds: float
    at_least_seconds: float = 0.0


@dataclass(frozen=True)
class Bury:
    """Never again: a dead letter, with a short reason to group by and a message for a person."""

    reason: str
    message: str


def is_permanent(error: Exception, attempts: int, *, others_work: bool) -> bool:
    """Whether a failure that claims to be passing has shown by now that it is not.

    Autumn's `internal_error` is mostly transient and sometimes permanent, without saying so: after some tries, while
    other customers get through, it is about the change.
    """
    passing = isinstance(error, TryAgain) and error.code == "internal_error"
    return passing and others_work and attempts >= POISON_ATTEMPTS


def decide(error: Exception, history: History, jitter: random.Random) -> Again | Bury:
    """What becomes of the changes whose sync ended with `error`.

    Waits grow exponentially with full jitter, never shorter than the service asked for. How long changes are tried
    at all is up to their age, and not decided here.
    """
    if isinstance(error, Halt):
        return Again(HALT_WAIT_SECONDS)
    if isinstance(error, TryAgain):
        request = error.after_seconds or 0.0
        return Again(request + _wait(history.attempts, jitter), request)
    if isinstance(error, SyncError):
        return Bury(error.code, error.message)
    if history.unexpected + 1 >= UNEXPECTED_TRIES:
        return Bury("unexpected", describe(error))
    return Again(_wait(history.unexpected, jitter))


def _wait(attempts: int, jitter: random.Random) -> float:
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(attempts, 20))
    return jitter.uniform(0.0, longest)
