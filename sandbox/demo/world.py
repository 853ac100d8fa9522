"""The data types of the demo: seeded customers and payments, events to send, and the expected results.

Plain values only. Code that makes, sends or checks them belongs elsewhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal

from sandbox.audit.expected import Profile

Changes = dict[str, Any]
Mode = Literal["mirror", "open", "recover"]

APPLIED: Final = "applied"
DUPLICATE: Final = "dropped as a duplicate"
NEEDS_REVIEW: Final = "needs-review"


@dataclass(frozen=True)
class InStripe:
    """A Stripe customer to seed."""

    id: str
    name: str | None = None
    email: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    deleted: bool = False


@dataclass(frozen=True)
class Payment:
    """A payment intent to seed, and the receipt addresses that it must be given, in order; None clears one."""

    id: str
    stripe_id: str
    about: str
    """A description for a person."""
    receipt_email: str | None = None
    """The address that the app has set."""
    succeeded_hours_ago: float | None = None
    """None for an open payment."""
    addresses: tuple[str | None, ...] = ()

    @property
    def mailed_to(self) -> tuple[str, ...]:
        """Return the addresses that must get a receipt: Stripe mails it if the address is set after the success."""
        return tuple(each for each in self.addresses if each and self.succeeded_hours_ago is not None)


class Expected(Enum):
    """The expected result of a customer."""

    IN_SYNC = "linked, and both sides agree"
    REPAIRED = "linked again, because its Stripe customer is missing, and both sides agree"
    REFUSED = "needs review, so nothing is written"
    UNLINKED = "no longer linked, because an event unlinks it"


@dataclass(frozen=True)
class SeededCustomer:
    """A customer to seed in Autumn, with its Stripe customers."""

    customer_id: str
    profile: Profile
    stripe_id: str | None = None
    """The Stripe customer that it is linked to in Autumn; it may not exist."""
    stripe: tuple[InStripe, ...] = ()
    expected_result: Expected = Expected.IN_SYNC


@dataclass(frozen=True)
class Entry:
    """An entry to send `at_seconds` after the start, and its expected outcome."""

    at_seconds: float
    fields: Mapping[str, str]
    outcome: str
    about: str
    """A description for a person."""
    waits: bool = False
    """Whether it is sent only after all earlier events of its customer have an outcome, so that they are not merged."""

    @property
    def customer_id(self) -> str:
        """Return the customer's id, empty if the entry has none."""
        return self.fields.get("customer_id", "")

    @property
    def changes(self) -> Changes:
        """Return the changes that the entry requests."""
        changes: Changes = json.loads(self.fields.get("changes", "{}"))
        return changes


@dataclass(frozen=True)
class Edit:
    """An edit by a person in Stripe's dashboard, `at_seconds` after the start. `params` is None for a deletion."""

    at_seconds: float
    customer_id: str
    stripe_id: str
    params: Mapping[str, Any] | None


@dataclass(frozen=True)
class Traffic:
    """Everything to seed and to send, in order, and the expected profile of each customer."""

    customers: tuple[SeededCustomer, ...]
    entries: tuple[Entry, ...]
    expected: Mapping[str, Profile]
    strangers: tuple[InStripe, ...] = ()
    """Stripe customers without an Autumn customer."""
    payments: tuple[Payment, ...] = ()
    edits: tuple[Edit, ...] = ()

    def __add__(self, other: "Traffic") -> "Traffic":
        """Return both together."""
        return Traffic(
            self.customers + other.customers,
            tuple(sorted(self.entries + other.entries, key=lambda entry: entry.at_seconds)),
            {**self.expected, **other.expected},
            self.strangers + other.strangers,
            self.payments + other.payments,
            self.edits + other.edits,
        )

    def of(self, expected_result: Expected) -> tuple[SeededCustomer, ...]:
        """Return the customers with this expected result."""
        return tuple(seeded for seeded in self.customers if seeded.expected_result is expected_result)

    @property
    def in_sync(self) -> int:
        """Return how many customers must be in sync at the end."""
        return len(self.of(Expected.IN_SYNC)) + len(self.of(Expected.REPAIRED))

    @property
    def apart(self) -> dict[str, str | None]:
        """Return the customers without their own Stripe customer at the end, with their expected `stripe_id`."""
        refused = {seeded.customer_id: seeded.stripe_id for seeded in self.of(Expected.REFUSED)}
        return refused | {seeded.customer_id: None for seeded in self.of(Expected.UNLINKED)}

    @property
    def untouched(self) -> dict[str, InStripe]:
        """Return the Stripe customers, not deleted, that must not be written, by their id."""
        theirs = [each for seeded in self.customers if seeded.customer_id in self.apart for each in seeded.stripe]
        return {each.id: each for each in [*self.strangers, *theirs] if not each.deleted}


def entry_of(at_seconds: float, customer_id: str, changes: Changes, about: str, outcome: str = APPLIED) -> Entry:
    """Return an entry that requests changes."""
    fields = {"customer_id": customer_id, "changes": json.dumps(changes, ensure_ascii=False)}
    return Entry(at_seconds, fields, outcome, about)
