"""Accounts with planted drift: each planting makes one customer wrong in one way and returns the expected findings."""

from collections.abc import Callable
from typing import Any, Final

from sandbox.autumn.server import AutumnSimulator
from sandbox.stripe.server import StripeSimulator

Expected = set[tuple[str, str, str]]
"""Customer, kind and field of each finding."""
FLAG: Final = "autumn_send_email_receipts"


class Field:
    """Both services, for planting."""

    def __init__(self, autumn: AutumnSimulator, stripe: StripeSimulator) -> None:
        self.autumn = autumn
        self.stripe = stripe

    def agreeing(self, customer: str, **different: Any) -> str:
        """Plant a customer that agrees on both sides, except for `different` in Stripe. Return the Stripe customer's
        id."""
        metadata = {"autumn_id": customer, FLAG: "true"} | different.pop("metadata", {})
        given = {"name": f"Name of {customer}", "email": f"{customer}@example.com", "metadata": metadata} | different
        given["metadata"] = {key: value for key, value in given["metadata"].items() if value is not None}
        stripe_id: str = self.stripe.seed_customer(**given)["id"]
        self.in_autumn(customer, stripe_id)
        return stripe_id

    def in_autumn(self, customer: str, stripe_id: str | None, **different: Any) -> None:
        """Plant a customer in Autumn alone."""
        given = {"name": f"Name of {customer}", "email": f"{customer}@example.com", "send_email_receipts": True}
        self.autumn.seed(customer, stripe_id=stripe_id, **given | different)


def plant_agreeing(field: Field, customer: str) -> Expected:
    field.agreeing(customer)
    return set()


def plant_empty(field: Field, customer: str) -> Expected:
    """A field that is empty in Autumn, so nothing is to be written, no matter what Stripe has."""
    metadata = {"autumn_id": customer, FLAG: "false"}
    stripe = field.stripe.seed_customer(name="Kept", email="kept@example.com", metadata=metadata)
    field.in_autumn(customer, stripe["id"], name=None, email=None, send_email_receipts=False)
    return set()


def plant_strangers(field: Field, customer: str) -> Expected:
    """A Stripe customer that no customer of Autumn is linked to, and a customer of Autumn without an id."""
    field.stripe.seed_customer(email=f"{customer}@example.com")
    field.autumn.seed(None, email=f"{customer}@example.com", internal_id=f"cus_{customer}")
    return set()


def plant_unlinked(field: Field, customer: str) -> Expected:
    field.in_autumn(customer, None)
    return {(customer, "unlinked", "stripe_id")}


def plant_billed_elsewhere(field: Field, customer: str) -> Expected:
    field.in_autumn(customer, None, send_email_receipts=False, processors={"revenuecat": {"id": customer}})
    return {(customer, "billed-elsewhere", "stripe_id")}


def plant_unlinked_but_ours(field: Field, customer: str) -> Expected:
    field.stripe.seed_customer(metadata={"autumn_id": customer})
    field.in_autumn(customer, None)
    return {(customer, "unlinked", "stripe_id")}


def plant_deleted(field: Field, customer: str) -> Expected:
    stripe_id = field.stripe.seed_customer(deleted=True)["id"]
    field.in_autumn(customer, stripe_id)
    return {(customer, "gone", "stripe_id")}


def plant_missing(field: Field, customer: str) -> Expected:
    field.in_autumn(customer, f"cus_never{customer.replace('_', '')}")
    return {(customer, "gone", "stripe_id")}


def plant_foreign(field: Field, customer: str) -> Expected:
    stripe_id = field.stripe.seed_customer(metadata={"autumn_id": f"{customer}_owner"})["id"]
    field.in_autumn(customer, stripe_id)
    return {(customer, "foreign", "metadata.autumn_id"), (f"{customer}_owner", "orphan", "metadata.autumn_id")}


