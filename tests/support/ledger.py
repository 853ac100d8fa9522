"""The events sent to a mailbox and their right outcomes, kept apart from the code under test. Knows no Redis."""

import json
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

NAMES = ("ann", "bob", "cid")
Said = Mapping[str, Any]


class Sent(NamedTuple):
    """An event that Redis accepted; `customer` is None where it names none, `event` is the id it is known by."""

    customer: str | None
    event: str
    said: Said


class Ledger:
    """Entries sent, moved and settled, and the customers as the service holds them. Knows no Redis."""

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self.moved: list[str] = []
        self.ended: dict[str, str] = {}
        self.replayed: list[str] = []
        self.unsettled: set[str] = set()
        self.service: dict[str, Said] = {name: {} for name in NAMES}

    def accept(self, entry: str, fields: Mapping[str, str]) -> None:
        customer = fields.get("customer_id") if fields.get("customer_id") in NAMES else None
        event = fields.get("event_id") if customer else None
        self.sent[entry] = Sent(customer, event or entry, json.loads(fields.get("changes", "{}")))

    def move(self, entry: str) -> None:
        """An invalid event is dead; the same event twice is one, but a dead one may be sent again."""
        same = [other for other in self.moved if self.sent[other].event == self.sent[entry].event]
        self.moved.append(entry)
        if self.sent[entry].customer is None:
            self.ended[entry] = "dead"
        elif any(self.ended.get(other, "applied") == "applied" for other in same):
            self.ended[entry] = "duplicates"

    def mail(self, customer: str, end: str | None) -> list[str]:
        """A customer's entries that ended so, None for not yet, in the order of the stream."""
        ours = [entry for entry in self.moved if self.sent[entry].customer == customer]
        return [entry for entry in ours if self.ended.get(entry) == end]

    def write(self, customer: str, entries: Sequence[str], said: Said) -> None:
        """Write one merged update to the service: in order, never what is settled, never over what is newer."""
        assert entries == [entry for entry in self.mail(customer, None) if entry in entries], "not in order"
        applied = self.mail(customer, "applied")
        assert not applied or not entries or self.moved.index(applied[-1]) < self.moved.index(entries[0]), "too old"
        self.service[customer] = put(self.service[customer], said)
        self.unsettled.update(entries)

    def settle(self, customer: str, ends: Mapping[str, str]) -> None:
        """Note how entries ended; where nothing is written but unsettled, the service has to be exactly right."""
        assert not ends.keys() & self.ended.keys(), "ended twice"
        self.ended |= ends
        self.unsettled -= ends.keys()
        if not self.unsettled.intersection(self.mail(customer, None)):
            applied = [self.sent[entry].said for entry in self.mail(customer, "applied")]
            assert self.service[customer] == reduce(put, applied, dict[str, Any]())


def put(customer: Said, said: Said) -> dict[str, Any]:
    """One update as the service makes it: a value replaces, metadata by key, and a null deletes the key."""
    metadata = {f"metadata.{key}": value for key, value in said.get("metadata", {}).items()}
    after = {**customer, **said, **metadata, "metadata": None}
    return {name: value for name, value in after.items() if value is not None}
