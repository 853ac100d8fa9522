"""Autumn and Stripe at one moment, from the simulators' own data, and the links between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Sides:
    """Autumn's customers, Stripe's customers and Stripe's payment intents, each by its own id."""

    autumn: Mapping[str, Record]
    stripe: Mapping[str, Record]
    intents: Mapping[str, Record] = field(default_factory=dict)

    def living(self, stripe_id: str | None) -> Record | None:
        """Return a Stripe customer, or None if it is missing or deleted."""
        customer = self.stripe.get(stripe_id or "")
        return None if customer is None or customer.get("deleted") else customer

    def owner(self, stripe_id: str) -> str | None:
        """Return the Autumn id that a Stripe customer carries."""
        customer = self.living(stripe_id)
        return customer["metadata"].get("autumn_id") if customer else None

    def owned_by(self, customer_id: str) -> list[str]:
        """Return the living Stripe customers that carry an Autumn id."""
        return [stripe_id for stripe_id in self.stripe if self.owner(stripe_id) == customer_id]

    def linked(self, customer_id: str) -> Record | None:
        """Return the living Stripe customer that an Autumn customer is linked to, even if another one owns it."""
        return self.living(self.autumn[customer_id]["stripe_id"])
