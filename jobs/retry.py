"""Whether a failed sync is tried again, and when. Purely computational: clock and randomness are handed in.

Part of the jobs, not of the worker that runs them, because the job itself settles its failures while it holds the
lease.
"""

import random
import traceback
from dataclasses import dataclass

from jobs.errors import Halt, SyncError, TryAgain

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 300.0
HALT_WAIT_SECONDS = 30.0
UNEXPECTED_ATTEMPTS = 5
FRAMES_KEPT = 3


@dataclass(frozen=True)
class History:
    """How often a customer's changes failed in a row, and for how many seconds, before this failure."""

    attempts: int
    failing_seconds: float


@dataclass(frozen=True)
class Again:
    """Try again after so many seconds. `counts`: whether it was a try that failed, or nothing could be tried."""

    after_seconds: float
    counts: bool = True


@dataclass(frozen=True)
class Bury:
    """Never again: a dead letter, with a short reason to group by and a message for a person."""

    reason: str
    message: str


def decide(error: Exception, history: History, retry_for_seconds: float, jitter: random.Random) -> Again | Bury:
    """What becomes of the changes whose sync ended with `error`.

    Waits grow exponentially with full jitter, never shorter than the service asked for.
    """
    if isinstance(error, Halt):
        return Again(HALT_WAIT_SECONDS, counts=False)
    if isinstance(error, TryAgain):
        if history.failing_seconds >= retry_for_seconds:
            return Bury(error.code, f"still failing after {history.failing_seconds:.0f} s: {error}")
        return Again(_wait(error.after_seconds or 0.0, history.attempts, jitter))
    if isinstance(error, SyncError):
        return Bury(error.code, error.message)
    if history.attempts + 1 >= UNEXPECTED_ATTEMPTS:
        return Bury("unexpected", describe(error))
    return Again(_wait(0.0, history.attempts, jitter))


def _wait(asked_seconds: float, attempts: int, jitter: random.Random) -> float:
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(attempts, 20))
    return asked_seconds + jitter.uniform(0.0, longest)


def describe(error: Exception) -> str:
    """An unexpected error as a person wants it: its type and the last places it came through, without its values."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_KEPT:]
    places = " < ".join(
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in reversed(frames)
    )
    return f"{type(error).__name__} at {places}"
