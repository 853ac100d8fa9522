"""The two sides of one customer, as far as a sync compares them. Plain values, independent of the services' types."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, Literal

from pydantic import JsonValue

Mode = Literal["live", "test"]
AUTUMN_MODES: Final[Mapping[str, Mode]] = {"live": "live", "sandbox": "test"}
"""The mode for each `env` of Autumn."""

AUTUMN_ID = "autumn_id"
"""The metadata key of a Stripe customer that holds its id in Autumn."""
SEND_EMAIL_RECEIPTS = "autumn_send_email_receipts"
"""The metadata key of a Stripe customer that shows Autumn's receipts flag, "true" or "false"."""

NAME_MAX, EMAIL_MAX = 256, 512
"""Stripe's limits in characters."""
METADATA_KEYS_MAX, METADATA_KEY_MAX, METADATA_VALUE_MAX = 50, 40, 500
"""Stripe's limits of metadata: keys of an object, characters of a key, characters of a value."""


def short_digest(text: str) -> str:
    """Return a digest of 16 characters, which compares a personal value without storing it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def normal_form(field_name: str, value: str) -> str:
    """Return the value without what Stripe may change in it: white space, and the case of an e-mail address."""
    match field_name:
        case "name":
            return " ".join(value.split())
        case "email":
            return " ".join(value.split()).casefold()
        case _:
            return value


@dataclass(frozen=True)
class AutumnCustomer:
    """A customer, as `customers.update` or `customers.get` of Autumn returns it."""

    id: str
    name: str | None
    email: str | None
    stripe_id: str | None
    mode: Mode | None
    """From `env`, see AUTUMN_MODES; None for an unknown environment."""
    send_email_receipts: bool
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    fingerprint: str | None = None
    created_at_ms: int | None = None
    """From `created_at`, in milliseconds since the epoch."""
    elsewhere: tuple[str, ...] = ()
    """From `processors`: the payment processors of a customer that Stripe is not among, such as `revenuecat`."""


@dataclass(frozen=True)
class StripeCustomer:
    """A customer in Stripe that is not deleted."""

    id: str
    name: str | None
    email: str | None
    mode: Mode
    """From `livemode`."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_at: int | None = None
    """From `created`, in seconds since the epoch."""

    @property
    def owner(self) -> str | None:
        """The Autumn id that it carries; None if it is unclaimed."""
        return self.metadata.get(AUTUMN_ID) or None


class NoCustomer(Enum):
    """The reason why Stripe has no customer with an id."""

    DELETED = "deleted"
    MISSING = "missing"
    """Unknown to this key: it never existed, or it belongs to another account."""


@dataclass(frozen=True)
class PaymentIntent:
    """A payment intent in Stripe.

    `succeeded_at` is in seconds since the epoch, None before the success. `was_mailed` is True if its charge shows that
    a receipt was sent, even if `receipt_email` is empty now. Both are known only if the charge was read too.
    """

    id: str
    status: str
    receipt_email: str | None
    metadata: Mapping[str, str] = field(default_factory=dict)
    succeeded_at: float | None = None
    was_mailed: bool = False


@dataclass(frozen=True)
class Payments:
    """The newest payment intents of a customer. `all_seen` is False if there are older ones."""

    intents: tuple[PaymentIntent, ...]
    all_seen: bool = True


@dataclass(frozen=True)
class StripeView:
    """The fetched state of Stripe for one Autumn customer.

    - `linked`: the customer under Autumn's `stripe_id`; None if it is deleted or missing.
    - `is_missing`: True if this key does not know the `stripe_id`, which may belong to another account.
    - `ours`: the customers that carry our `metadata.autumn_id`. They are searched only if nothing is linked.
    - `searched`: False if the account has no search, so there may be more than `ours`.
    - `wanted`: the customer that an event wants to link to.
    - `payments`: None if they were not fetched.
    - `linked_elsewhere`: those of `ours` that another Autumn customer is linked to, with the id of that customer. The
      id is empty if it is unknown.
    """

    linked: StripeCustomer | None = None
    is_missing: bool = False
    ours: tuple[StripeCustomer, ...] = ()
    searched: bool = True
    wanted: StripeCustomer | None = None
    payments: Payments | None = None
    linked_elsewhere: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_customers(self) -> tuple[StripeCustomer, ...]:
        """All Stripe customers of the view."""
        alone = (self.linked, self.wanted)
        return (*self.ours, *(customer for customer in alone if customer is not None))

    def with_customer(self, customer: StripeCustomer) -> "StripeView":
        """Return the view with the new state of one of its customers."""
        return replace(
            self,
            linked=customer if self.linked is not None and self.linked.id == customer.id else self.linked,
            wanted=customer if self.wanted is not None and self.wanted.id == customer.id else self.wanted,
            ours=tuple(customer if each.id == customer.id else each for each in self.ours),
        )


def shown_by(autumn: AutumnCustomer) -> dict[str, JsonValue]:
    """Return the values of a customer in Autumn, by field."""
    fields: dict[str, JsonValue] = {
        "name": autumn.name,
        "email": autumn.email,
        "stripe_id": autumn.stripe_id,
        "send_email_receipts": autumn.send_email_receipts,
        "fingerprint": autumn.fingerprint,
    }
    return fields | {f"metadata.{key}": value for key, value in autumn.metadata.items()}
