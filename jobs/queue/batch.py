"""The leased entries of one customer, and the settlement that a sync returns for them."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from jobs.events import EVENT_ID_MAX_BYTES, CustomerUpdate, EventError, read_entry, valid_traceparent
from jobs.plan.retry import HALT_WAIT_SECONDS
from jobs.queue.breaker import FAILURES_TO_OPEN, LONGEST_PROBE_WAIT_MS, NOTHING_LEARNED, ServiceReport
from jobs.queue.record import NO_RECORD, CustomerRecord, fields_to_write, time_text

OUTCOMES_KEPT = 10_000
RECORD_SECONDS = 30 * 86_400


class LeaseLostError(Exception):
    """Another worker may have the customer by now: write nothing, settle nothing."""


@dataclass
class Lease:
    """The right to write for one customer, until `deadline` on this process' monotonic clock, in seconds."""

    customer_id: str
    token: str
    deadline: float

    def check(self) -> None:
        """Raise LeaseLostError if the time is over. To be called before every write."""
        if time.monotonic() >= self.deadline:
            raise LeaseLostError(self.customer_id)


@dataclass(frozen=True)
class Entry:
    """One entry of a mailbox: the id it had in the inbox, and its fields as they were sent."""

    id: str
    fields: Mapping[bytes, bytes]

    @property
    def traceparent(self) -> str | None:
        """The trace context that the app sent along, None where there is no valid one."""
        return valid_traceparent(self.fields.get(b"traceparent", b"").decode(errors="replace"))


@dataclass(frozen=True)
class Batch:
    """A customer's mailbox, taken under a lease.

    `record` is the state that the last syncs left, `remembered` what they remembered of the values they wrote (see
    jobs.plan.recheck). `is_probe`: the breaker is open and this round finds out whether it may close.
    """

    lease: Lease
    entries: tuple[Entry, ...]
    record: CustomerRecord
    remembered: Mapping[str, Any]
    is_probe: bool

    @property
    def customer_id(self) -> str:
        """The customer whose mailbox it is."""
        return self.lease.customer_id

    @property
    def is_recheck(self) -> bool:
        """Whether this round was asked for because a write may have landed late."""
        return self.record.recheck

    @property
    def was_abandoned(self) -> bool:
        """Whether the round before this one never ended: its worker died, or stands still with a write on its way."""
        return bool(self.record.open_lease)


@dataclass(frozen=True)
class EntryOutcome:
    """What became of one entry. `event` is the id it is known by; `dead` holds a dead letter's fields."""

    entry: str
    event: str
    dead: Mapping[str, str] | None = None

    @property
    def is_dead(self) -> bool:
        """Whether it ends as a dead letter."""
        return self.dead is not None

    def as_json(self) -> dict[str, str]:
        """The form that the settling script reads."""
        status = "dead" if self.is_dead else "applied"
        return {"entry": self.entry, "event": self.event, "status": status, **(self.dead or {})}


@dataclass(frozen=True)
class Settlement:
    """The end of a sync: what became of which entries, the customer record from now on, counters to raise.

    Fields of the `record` that are as in the record `before` are not written.
    What is left in the mailbox waits for `again_after_ms`; while the breaker is open for less, but for `at_least_ms`. A
    recheck comes after `recheck_after_ms`, none for 0. `remembered` is kept for it and for the next sync, for
    `remembered_seconds`; None leaves what was. `breaker` is what was learned about the services.
    """

    outcomes: Sequence[EntryOutcome]
    record: CustomerRecord = NO_RECORD
    totals: Mapping[str, int] = field(default_factory=dict)
    again_after_ms: int = 0
    at_least_ms: int = 0
    recheck_after_ms: int = 0
    remembered: Mapping[str, Any] | None = None
    remembered_seconds: int = 0
    breaker: ServiceReport = NOTHING_LEARNED
    before: CustomerRecord = NO_RECORD

    def as_json(self) -> str:
        """The form that the settling script reads."""
        return json.dumps(
            {
                "outcomes": [outcome.as_json() for outcome in self.outcomes],
                "record": fields_to_write(self.record, self.before),
                "totals": dict(self.totals),
                "again_after_ms": self.again_after_ms,
                "at_least_ms": self.at_least_ms,
                "recheck_after_ms": self.recheck_after_ms,
                "remembered": "" if self.remembered is None else json.dumps(self.remembered),
                "remembered_seconds": self.remembered_seconds,
                "breaker": asdict(self.breaker),
                "outcomes_kept": OUTCOMES_KEPT,
                "record_seconds": RECORD_SECONDS,
                "failures_to_open": FAILURES_TO_OPEN,
                "longest_probe_wait_ms": LONGEST_PROBE_WAIT_MS,
                "halt_wait_ms": int(HALT_WAIT_SECONDS * 1000),
            }
        )


@dataclass(frozen=True)
class ParsedEvent:
    """A valid entry of a mailbox."""

    entry: str
    update: CustomerUpdate

    @property
    def event(self) -> str:
        """The id the event is known by: the app's own, or else its entry's."""
        return self.update.event_id or self.entry

    @property
    def sent_at_seconds(self) -> float:
        """When it reached the inbox, since the epoch: the first part of its entry's id, which is in milliseconds."""
        return int(self.entry.split("-")[0]) / 1000

    def applied(self) -> EntryOutcome:
        """Its end, where it was applied."""
        return EntryOutcome(self.entry, self.event)

    def dead(self, reason: str, message: str, record: CustomerRecord) -> EntryOutcome:
        """Its end, where it will never be applied; `record` is the customer's, with the tries before this one."""
        return _dead(self.entry, self.event, reason, message, record.attempts + 1, time_text(record.failing_since))


def parse_entries(entries: Sequence[Entry]) -> tuple[list[ParsedEvent], list[EntryOutcome]]:
    """The valid entries as events, and the ends of the others, each naming the fields that are wrong."""
    events, refused = [], []
    for entry in entries:
        try:
            events.append(ParsedEvent(entry.id, read_entry(entry.fields)))
        except EventError as error:
            refused.append(_dead(entry.id, _event_id(entry), "invalid_event", str(error), 0, ""))
    return events, refused


def _event_id(entry: Entry) -> str:
    """The id that move.lua has noted an entry under, whether it is valid in an event or not."""
    raw = entry.fields.get(b"event_id", b"")
    return raw.decode(errors="replace") if 0 < len(raw) <= EVENT_ID_MAX_BYTES else entry.id


def _dead(entry: str, event: str, reason: str, message: str, attempts: int, since: str) -> EntryOutcome:
    fields = {"reason": reason, "message": message, "attempts": str(attempts), "since": since}
    return EntryOutcome(entry, event, fields)
