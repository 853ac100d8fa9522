"""A customer of Autumn and all that both lists know of it: what a scan compares. Plain values, no I/O."""

from dataclasses import dataclass
from typing import Final

from jobs.customer import AutumnCustomer, PaymentIntent, StripeCustomer

NAMED_AT_MOST: Final = 100
"""Others that are read for one customer, and the payments that a sync looks at: of more, the first."""


@dataclass(frozen=True)
class Pair:
    """A customer of Autumn with all that is known of it in Stripe.

    `linked` is the one under its `stripe_id`, `ours` carry its id, `sharers` are others with the same `stripe_id`;
    of many, the first. `payments` are the newest of the linked customer, one more than a sync looks at where there
    are so many; None where they were not listed. `is_checked` is False if nobody knows whether the linked customer is
    there: Stripe's list lacks it, and it was not looked up.
    """

    autumn: AutumnCustomer
    linked: StripeCustomer | None
    ours: tuple[StripeCustomer, ...] = ()
    sharers: tuple[str, ...] = ()
    payments: tuple[PaymentIntent, ...] | None = None
    is_checked: bool = True
