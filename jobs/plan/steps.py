"""The steps of a plan: the writes of a sync, in their order.

Steps are plain values, so the Stripe client can execute one without the plan. `jobs.plan.plan`, `jobs.plan.profile` and
`jobs.plan.receipts` decide which steps are due.

`describe` returns a step in words. It names ids and fields, never a value of the customer.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from jobs.plan.customer import short_digest

RECEIPT_MARK: Final = "autumn_receipt_email"
"""The key of a payment's metadata that holds our mark."""
RECEIPT_MARK_FORM: Final = re.compile(r"(?P<kind>set|unset)-(?P<turn>\d{1,9})(?:-(?P<digest>[0-9a-f]{16}))?")
"""The form of the marks that the two receipt steps write."""


def address_digest(address: str) -> str:
    """Return the digest of a receipt's address, as a mark holds it."""
    return short_digest(address)


@dataclass(frozen=True)
class UpdateAutumn:
    """Send the changes, with the new `stripe_id` if there is one."""

    changes: Mapping[str, JsonValue]
    expects_gone: bool = False
    """True if Autumn should refuse this, which confirms that the linked customer is gone.

    If Autumn accepts it, our Stripe key belongs to another account. `changes` is empty then, because Autumn would
    forward changes to a customer that we cannot see.
    """

    def describe(self) -> str:
        """Return the step in words."""
        if self.expects_gone:
            return "have Autumn confirm that the Stripe customer is gone"
        if "stripe_id" not in self.changes:
            return "update Autumn"
        stripe_id = self.changes["stripe_id"]
        return f"link it to {stripe_id}" if stripe_id else "unlink it"


@dataclass(frozen=True)
class CreateInStripe:
    """Create the Stripe customer with its `autumn_id` only. An update writes the profile later."""

    autumn_id: str

    def describe(self) -> str:
        """Return the step in words."""
        return f"create a Stripe customer that carries {self.autumn_id}"


@dataclass(frozen=True)
class UpdateStripe:
    """Write the fields that differ. None leaves a field as it is, and "" clears a field or a metadata key."""

    stripe_id: str
    name: str | None = None
    email: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def written(self) -> dict[str, str]:
        """The values to write, by field name as in an event; "" clears."""
        profile = {"name": self.name, "email": self.email}
        metadata = {f"metadata.{key}": value for key, value in self.metadata}
        return {name: value for name, value in profile.items() if value is not None} | metadata

    @property
    def writes_nothing(self) -> bool:
        """True if no field differs."""
        return not self.written

    def describe(self) -> str:
        """Return the step in words."""
        fields = [name if value else f"{name} (cleared)" for name, value in self.written.items()]
        return f"write {', '.join(fields)} to {self.stripe_id}"


@dataclass(frozen=True)
class SetReceiptEmail:
    """Set the receipt address of a payment. `mails_at_once`: the payment has succeeded, so Stripe mails now."""

    intent_id: str
    address: str
    turn: int
    mails_at_once: bool

    @property
    def mark(self) -> str:
        """The mark that the payment's metadata has after this step."""
        return f"set-{self.turn}-{address_digest(self.address)}"

    def describe(self) -> str:
        """Return the step in words."""
        text = f"set the receipt address of {self.intent_id}"
        return f"{text}, which mails it at once" if self.mails_at_once else text


@dataclass(frozen=True)
class TakeBackReceiptEmail:
    """Clear the receipt address that we set on a payment that has not succeeded."""

    intent_id: str
    turn: int

    @property
    def address(self) -> str:
        """The empty address, which clears."""
        return ""

    @property
    def mark(self) -> str:
        """The mark that the payment's metadata has after this step."""
        return f"unset-{self.turn + 1}"

    def describe(self) -> str:
        """Return the step in words."""
        return f"take back the receipt address of {self.intent_id}"


ReceiptStep = SetReceiptEmail | TakeBackReceiptEmail
Step = UpdateAutumn | CreateInStripe | UpdateStripe | ReceiptStep
