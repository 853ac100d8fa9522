"""The leased entries of one customer, and the settlement that a sync returns for them."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.events import EVENT_ID_MAX_BYTES, CustomerUpdate, EventError, read_entry, valid_traceparent
from jobs.plan.edits import Edit
from jobs.plan.retry import HALT_WAIT_SECONDS
from jobs.plan.verified import Verified
from jobs.queue.breaker import FAILURES_TO_OPEN, LONGEST_PROBE_WAIT_MS, NOTHING_LEARNED, ServiceReport
from jobs.queue.record import NO_RECORD, CustomerRecord, fields_to_write, time_text
from jobs.queue.watch.links import LINKS_KEPT, Link
from jobs.queue.watch.request_ids import is_from_watch

OUTCOMES_KEPT = 10_000
REVIEWS_KEPT = 1_000
RECORD_SECONDS = 30 * 86_400


class LeaseLostError(Exception):
    """The lease is lost, and another worker may have the customer: write nothing, settle nothing."""


@dataclass
class Lease:
    """The right to write for one customer, until `deadline` on this process' monotonic clock, in seconds."""

    customer_id: str
    token: str
    deadline: float

    def check(self) -> None:
        """Raise LeaseLostError if the lease has expired. Call this before every write."""
        if time.monotonic() >= self.deadline:
            raise LeaseLostError(self.customer_id)


@dataclass(frozen=True)
class Entry:
    """One entry of a mailbox: its id from the inbox, and its fields as they were sent."""

    id: str
    fields: Mapping[bytes, bytes]

    @property
    def traceparent(self) -> str | None:
        """The trace context that the app sent; None if there is no valid one."""
        return valid_traceparent(self.fields.get(b"traceparent", b"").decode(errors="replace"))


@dataclass(frozen=True)
class Batch:
    """The entries of a customer's mailbox, taken under a lease.

    `record` is the customer record. `remembered` is what earlier syncs remember of the values they wrote
    (`jobs.plan.recheck`). `is_probe`: the breaker is open, and this sync finds out whether it can close. `edits` holds
    the names and e-mails that somebody edited in Stripe, by field. `taken_at` is the time on the clock of Redis, in
    seconds since the epoch, as `watch_position` is. `watch_is_current`: the watch's position is at most three polls
    old.
    """

    lease: Lease
    entries: tuple[Entry, ...]
    record: CustomerRecord
    remembered: Mapping[str, Any]
    is_probe: bool
    edits: Mapping[str, Edit] = field(default_factory=dict)
    taken_at: float = 0.0
    watch_is_current: bool = False
    watch_position: float = 0.0

    @property
    def customer_id(self) -> str:
        """The id of the customer."""
        return self.lease.customer_id

    @property
    def is_recheck(self) -> bool:
        """Whether this sync is a recheck."""
        return self.record.recheck

    @property
    def is_from_watch(self) -> bool:
        """Whether only the watch requested this sync."""
        return bool(self.entries) and all(is_from_watch(_event_id(entry)) for entry in self.entries)

    def verified(self, trust_seconds: float) -> Verified | None:
        """Return the values that both sides had at the last fetch, if this sync may trust them, else None.

        A sync fetches both sides if it is more than a plain update: a recheck, a probe, or the first after a worker
        died.
        """
        record, values = self.record, self.record.verified
        if values is None or self.is_recheck or self.is_probe or self.was_abandoned or not self.watch_is_current:
            return None
        is_recent = 0 <= self.taken_at - values.at < trust_seconds
        return values if is_recent and record.changes_in_stripe == values.changes else None

    @property
    def was_abandoned(self) -> bool:
        """Whether the last sync never settled: its worker died or hangs, perhaps with a write that is still pending."""
        return bool(self.record.open_lease)


