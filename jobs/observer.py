"""What a job tells whoever watches it: a sync from its begin to its end, how each call ended, how long one waited for
its turn.

Plain calls, so that no job and no door knows what becomes of them. They come several times a sync: they have to be
cheap, and must never raise. No value and no message is ever told, and a customer's id with its sync alone.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol

from jobs.errors import Absent, GiveUp, Halt, Limited, Service, SyncError, TimedOut, TryAgain
from jobs.queue.batch import Batch, Settlement

CallResult = Literal["ok", "absent", "refused", "limited", "timed-out", "failed", "halted", "cut-short"]
SyncOutcome = Literal["applied", "dead", "again", "halted", "lost"]


@dataclass(slots=True)
class Call:
    """A call to an endpoint, named "METHOD /path/{id}", and how it ended.

    `status_code` is that of HTTP, None where no answer came. `error` is the code of the error that it raised, or the
    type of one that is not ours; empty if it raised none.
    """

    service: Service
    endpoint: str
    result: CallResult = "ok"
    seconds: float = 0.0
    status_code: int | None = None
    error: str = ""


@dataclass(slots=True)
class Sync:
    """A sync of a customer: what is known at its begin, and, once it `ended`, what came of it.

    `traceparents` are the valid trace contexts of its entries. `outcome` is "lost" while nothing is settled, and stays
    so where another worker has the customer by now. `error` is the code of what cut it short, or else the reason of the
    first entry that died; empty if all went well.
    """

    customer_id: str
    traceparents: tuple[str, ...]
    entries: int
    outcome: SyncOutcome = "lost"
    error: str = "lease_lost"
    applied: int = 0
    dead: int = 0

    def ended(self, settlement: Settlement) -> None:
        """It was settled so. What is neither applied nor dead is left for the next one."""
        reasons = [end.dead["reason"] for end in settlement.outcomes if end.dead is not None]
        cut_short = settlement.record.last_error
        self.dead, self.applied = len(reasons), len(settlement.outcomes) - len(reasons)
        self.error = cut_short or next(iter(reasons), "")
        # A second look has no entries of its own, and is tried again too.
        goes_on = self.entries > len(settlement.outcomes) or not settlement.outcomes
        if settlement.breaker.verdict == "halt":
            self.outcome = "halted"
        elif cut_short and goes_on:
            self.outcome = "again"
        else:
            self.outcome = "dead" if self.dead else "applied"


class Observer(Protocol):
    """Whoever watches."""

    def syncing(self, sync: Sync) -> AbstractContextManager[None]:
        """A sync goes on for the length of the block, the calls and waits of which are told inside. Raises through."""

    def called(self, call: Call) -> None:
        """A call ended."""

    def waited(self, limit: str, seconds: float) -> None:
        """A call had its turn under a limit, after so long."""


class Nobody:
    """Watches nothing."""

    def syncing(self, sync: Sync) -> AbstractContextManager[None]:  # noqa: ARG002 - see Observer
        """See Observer."""
        return nullcontext()

    def called(self, call: Call) -> None:
        """See Observer."""

    def waited(self, limit: str, seconds: float) -> None:
        """See Observer."""


NOBODY = Nobody()


class Both:
    """Two that watch the same."""

    def __init__(self, one: Observer, other: Observer) -> None:
        """`one` is told first."""
        self._one = one
        self._other = other

    @contextmanager
    def syncing(self, sync: Sync) -> Iterator[None]:
        """See Observer."""
        with self._one.syncing(sync), self._other.syncing(sync):
            yield

    def called(self, call: Call) -> None:
        """See Observer."""
        self._one.called(call)
        self._other.called(call)

    def waited(self, limit: str, seconds: float) -> None:
        """See Observer."""
        self._one.waited(limit, seconds)
        self._other.waited(limit, seconds)


def sync_of(batch: Batch) -> Sync:
    """The sync that begins with this batch."""
    contexts = tuple(dict.fromkeys(entry.traceparent for entry in batch.entries if entry.traceparent is not None))
    return Sync(batch.customer_id, contexts, len(batch.entries))


@contextmanager
def observed(observer: Observer, service: Service, endpoint: str) -> Iterator[Call]:
    """Tell how the call in the block ended, and raise whatever it raised. The block notes the status code."""
    begin = time.monotonic()
    call = Call(service, endpoint)
    try:
        yield call
    except BaseException as error:
        call.result = result_of(error)
        call.error = error.code if isinstance(error, SyncError) else type(error).__name__
        raise
    finally:
        call.seconds = time.monotonic() - begin
        observer.called(call)


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
