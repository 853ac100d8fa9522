"""Knowledge of the accounts that does not come from the code under test.

Both sides before and after a sync, the writer of each receipt address, the mailed payments, and the events with their
outcomes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.queue.record import CustomerRecord
from sandbox.audit.expected import flat
from sandbox.audit.sides import Record, Sides
from sandbox.stripe.payments import Mail
from sandbox.stripe.writes import Write
from tests.conftest import World

Json = dict[str, Any]
PROFILE = ("name", "email")


def both_sides(world: World) -> Sides:
    """Return a copy of both services' state. Stripe's objects are never changed in place, Autumn's rows are."""
    rows = {name: dict(row) for name, row in world.autumn.customers.items()}
    return Sides(rows, dict(world.stripe.customers), dict(world.stripe.payment_intents))


@dataclass(frozen=True)
class Sync:
    """One sync of one customer, complete or stopped by a crash: the state that it found, and its effects."""

    customer: str
    before: Sides
    after: Sides
    batch: Mapping[str, Json]
    """The waiting changes, by entry."""
    is_recheck: bool
    is_whole: bool
    """Whether it completed, without a crash and without an error that needs a retry."""
    was_refused: bool
    """Whether Autumn refused an update for good, for no reason in the account."""
    writes: Sequence[Write]
    mails: Sequence[Mail]
    outcomes: Mapping[str, tuple[str, str]]
    """The outcomes by entry: applied or dead, and the reason."""
    record: CustomerRecord

    def of(self, status: str) -> list[Json]:
        """Return the changes with this outcome, in order."""
        return [self.batch[entry] for entry, (ended, _) in self.outcomes.items() if ended == status]


@dataclass
class SentEvent:
    """An event that was sent. `outcome` is empty until it has an outcome."""

    customer: str
    changes: Json
    outcome: str = ""


@dataclass
class Ledger:
    """The history so far."""

    events: dict[str, SentEvent] = field(default_factory=dict)
    """Every event by entry, in the order of the stream."""
    set_by: dict[str, str] = field(default_factory=dict)
    """The writer of each payment's address: us, an app, or "decided" if an app changed ours. No key: nobody."""
    mailed: set[str] = field(default_factory=set)
    """The payments for which a receipt was mailed."""
    links: dict[str, set[str | None]] = field(default_factory=dict)
    """All Stripe customers that each customer of Autumn was ever linked to."""
    announced: list[tuple[str, Json]] = field(default_factory=list)
    """The webhooks to Autumn: a Stripe customer with its name and e-mail at one moment."""
    made: dict[str, list[str]] = field(default_factory=dict)
    """The Stripe customers created for an Autumn id, except those that somebody gave to another id."""

    def plant(self, sides: Sides) -> None:
        """Note the addresses that payments have from the beginning."""
        for intent in sides.intents.values():
            self.note_payment(intent)

    def note_payment(self, intent: Record) -> None:
        """Note a new payment of an app."""
        if intent["receipt_email"]:
            self.set_by[intent["id"]] = "an app"
            if intent["status"] == "succeeded":
                self.mailed.add(intent["id"])

    def note_link(self, sides: Sides) -> None:
        """Note which Stripe customers each customer of Autumn is linked to."""
        for name, row in sides.autumn.items():
            self.links.setdefault(name, set()).add(row["stripe_id"])

    def note_webhooks(self, events: Sequence[Json]) -> None:
        """Note the names and e-mails that webhooks bring to Autumn, from writes under a key that is not Autumn's.

        Each webhook brings both, however old they are by then.
        """
        for event in events:
            if not str(event["request"]["idempotency_key"]).startswith("autumn:"):
                shown = event["data"]["object"]
                self.announced.append((shown["id"], {name: shown[name] for name in PROFILE}))

    def brought(self, customer: str, name: str) -> list[Any]:
        """Return the values of a field that webhooks may have brought to a customer of Autumn."""
        links = self.links.get(customer, set())
        return [profile[name] for stripe_id, profile in self.announced if stripe_id in links and profile[name]]

    def note_edit(self, sides: Sides, stripe_id: str) -> None:
        """Note that somebody may have given a Stripe customer another Autumn id, or none."""
        for name, made in self.made.items():
            if stripe_id in made and sides.owner(stripe_id) != name:
                made.remove(stripe_id)

    def note_app(self, before: Json, after: Json) -> None:
        """Note that an app changed or cleared a payment's address."""
        if before["receipt_email"] == after["receipt_email"]:
            return
        intent_id = after["id"]
        if self.set_by.get(intent_id) in {"us", "decided"}:
            self.set_by[intent_id] = "decided"
        elif after["receipt_email"]:
            self.set_by[intent_id] = "an app"
        else:
            del self.set_by[intent_id]

    def ever_requested(self, customer: str) -> list[Json]:
        """Return all changes of a customer so far."""
        return [sent.changes for sent in self.events.values() if sent.customer == customer]


def fields(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the requested value of each field, with one entry for each metadata key. The empty text is null."""
    values = flat(changes)
    return {name: None if value == "" and name in changes else value for name, value in values.items()}


def says_null(changes: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether any of the changes clears a field."""
    return any(name in fields(each) and fields(each)[name] is None for each in changes)
