"""The observer that jobs report to: each sync, each call to a service, and each wait for a slot.

Jobs and clients call it without knowing whether it makes metrics or traces. Each sync calls it several times, so an
observer must be cheap and must never raise. Reports contain no values and no messages, and a customer's id only in its
sync.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol

from jobs.errors import Absent, GiveUp, Halt, Limited, Service, SyncError, TimedOut, TryAgain
from jobs.queue.batch import Batch, Settlement

CallResult = Literal["ok", "absent", "refused", "limited", "timed-out", "failed", "halted", "cut-short"]
SyncOutcome = Literal["applied", "dead-lettered", "retried", "halted", "lost"]


@dataclass(slots=True)
class Call:
    """A call to an endpoint, named "METHOD /path/{id}", and its result.

    `status_code` is the HTTP status, None if no answer came. `error` is the code of the error that the call raised, or
    the type of an error that is not ours. It is empty if the call raised none.
    """

    service: Service
    endpoint: str
    result: CallResult = "ok"
    seconds: float = 0.0
    status_code: int | None = None
    error: str = ""


@dataclass(slots=True)
class Sync:
    """A sync of a customer. `ended` adds its outcome.

    `traceparents` are the valid trace contexts of its entries. `outcome` is "lost" until the sync is settled, and stays
    "lost" if another worker has the lease by then. `error` is the code of the error that cut the sync short, or else
    the reason of its first dead letter. It is empty if all went well.
    """

    customer_id: str
    traceparents: tuple[str, ...]
    entries: int
    outcome: SyncOutcome = "lost"
    error: str = "lease_lost"
    applied: int = 0
    dead: int = 0

    def ended(self, settlement: Settlement) -> None:
        """Note the outcome. Entries that are neither applied nor dead-lettered are left for the next sync."""
        reasons = [end.dead["reason"] for end in settlement.outcomes if end.dead is not None]
        cut_short = settlement.record.last_error
        self.dead, self.applied = len(reasons), len(settlement.outcomes) - len(reasons)
        self.error = cut_short or next(iter(reasons), "")
        # A recheck has no entries, and is retried too.
        goes_on = self.entries > len(settlement.outcomes) or not settlement.outcomes
        if settlement.breaker.verdict == "halt":
            self.outcome = "halted"
        elif cut_short and goes_on:
            self.outcome = "retried"
        else:
            self.outcome = "dead-lettered" if self.dead else "applied"


class Observer(Protocol):
    """The methods of an observer."""

    def syncing(self, sync: Sync) -> AbstractContextManager[None]:
        """Observe a sync for the length of the block, with its calls and waits. Errors of the block pass through."""

    def called(self, call: Call) -> None:
        """Observe a call that ended."""

    def throttled(self, limit: str, seconds: float) -> None:
        """Observe that a call got its slot under `limit` after waiting this many seconds."""

    def event_agreed(self, seconds: float) -> None:
        """Observe that both sides agree, this many seconds after the event of Stripe that led to the sync."""


class Nobody:
    """An observer that does nothing."""

    def syncing(self, sync: Sync) -> AbstractContextManager[None]:  # noqa: ARG002 - see Observer
        """See Observer."""
        return nullcontext()

    def called(self, call: Call) -> None:
        """See Observer."""

    def throttled(self, limit: str, seconds: float) -> None:
        """See Observer."""

    def event_agreed(self, seconds: float) -> None:
        """See Observer."""


NOBODY = Nobody()


class Both:
    """An observer that passes everything on to two others."""

    def __init__(self, one: Observer, other: Observer) -> None:
        """Call `one` first, then `other`."""
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

    def throttled(self, limit: str, seconds: float) -> None:
        """See Observer."""
        self._one.throttled(limit, seconds)
        self._other.throttled(limit, seconds)

    def event_agreed(self, seconds: float) -> None:
        """See Observer."""
        self._one.event_agreed(seconds)
        self._other.event_agreed(seconds)


def sync_of(batch: Batch) -> Sync:
    """Return the sync that begins with this batch."""
    contexts = tuple(dict.fromkeys(entry.traceparent for entry in batch.entries if entry.traceparent is not None))
    return Sync(batch.customer_id, contexts, len(batch.entries))


@contextmanager
def observed(observer: Observer, service: Service, endpoint: str) -> Iterator[Call]:
    """Report the call in the block to the observer. The block sets the status code; its errors pass through."""
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
    """Return the result of a call that raised `error`. There are few results, so they can be a metric's label."""
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
