"""One exchange with Autumn that can be replayed: the state before it, its requests, and the answers of Stripe.

It comes from a recording of the real Autumn, or from the table of facts in this repository. This file knows nothing of
the simulator.
"""

from dataclasses import dataclass, field
from typing import Any

from tests.contract.scripted_stripe import Reply, StripeCall

Row = dict[str, Any]

KEY = "am_sk_test_sandbox"
"""The secret key of the replayed organisation, because the recordings hide the real one."""
STRIPE_KEY = "sk_test_acme"
"""The Stripe key of most of the recorded organisations."""


@dataclass(frozen=True)
class Sent:
    """A request as it is sent."""

    path: str
    body: bytes
    headers: dict[str, str]
    method: str = "POST"


@dataclass(frozen=True)
class Organisation:
    """The organisation that answered, as far as the exchange shows it."""

    env: str = "sandbox"
    stripe_key: str | None = STRIPE_KEY
    updates_per_second: int = 25
    forwards_metadata: bool = False


@dataclass(frozen=True)
class Exchange:
    """One exchange. `spent` requests come before it because the rate limiter refused it."""

    organisation: Organisation
    request: Sent
    before: list[Row]
    now_milliseconds: float = 0
    earlier: list[Sent] = field(default_factory=list)
    """Requests with the same idempotency key."""
    after: Sent | None = None
    """A `get` of the same customer right after it."""
    replies: list[Reply] = field(default_factory=list)
    """Stripe's answers, in order."""
    stripe_calls: list[StripeCall] = field(default_factory=list)
    """Autumn's requests to Stripe, in order."""
    spent: int = 0
    unavailable: bool = False