def plant_ambiguous(field: Field, customer: str) -> Expected:
    for _ in range(2):
        field.stripe.seed_customer(metadata={"autumn_id": customer})
    field.in_autumn(customer, None)
    return {(customer, "ambiguous", "stripe_id")}


def plant_double(field: Field, customer: str) -> Expected:
    """A second Stripe customer with the id of a customer that is linked and right."""
    field.agreeing(customer)
    field.stripe.seed_customer(metadata={"autumn_id": customer})
    return {(customer, "ambiguous", "stripe_id")}


def plant_shared(field: Field, customer: str) -> Expected:
    stripe_id = field.agreeing(customer)
    field.in_autumn(f"{customer}_2", stripe_id)
    both = {(name, "shared", "stripe_id") for name in (customer, f"{customer}_2")}
    return {*both, (f"{customer}_2", "foreign", "metadata.autumn_id")}


def plant_orphan(field: Field, customer: str) -> Expected:
    field.stripe.seed_customer(metadata={"autumn_id": customer})
    return {(customer, "orphan", "metadata.autumn_id")}


def plant_unclaimed(field: Field, customer: str) -> Expected:
    field.agreeing(customer, metadata={"autumn_id": None, FLAG: None})
    return {(customer, "unclaimed", "metadata.autumn_id")}


def plant_name(field: Field, customer: str) -> Expected:
    field.agreeing(customer, name="Edited by hand")
    return {(customer, "profile-drift", "name")}


def plant_email(field: Field, customer: str) -> Expected:
    field.agreeing(customer, email=None)
    return {(customer, "profile-drift", "email")}


def plant_both(field: Field, customer: str) -> Expected:
    field.agreeing(customer, name=None, email=f"other.{customer}@example.com")
    return {(customer, "profile-drift", "name"), (customer, "profile-drift", "email")}


def plant_flag(field: Field, customer: str) -> Expected:
    field.agreeing(customer, metadata={FLAG: "false"})
    return {(customer, "receipts-flag-drift", f"metadata.{FLAG}")}


def plant_no_flag(field: Field, customer: str) -> Expected:
    field.agreeing(customer, metadata={FLAG: None})
    return {(customer, "receipts-flag-drift", f"metadata.{FLAG}")}


def plant_no_address(field: Field, customer: str) -> Expected:
    stripe = field.stripe.seed_customer(metadata={"autumn_id": customer, FLAG: "true"})
    field.in_autumn(customer, stripe["id"], name=None, email=None)
    return {(customer, "receipts-cannot-be-sent", "email")}


FULL: Final = {f"key_{index}": "x" for index in range(49)}
"""As much metadata as Stripe allows, except for one key."""


def plant_no_room_for_the_flag(field: Field, customer: str) -> Expected:
    field.agreeing(customer, metadata=FULL | {FLAG: None})
    return {(customer, "metadata-left-out", f"metadata.{FLAG}")}


def plant_no_room_for_the_id(field: Field, customer: str) -> Expected:
    field.agreeing(customer, metadata=FULL | {"autumn_id": None})
    return {(customer, "unclaimed", "metadata.autumn_id")}


def plant_long_address(field: Field, customer: str) -> Expected:
    field.agreeing(customer)
    field.autumn.customers[customer]["email"] = f"{'x' * 600}@example.com"
    return {(customer, "email-left-out", "email")}


def plant_wrong_mode(field: Field, customer: str) -> Expected:
    field.agreeing(customer, livemode=True)
    return {(customer, "wrong-mode", "mode")}


PLANTINGS: Final[dict[str, Callable[[Field, str], Expected]]] = {
    name.removeprefix("plant_"): plant for name, plant in list(globals().items()) if name.startswith("plant_")
}
BEYOND_REPAIR: Final = {
    *("foreign", "ambiguous", "double", "shared", "orphan", "no_address", "wrong_mode"),
    *("billed_elsewhere", "no_room_for_the_flag", "no_room_for_the_id", "long_address"),
}
"""Plantings that no sync repairs."""
