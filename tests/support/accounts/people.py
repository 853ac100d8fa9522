"""Customers planted on both sides, and edits by people and apps in Stripe that bypass the worker."""

from typing import Any

from sandbox.stripe.server import StripeSimulator
from tests.conftest import World
from tests.support.accounts.drawn import APPS_ADDRESS, MIRROR, NAMES, NOWHERE, Account, Payment

OLD_SECONDS = 30 * 86_400


def plant(world: World, accounts: dict[str, Account], now: float) -> None:
    """Plant the accounts on both sides, and two Stripe customers of strangers, each with a payment."""
    for name, account in accounts.items():
        _plant_in_stripe(world.stripe, name, account, now)
        world.autumn.seed(
            name,
            name=account.name,
            email=account.email,
            stripe_id=_stripe_id(name, account),
            metadata=dict(account.metadata),
            send_email_receipts=account.flag,
        )
    world.stripe.seed_customer(id="cus_stranger", email="ann@example.com")
    world.stripe.seed_customer(id="cus_zed", email="ann@example.com", metadata={"autumn_id": "zed"})
    for stranger in ("cus_stranger", "cus_zed"):
        begin_payment(world.stripe, stranger, Payment(), now)


def begin_payment(stripe: StripeSimulator, stripe_id: str, payment: Payment, now: float) -> str:
    """Plant a payment intent of a customer. Return its id."""
    fields: dict[str, Any] = {
        "id": f"pi_{len(stripe.payment_intents)}",
        "customer": stripe_id,
        "status": payment.status,
        "receipt_email": payment.address,
        "metadata": {f"key_{index}": "theirs" for index in range(payment.keys)},
    }
    if payment.status == "succeeded":
        fields["succeeded_at"] = now - (OLD_SECONDS if payment.is_old else 60)
    return str(stripe.seed_payment_intent(**fields)["id"])


def edit(stripe: StripeSimulator, what: str, stripe_id: str, whose: str) -> None:
    """Edit a Stripe customer as a person does in the dashboard."""
    match what:
        case "deletes":
            stripe.delete(stripe_id)
        case "edits the name":
            stripe.edit(stripe_id, name="" if whose == "bob" else "By hand")
        case "edits the email":
            stripe.edit(stripe_id, email="" if whose == "bob" else "hand@example.com")
        case "takes the autumn_id":
            stripe.edit(stripe_id, metadata={"autumn_id": ""})
        case "gives the autumn_id":
            room = {key: "" for key in stripe.customers[stripe_id]["metadata"] if key == "key_0"}
            stripe.edit(stripe_id, metadata={**room, "autumn_id": whose})
        case "edits the metadata":
            stripe.edit(stripe_id, metadata={MIRROR: ""} if whose == "bob" else {"plan": ""})


def set_address(stripe: StripeSimulator, intent_id: str, address: str) -> None:
    """Set a payment's receipt address as an app does, or clear it with the empty text."""
    stripe.account.payments.update(intent_id, {"receipt_email": address})


def _stripe_id(name: str, account: Account) -> str | None:
    neighbour = NAMES[NAMES.index(name) - 1]
    others = {"unlinked": None, "never known": NOWHERE, "shared": f"cus_{neighbour}"}
    return others.get(account.link, f"cus_{name}")


def _plant_in_stripe(stripe: StripeSimulator, name: str, account: Account, now: float) -> None:
    owners: dict[str, dict[str, str]] = {
        "linked": {"autumn_id": name},
        "unclaimed": {},
        "foreign": {"autumn_id": NAMES[NAMES.index(name) - 1]},
    }
    if account.link == "deleted":
        stripe.seed_customer(id=f"cus_{name}", deleted=True)
    profile = {"name": account.stripe_name, "email": account.stripe_email}
    planted = []
    if account.link in owners:
        metadata = owners[account.link]
        more = {f"key_{index}": "theirs" for index in range(account.keys - len(metadata))}
        planted.append(stripe.seed_customer(id=f"cus_{name}", metadata={**metadata, **more}, **profile))
    for index in range(account.ours):
        metadata = {"autumn_id": name}
        planted.append(stripe.seed_customer(id=f"cus_{name}_{index + 1}", metadata=metadata, **profile))
    for payment in account.payments if planted else ():
        begin_payment(stripe, planted[0]["id"], payment, now)


def apps_address(what: str) -> str:
    """Return the address that an app sets, or the empty text if it clears the address."""
    return APPS_ADDRESS if what == "sets its own" else ""
