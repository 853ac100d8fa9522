"""The events sent to a mailbox and their right outcomes, independent of the code under test. No Redis."""

import json
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

NAMES = ("ann", "bob", "cid")
Changes = Mapping[str, Any]


class Sent(NamedTuple):
    """An event that Redis accepted. `customer` is None if it names none, `event` is its id."""

    customer: str | None
    event: str
    changes: Changes


class Ledger:
    """The entries sent, moved and settled, and the customers as the service has them."""

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self.moved: list[str] = []
        self.ended: dict[str, str] = {}
        self.replayed: list[str] = []
        self.unsettled: set[str] = set()
        self.service: dict[str, Changes] = {name: {} for name in NAMES}

    def accept(self, entry: str, fields: Mapping[str, str]) -> None:
        customer = fields.get("customer_id") if fields.get("customer_id") in NAMES else None
        event = fields.get("event_id") if customer else None
        self.sent[entry] = Sent(customer, event or entry, json.loads(fields.get("changes", "{}")))

    def move(self, entry: str) -> None:
        """Note that an entry was moved. An invalid event is dead; a repeated one is a duplicate, unless the first is
        dead."""
        same = [other for other in self.moved if self.sent[other].event == self.sent[entry].event]
        self.moved.append(entry)
        if self.sent[entry].customer is None:
            self.ended[entry] = "dead"
        elif any(self.ended.get(other, "applied") == "applied" for other in same):
            self.ended[entry] = "duplicates"

    def batch(self, customer: str, outcome: str | None) -> list[str]:
        """Return a customer's entries with this outcome, in the order of the stream. None: no outcome yet."""
        ours = [entry for entry in self.moved if self.sent[entry].customer == customer]
        return [entry for entry in ours if self.ended.get(entry) == outcome]

    def write(self, customer: str, entries: Sequence[str], changes: Changes) -> None:
        """Write one merged update to the service: in order, never a settled entry, never over a newer one."""
        assert entries == [entry for entry in self.batch(customer, None) if entry in entries], (
            "the entries are not in order"
        )
        applied = self.batch(customer, "applied")
        assert not applied or not entries or self.moved.index(applied[-1]) < self.moved.index(entries[0]), "too old"
        self.service[customer] = put(self.service[customer], changes)
        self.unsettled.update(entries)

    def settle(self, customer: str, outcomes: Mapping[str, str]) -> None:
        """Note outcomes. If every written entry is settled, the service must be exactly right."""
        assert not outcomes.keys() & self.ended.keys(), "settled twice"
        self.ended |= outcomes
        self.unsettled -= outcomes.keys()
        if not self.unsettled.intersection(self.batch(customer, None)):
            applied = [self.sent[entry].changes for entry in self.batch(customer, "applied")]
            assert self.service[customer] == reduce(put, applied, dict[str, Any]())


def put(customer: Changes, changes: Changes) -> dict[str, Any]:
    """Return the customer after one update: a value replaces, metadata by key, and a null deletes the key."""
    metadata = {f"metadata.{key}": value for key, value in changes.get("metadata", {}).items()}
    after = {**customer, **changes, **metadata, "metadata": None}
    return {name: value for name, value in after.items() if value is not None}
