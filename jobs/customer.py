"""The two sides of one customer, as far as a sync compares them. Plain values: no I/O, no provider's types."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["live", "test"]


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


@dataclass(frozen=True)
class StripeCustomer:
    """What Stripe says of a customer that is not deleted."""

    id: str
    name: str | None
    email: str | None
    mode: Mode
    """From `livemode`."""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StripeView:
    """What a look at Stripe found for one customer of Autumn.

    `linked` is the customer under Autumn's `stripe_id`, None where that is missing or deleted. `ours` are those that
    carry our `metadata.autumn_id`, looked for only where Autumn has no `stripe_id`.
    """

    linked: StripeCustomer | None = None
    ours: tuple[StripeCustomer, ...] = ()
