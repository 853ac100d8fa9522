"""The nouns of the demo: what is planted in both services, what is sent, and what has to be true in the end.

Plain values. It must not know how they are made, sent or judged.
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
    """A Stripe customer to plant."""

    id: str
    name: str | None = None
    email: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    deleted: bool = False


@dataclass(frozen=True)
class Payment:
    """A payment intent to plant, and the receipt addresses it has to be given, in order; None takes one back."""

    id: str
    stripe_id: str
    about: str
    """What it is, for people."""
    receipt_email: str | None = None
    """The app's own."""
    succeeded_hours_ago: float | None = None
    """None while it is open."""
    addresses: tuple[str | None, ...] = ()

    @property
    def mailed_to(self) -> tuple[str, ...]:
        """To whom Stripe has to mail its receipt: an address that is set after the success mails at once."""
        return tuple(each for each in self.addresses if each and self.succeeded_hours_ago is not None)


class Fate(Enum):
    """What has to become of a customer."""

    IN_SYNC = "linked, and both sides agree"
    HEALED = "the same, though its link was to nobody"
    REFUSED = "nothing is written, for a person to decide"
    UNLINKED = "no longer linked, because a change said so"


@dataclass(frozen=True)
class Planted:
    """A customer to plant in Autumn, with the Stripe customers that are there for it."""

    customer_id: str
    profile: Profile
    stripe_id: str | None = None
    """The Stripe customer that Autumn says it is linked to."""
    stripe: tuple[InStripe, ...] = ()
    fate: Fate = Fate.IN_SYNC


@dataclass(frozen=True)
class Entry:
    """An entry to send, seconds after the first one, and the ending it has to have."""

    at_seconds: float
    fields: Mapping[str, str]
    end: str
    about: str
    """What it is, for people."""
    waits: bool = False
    """Sent only when what came before of its customer has ended, so that it is not merged with that."""

    @property
    def customer_id(self) -> str:
        """The customer it names, empty if it names none."""
        return self.fields.get("customer_id", "")

    @property
    def changes(self) -> Changes:
        """The changes it asks for."""
        changes: Changes = json.loads(self.fields.get("changes", "{}"))
        return changes


@dataclass(frozen=True)
class Traffic:
    """All there is to plant and to send, in order, and the profile each customer then has to have."""

    customers: tuple[Planted, ...]
    entries: tuple[Entry, ...]
    expected: Mapping[str, Profile]
    strangers: tuple[InStripe, ...] = ()
    """Stripe customers that have nothing to do with Autumn."""
    payments: tuple[Payment, ...] = ()

    def __add__(self, other: "Traffic") -> "Traffic":
        """Both at once."""
        return Traffic(
            self.customers + other.customers,
            tuple(sorted(self.entries + other.entries, key=lambda entry: entry.at_seconds)),
            {**self.expected, **other.expected},
            self.strangers + other.strangers,
            self.payments + other.payments,
        )

    def of(self, fate: Fate) -> tuple[Planted, ...]:
        """The customers of whom that has to become."""
        return tuple(planted for planted in self.customers if planted.fate is fate)

    @property
    def in_sync(self) -> int:
        """How many customers have to be in sync in the end."""
        return len(self.of(Fate.IN_SYNC)) + len(self.of(Fate.HEALED))

    @property
    def apart(self) -> dict[str, str | None]:
        """The customers without a Stripe customer of their own in the end, and the `stripe_id` they then have."""
        refused = {planted.customer_id: planted.stripe_id for planted in self.of(Fate.REFUSED)}
        return refused | {planted.customer_id: None for planted in self.of(Fate.UNLINKED)}

    @property
    def untouched(self) -> dict[str, InStripe]:
        """The living Stripe customers that nobody may write to, by their id."""
        theirs = [each for planted in self.customers if planted.customer_id in self.apart for each in planted.stripe]
        return {each.id: each for each in [*self.strangers, *theirs] if not each.deleted}


def entry_of(at_seconds: float, customer_id: str, changes: Changes, about: str, end: str = APPLIED) -> Entry:
    """An entry that asks for changes."""
    fields = {"customer_id": customer_id, "changes": json.dumps(changes, ensure_ascii=False)}
    return Entry(at_seconds, fields, end, about)
