"""Log events of a sync: constant names, ids, codes and counts; never data that was sent or answered."""

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import structlog

from jobs.errors import Halt, cause_of
from jobs.events import unknown_fields
from jobs.plan.retry import History, Retry
from jobs.queue.batch import Batch, Entry, EntryOutcome

log = structlog.get_logger(__name__)

NAMED: Final = 3
"""Entry ids that each log line names at most. A batch may have a hundred."""
NAMES_SHOWN: Final = 10


def about(batch: Batch) -> AbstractContextManager[Any]:
    """Return a context in which each log line names the customer and the entries."""
    ids = [entry.id for entry in batch.entries]
    more = {"more_entries": len(ids) - NAMED} if len(ids) > NAMED else {}
    return structlog.contextvars.bound_contextvars(customer=batch.customer_id, entry_ids=ids[:NAMED], **more)


def note_unknown_fields(entries: Sequence[Entry], totals: Counter[str]) -> None:
    """Log and count unknown fields. They come from a newer app, or are typing errors."""
    of_each = [names for entry in entries if (names := unknown_fields(entry.fields))]
    if of_each:
        totals["unknown_fields"] += len(of_each)
        log.warning("unknown_fields_ignored", names=sorted(set().union(*of_each))[:NAMES_SHOWN])


def log_retry(error: Exception, code: str, decision: Retry, history: History) -> None:
    """Log that a try failed and is repeated; for an unexpected error, also its type and code locations."""
    wait = {"after_seconds": round(decision.after_seconds, 1), "attempts": history.attempts}
    if isinstance(error, Halt):
        # The first part is our own text. The service's text may be personal, so only `status` shows it.
        log.error("work_halted", error=code, fix=error.fix, **wait)
    elif cause := cause_of(error):
        log.warning("retry_scheduled", error=code, cause=cause, **wait)
    else:
        log.warning("retry_scheduled", error=code, **wait)


def log_settled(settled: Sequence[EntryOutcome], left: int, link: str | None) -> None:
    """Log that the sync succeeded."""
    dead = sum(outcome.is_dead for outcome in settled)
    log.info("sync_settled", applied=len(settled) - dead, dead=dead, left=left, link=link)