@dataclass(frozen=True)
class EntryOutcome:
    """The outcome of one entry. `event` is the id of its event. `dead` holds the fields of a dead letter.

    `dropped` is why a reconcile of the watch was dropped instead, empty if it was applied.
    """

    entry: str
    event: str
    dead: Mapping[str, str] | None = None
    dropped: str = ""

    @property
    def is_dead(self) -> bool:
        """Whether the entry becomes a dead letter."""
        return self.dead is not None

    def as_json(self) -> dict[str, str]:
        """Return the format that `settle.lua` reads."""
        status = "dead" if self.is_dead else "applied"
        reason = {"reason": self.dropped} if self.dropped else {}
        return {"entry": self.entry, "event": self.event, "status": status, **reason, **(self.dead or {})}


@dataclass(frozen=True)
class Settlement:
    """The result of a sync: outcomes of entries, the new customer record, and counters to add to `totals`.

    Only fields in which `record` differs from `before` are written. The entries that are left wait for
    `again_after_ms`. While the breaker is open they may wait less, but at least `at_least_ms`. A recheck is due after
    `recheck_after_ms`; 0 schedules none. `remembered` is stored for `remembered_seconds`; None keeps the stored value.
    `breaker` is what the sync learned about the services. `link` is for the index of the watch, which has at
    most `links_kept` entries; None if the sync does not know the link.
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
    link: Link | None = None
    links_kept: int = LINKS_KEPT

    def as_json(self) -> str:
        """Return the format that `settle.lua` reads."""
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
                "breaker": vars(self.breaker),
                **({} if self.link is None else {"link": vars(self.link)}),
                "links_kept": self.links_kept,
                "outcomes_kept": OUTCOMES_KEPT,
                "reviews_kept": REVIEWS_KEPT,
                "record_seconds": RECORD_SECONDS,
                "failures_to_open": FAILURES_TO_OPEN,
                "longest_probe_wait_ms": LONGEST_PROBE_WAIT_MS,
                "halt_wait_ms": int(HALT_WAIT_SECONDS * 1000),
            }
        )


@dataclass(frozen=True)
class ParsedEvent:
    """An entry of a mailbox, parsed and validated."""

    entry: str
    update: CustomerUpdate

    @property
    def event(self) -> str:
        """The id of the event: the `event_id` that the app sent, else the entry id."""
        return self.update.event_id or self.entry

    @property
    def sent_at_seconds(self) -> float:
        """When the entry reached the inbox, in seconds since the epoch."""
        return int(self.entry.split("-")[0]) / 1000

    @property
    def is_from_watch(self) -> bool:
        """Whether it is a reconcile that the watch requested."""
        return self.update.type == "customer.reconcile" and is_from_watch(self.event)

    def applied(self, dropped: str = "") -> EntryOutcome:
        """Return the outcome of an event that was applied, or of a reconcile that was dropped for a reason."""
        return EntryOutcome(self.entry, self.event, dropped=dropped)

    def dead(self, reason: str, message: str, record: CustomerRecord) -> EntryOutcome:
        """Return the outcome of an event that will never be applied; `record` counts the tries before this one."""
        return _dead(self.entry, self.event, reason, message, record.attempts + 1, time_text(record.failing_since))


def parse_entries(entries: Sequence[Entry]) -> tuple[list[ParsedEvent], list[EntryOutcome]]:
    """Return the valid entries as events, and the outcomes of the others. Each names the invalid fields."""
    events, refused = [], []
    for entry in entries:
        try:
            events.append(ParsedEvent(entry.id, read_entry(entry.fields)))
        except EventError as error:
            refused.append(_dead(entry.id, _event_id(entry), "invalid_event", str(error), 0, ""))
    return events, refused


def _event_id(entry: Entry) -> str:
    """Return the event id under which `move.lua` noted the entry, even if the id is invalid in an event."""
    raw = entry.fields.get(b"event_id", b"")
    return raw.decode(errors="replace") if 0 < len(raw) <= EVENT_ID_MAX_BYTES else entry.id


def _dead(entry: str, event: str, reason: str, message: str, attempts: int, since: str) -> EntryOutcome:
    fields = {"reason": reason, "message": message, "attempts": str(attempts), "since": since}
    return EntryOutcome(entry, event, fields)
