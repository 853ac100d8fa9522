"""The demo's customers that people edit in Stripe's dashboard. No event is about them: only the watch can notice.

Purely computational, no I/O here. Code that makes the edits or checks results belongs elsewhere.
"""

from collections.abc import Mapping
from typing import Any, Final

from sandbox.audit.expected import Profile
from sandbox.demo.world import Edit, Expected, InStripe, SeededCustomer, Traffic

FIRST_AT_SECONDS: Final = 1.5
APART_SECONDS: Final = 0.3
_EDITS: Final[Mapping[str, Mapping[str, Any] | None]] = {
    "email_emptied": {"email": ""},
    "mark_removed": {"metadata": {"autumn_id": ""}},
    "receipts_removed": {"metadata": {"autumn_send_email_receipts": ""}},
    "deleted_by_hand": None,
}
"""By customer: the edit in Stripe, None for a deletion."""


def make_edits() -> Traffic:
    """Return one customer for each kind of edit. Both sides agree before it."""
    customers = tuple(_customer(customer_id, edit) for customer_id, edit in _EDITS.items())
    return Traffic(
        customers=customers,
        entries=(),
        expected={each.customer_id: each.profile for each in customers},
        edits=tuple(
            Edit(FIRST_AT_SECONDS + APART_SECONDS * number, customer_id, _stripe_id(customer_id), edit)
            for number, (customer_id, edit) in enumerate(_EDITS.items())
        ),
    )


def _customer(customer_id: str, edit: Mapping[str, Any] | None) -> SeededCustomer:
    profile = Profile(customer_id.replace("_", " ").title(), f"{customer_id}@example.com", False, {})
    metadata = {"autumn_id": customer_id, "autumn_send_email_receipts": "false"}
    stripe = InStripe(_stripe_id(customer_id), profile.name, profile.email, metadata)
    result = Expected.REPAIRED if edit is None else Expected.IN_SYNC
    return SeededCustomer(customer_id, profile, stripe.id, (stripe,), result)


def _stripe_id(customer_id: str) -> str:
    return f"cus_{customer_id}"
