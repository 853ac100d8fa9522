"""A mailbox's entries as events, and what becomes of each. Purely computational, no I/O here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.events import EVENT_ID_MAX_BYTES, CustomerUpdate, EventError, read_entry
from jobs.mail import Entry, Settled


@dataclass(frozen=True)
class Letter:
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

    def applied(self) -> Settled:
        """Its end, where it was applied."""
        return Settled(self.entry, self.event)

    def dead(self, reason: str, message: str, record: Mapping[str, str]) -> Settled:
        """Its end, where it will never be applied; `record` is the customer's, with the tries before this one."""
        attempts = int(record.get("attempts") or 0) + 1
        return _dead(self.entry, self.event, reason, message, attempts, record.get("failing_since", ""))


def open_entries(entries: Sequence[Entry]) -> tuple[list[Letter], list[Settled]]:
    """The valid entries as letters, and the ends of the others, each naming the fields that are wrong."""
    letters, refused = [], []
    for entry in entries:
        try:
            letters.append(Letter(entry.id, read_entry(entry.fields)))
        except EventError as error:
            refused.append(_dead(entry.id, _event_id(entry), "invalid_event", str(error), 0, ""))
    return letters, refused


def _event_id(entry: Entry) -> str:
    """The id that move.lua has noted an entry under, whether it is valid in an event or not."""
    raw = entry.fields.get(b"event_id", b"")
    return raw.decode(errors="replace") if 0 < len(raw) <= EVENT_ID_MAX_BYTES else entry.id


def _dead(entry: str, event: str, reason: str, message: str, attempts: int, since: str) -> Settled:
    fields = {"reason": reason, "message": message, "attempts": str(attempts), "since": since}
    return Settled(entry, event, fields)
