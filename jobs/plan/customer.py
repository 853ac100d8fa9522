"""The two sides of one customer, as far as a sync compares them. Plain values: no I/O, no provider's types."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, Literal

from pydantic import JsonValue

Mode = Literal["live", "test"]
AUTUMN_MODES: Final[Mapping[str, Mode]] = {"live": "live", "sandbox": "test"}
"""The modes by Autumn's `env`."""

AUTUMN_ID = "autumn_id"
"""The key of a Stripe customer's metadata that says whose it is in Autumn."""
SEND_EMAIL_RECEIPTS = "autumn_send_email_receipts"
"""The key that shows Autumn's receipts flag in Stripe, "true" or "false"."""

NAME_MAX, EMAIL_MAX = 256, 512
"""Characters that Stripe takes."""
METADATA_KEYS_MAX, METADATA_KEY_MAX, METADATA_VALUE_MAX = 50, 40, 500
"""Keys of an object's metadata that Stripe takes, and the characters of a key and of a value."""


def normal_form(field_name: str, value: str) -> str:
    """A name or e-mail without what Stripe may change when it stores it: white space around it, an address' case."""
    match field_name:
        case "name":
            return " ".join(value.split())
        case "email":
            return " ".join(value.split()).casefold()
        case _:
            return value


@dataclass(frozen=True)
class AutumnCustomer:
    """What Autumn says, from `customers.update` or `customers.get`."""

    id: str
    name: str | None
    email: str | None
    stripe_id: str | None
    mode: Mode | None
    """From `env`: live is live, sandbox is test; None is an environment this version does not know."""
    send_email_receipts: bool
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    fingerprint: str | None = None
    created_at_ms: int | None = None
    """From `created_at`, in milliseconds since the epoch."""


@dataclass(frozen=True)
class StripeCustomer:
    """What Stripe says of a customer that is not deleted."""

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
        """The Autumn customer whose id it carries; None where it is unclaimed."""
        return self.metadata.get(AUTUMN_ID) or None


class NoCustomer(Enum):
    """Why there is no Stripe customer under an id."""

    DELETED = "deleted"
    MISSING = "missing"
    """Not known to the key that asked: it never was, or it is another account's."""


@dataclass(frozen=True)
class PaymentIntent:
    """What Stripe says of a payment intent.

    `succeeded_at` is in seconds since the epoch, None before the success. `was_mailed`: its charge tells that a receipt
    went out, whatever `receipt_email` says by now. Both are known only where the charge was asked for.
    """

    id: str
    status: str
    receipt_email: str | None
    metadata: Mapping[str, str] = field(default_factory=dict)
    succeeded_at: float | None = None
    was_mailed: bool = False


@dataclass(frozen=True)
class Payments:
    """The newest payment intents of a customer; `all_seen` is False where there are older ones."""

    intents: tuple[PaymentIntent, ...]
    all_seen: bool = True


@dataclass(frozen=True)
class StripeView:
    """What a look at Stripe found for one customer of Autumn.

    `linked` is the customer under Autumn's `stripe_id`; None where that is deleted, or `is_missing`: not known to this
    key, which may also be one of another account. `ours` are those that carry our `metadata.autumn_id`, looked for
    only where nothing is linked; `searched` is False where the account has no search, so that there may be others.
    `wanted` is the customer that a change asks to be linked to. `payments` is None where nobody looked.
    `linked_elsewhere` has those of `ours` that another Autumn customer is linked to, with its id; an empty id where
    that could not be found out.
    """

    linked: StripeCustomer | None = None
    is_missing: bool = False
    ours: tuple[StripeCustomer, ...] = ()
    searched: bool = True
    wanted: StripeCustomer | None = None
    payments: Payments | None = None
    linked_elsewhere: Mapping[str, str] = field(default_factory=dict)

    @property
    def everyone(self) -> tuple[StripeCustomer, ...]:
        """Every customer that was seen."""
        alone = (self.linked, self.wanted)
        return (*self.ours, *(customer for customer in alone if customer is not None))

    def with_customer(self, customer: StripeCustomer) -> "StripeView":
        """The view with a customer that was seen, as it is now."""
        return replace(
            self,
            linked=customer if self.linked is not None and self.linked.id == customer.id else self.linked,
            wanted=customer if self.wanted is not None and self.wanted.id == customer.id else self.wanted,
            ours=tuple(customer if each.id == customer.id else each for each in self.ours),
        )
