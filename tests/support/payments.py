"""Ann, her payments and her receipts flag, for the tests of receipts."""

from typing import Any

from tests.conftest import World
from tests.support.steps import change

EMAIL = "ann@example.com"


def plant(world: World, *, on: bool = False, **fields: Any) -> str:
    """Plant Ann, linked and in sync. Return her Stripe customer's id."""
    metadata = {"autumn_id": "ann", "autumn_send_email_receipts": str(on).lower()}
    stripe = world.stripe.seed_customer(**{"email": EMAIL, "metadata": metadata, **fields})
    world.autumn.seed("ann", email=stripe["email"], stripe_id=stripe["id"], send_email_receipts=on)
    return str(stripe["id"])


def payment(world: World, customer: str, **fields: Any) -> str:
    return str(world.stripe.seed_payment_intent(customer=customer, **fields)["id"])


def paid(world: World, customer: str, *, hours_ago: float = 1.0, **fields: Any) -> str:
    succeeded_at = int(world.deps.now() - hours_ago * 3600)
    return payment(world, customer, status="succeeded", succeeded_at=succeeded_at, **fields)


def address(world: World, intent: str) -> str | None:
    found: str | None = world.stripe.payment_intents[intent]["receipt_email"]
    return found


async def flag(world: World, on: bool) -> None:
    await change(world, "ann", send_email_receipts=on)
    await world.run()
