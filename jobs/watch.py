"""What the doors of a job tell whoever watches them: that a call ended and how, and how long one waited for its turn.

Plain calls, so that no door knows what becomes of them. They come several times a sync: they have to be cheap, and must
never raise. No customer's id, value or message is ever told.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

from jobs.errors import Absent, GiveUp, Halt, Limited, Service, TimedOut, TryAgain

CallResult = Literal["ok", "absent", "refused", "limited", "timed-out", "failed", "halted", "cut-short"]


class Watch(Protocol):
    """Whoever watches."""

    def called(self, service: Service, endpoint: str, result: CallResult, seconds: float) -> None:
        """A call to an endpoint, named "METHOD /path/{id}", ended."""

    def waited(self, limit: str, seconds: float) -> None:
        """A call had its turn under a limit, after so long."""


class Nobody:
    """Watches nothing."""

    def called(self, service: Service, endpoint: str, result: CallResult, seconds: float) -> None:
        """See Watch."""

    def waited(self, limit: str, seconds: float) -> None:
        """See Watch."""


NOBODY = Nobody()


@contextmanager
def watched(watch: Watch, service: Service, endpoint: str) -> Iterator[None]:
    """Tell how the call in the block ended, and raise whatever it raised."""
    begin = time.monotonic()
    result: CallResult = "ok"
    try:
        yield
    except BaseException as error:
        result = result_of(error)
        raise
    finally:
        watch.called(service, endpoint, result, time.monotonic() - begin)


def result_of(error: BaseException) -> CallResult:
    """How a call ended that raised: one word of few, so that it may be a label."""
    match error:
        case Limited():
            return "limited"
        case TimedOut():
            return "timed-out"
        case TryAgain():
            return "failed"
        case Absent():
            return "absent"
        case GiveUp():
            return "refused"
        case Halt():
            return "halted"
        case _:
            return "cut-short"
