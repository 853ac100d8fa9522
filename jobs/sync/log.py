"""What a sync says in the log: constant event names, ids, codes and counts; never what was sent or answered."""

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
"""Entries whose ids are on each line; there may be a hundred."""
NAMES_SHOWN: Final = 10


def about(batch: Batch) -> AbstractContextManager[Any]:
    """While it is entered, each line says whose sync it is, and of which entries."""
    ids = [entry.id for entry in batch.entries]
    more = {"more_entries": len(ids) - NAMED} if len(ids) > NAMED else {}
    return structlog.contextvars.bound_contextvars(customer=batch.customer_id, entry_ids=ids[:NAMED], **more)


def note_unknown_fields(entries: Sequence[Entry], totals: Counter[str]) -> None:
    """Name and count the fields that this version ignores: of a newer app, or typing errors."""
    of_each = [names for entry in entries if (names := unknown_fields(entry.fields))]
    if of_each:
        totals["unknown_fields"] += len(of_each)
        log.warning("unknown_fields_ignored", names=sorted(set().union(*of_each))[:NAMES_SHOWN])


def log_again(error: Exception, code: str, fate: Retry, history: History) -> None:
    """Log that the try failed and that there will be another; of an unexpected error also the type and the places."""
    wait = {"after_seconds": round(fate.after_seconds, 1), "attempts": history.attempts}
    if isinstance(error, Halt):
        # The first half is our own text; what the service said stays out of the log, and is shown by `status`.
        log.error("work_halted", error=code, fix=error.message.split(" It changes: ", maxsplit=1)[0], **wait)
    elif cause := cause_of(error):
        log.warning("retry_scheduled", error=code, cause=cause, **wait)
    else:
        log.warning("retry_scheduled", error=code, **wait)


def log_settled(settled: Sequence[EntryOutcome], left: int, link: str | None) -> None:
    """The round came to its end."""
    dead = sum(end.is_dead for end in settled)
    log.info("sync_settled", applied=len(settled) - dead, dead=dead, left=left, link=link)
