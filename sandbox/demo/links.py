"""The demo's customers with broken links, with edits by people in Stripe, and with payments, and the expected results.

The worker must repair some links and must not write to the others. No event is about an edit: only the watch notices
it. Each receipts mode has the same five customers with payments. Purely computational, no I/O here. Code that sends
events or checks results belongs elsewhere.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sandbox.audit.expected import Profile
from sandbox.demo.world import (
    APPLIED,
    NEEDS_REVIEW,
    Changes,
    Edit,
    Entry,
    Expected,
    InStripe,
    Mode,
    Payment,
    SeededCustomer,
    Traffic,
    entry_of,
)

FIRST_AT_SECONDS: Final = 0.5
APART_SECONDS: Final = 0.3


def make_links(shared: str) -> Traffic:
    """Return one customer for each kind of wrong link, with one event each.

    `shared` is another customer's Stripe customer, to which one of these customers is linked as well.
    """
    cases = [
        _repair("deleted_1", {"email": "new.address@example.com"}, InStripe("cus_deleted_1", deleted=True)),
        _repair("deleted_2", {"send_email_receipts": True}, InStripe("cus_deleted_2", deleted=True)),
        _repair(
            "deleted_found",
            {"name": "Found Again", "metadata": {"plan": "team"}},
            InStripe("cus_deleted_3", deleted=True),
            InStripe("cus_found", "Before", "before@example.com", {"autumn_id": "deleted_found"}),
        ),
        _repair("never_known", {"email": "known.now@example.com", "send_email_receipts": True}),
        _refused(
            "foreign", "cus_of_others", InStripe("cus_of_others", "Others", None, {"autumn_id": "of_somebody_else"})
        ),
        _refused("second_owner", shared),
        _refused(
            "twice_in_stripe",
            None,
            InStripe("cus_twice_1", "Once", "once@example.com", {"autumn_id": "twice_in_stripe"}),
            InStripe("cus_twice_2", "Twice", "twice@example.com", {"autumn_id": "twice_in_stripe"}),
        ),
        _unlinked("unlinked"),
    ]
    return Traffic(
        customers=tuple(seeded for seeded, _ in cases),
        entries=tuple(_link_entry(number, seeded, changes) for number, (seeded, changes) in enumerate(cases)),
        expected={
            seeded.customer_id: seeded.profile
            if seeded.expected_result is Expected.REFUSED
            else seeded.profile.after(changes)
            for seeded, changes in cases
        },
    )


def _link_entry(number: int, seeded: SeededCustomer, changes: Changes) -> Entry:
    outcome = NEEDS_REVIEW if seeded.expected_result is Expected.REFUSED else APPLIED
    at_seconds = FIRST_AT_SECONDS + APART_SECONDS * number
    return entry_of(at_seconds, seeded.customer_id, changes, _about(seeded.expected_result, changes), outcome)


def _repair(customer_id: str, changes: Changes, *stripe: InStripe) -> tuple[SeededCustomer, Changes]:
    """Return a customer that is linked to the first of `stripe`, or to an id that Stripe does not have."""
    stripe_id = stripe[0].id if stripe else f"cus_{customer_id}"
    return SeededCustomer(customer_id, _profile(customer_id), stripe_id, stripe, Expected.REPAIRED), changes


def _refused(customer_id: str, stripe_id: str | None, *stripe: InStripe) -> tuple[SeededCustomer, Changes]:
    changes: Changes = {"name": "Not To Be Seen", "email": f"not.to.be.seen.{customer_id}@example.com"}
    return SeededCustomer(customer_id, _profile(customer_id), stripe_id, stripe, Expected.REFUSED), changes


def _unlinked(customer_id: str) -> tuple[SeededCustomer, Changes]:
    profile = _profile(customer_id)
    left_alone = InStripe("cus_unlinked", profile.name, profile.email, {"autumn_id": customer_id})
    return SeededCustomer(customer_id, profile, left_alone.id, (left_alone,), Expected.UNLINKED), {"stripe_id": None}


def _profile(customer_id: str) -> Profile:
    name = customer_id.replace("_", " ").title()
    return Profile(name, f"{customer_id}@example.com", send_email_receipts=False, metadata={"plan": "pro"})


def _about(expected_result: Expected, changes: Changes) -> str:
    what = {
        Expected.REPAIRED: ", with a link to repair",
        Expected.REFUSED: ", with a link that needs review",
        Expected.UNLINKED: " null",
    }
    return (
        ", ".join(changes).replace("send_email_receipts", "receipts").replace("email", "e-mail") + what[expected_result]
    )


AN_HOUR: Final = 1.0
LAST_WEEK: Final = 7 * 24.0
APPS_OWN: Final = "apps.own.address@example.com"
OPEN: Final = "open, without an address"
OWN: Final = "open, with the app's own address"
RECENT: Final = "succeeded an hour ago, without a receipt"
OLD: Final = "succeeded last week, without a receipt"


def make_receipts(mode: Mode) -> Traffic:
    """Return the customers, payments and events of one mode."""
    on: Changes = {"send_email_receipts": True}
    off: Changes = {"send_email_receipts": False}
    moved: Changes = {"email": f"moved.{mode}@example.com"}
    renamed: Changes = {"name": "New Name"}
    cases = [
        _case(mode, "goes_on", [on], was_on=False, gets=_gets(mode, OPEN, RECENT), has=(OPEN, OWN, RECENT, OLD)),
        _case(mode, "on_and_off", [on, off], was_on=False, gets=_gets(mode, OPEN, RECENT), has=(OPEN, OWN, RECENT)),
        _case(mode, "moves", [moved], was_on=True, gets=_gets(mode, OPEN), has=(OPEN, OWN)),
        _case(mode, "goes_off", [off], was_on=True, gets=(), has=(OPEN, OWN)),
        _case(mode, "stays_off", [renamed], was_on=False, gets=(), has=(OPEN, RECENT)),
    ]
    together = cases[0]
    for case in cases[1:]:
        together += case
    return together


def _gets(mode: Mode, *wanted: str) -> tuple[str, ...]:
    """Return those of the payments that get an address in this mode."""
    served: Mapping[Mode, tuple[str, ...]] = {"mirror": (), "open": (OPEN,), "recover": (OPEN, RECENT)}
    return tuple(about for about in wanted if about in served[mode])


def _case(
    mode: Mode, about: str, changes: list[Changes], *, was_on: bool, gets: tuple[str, ...], has: tuple[str, ...]
) -> Traffic:
    """Return one customer with the payments `has`.

    Those in `gets` are given its address, and lose it again if receipts are turned off.
    """
    customer_id = f"{mode}_{about}"
    before = Profile(f"{mode} {about}".replace("_", " ").title(), f"{customer_id}@example.com", was_on, {"plan": "pro"})
    after = before
    for each in changes:
        after = after.after(each)
    carried = {"autumn_id": customer_id, "autumn_send_email_receipts": str(was_on).lower()}
    stripe = InStripe(f"cus_{customer_id}", before.name, before.email, carried)
    payments = [_payment(stripe.id, number, each) for number, each in enumerate(has)]
    return Traffic(
        customers=(SeededCustomer(customer_id, before, stripe.id, (stripe,)),),
        entries=_entries(customer_id, changes),
        expected={customer_id: after},
        payments=tuple(_with_addresses(each, after) if each.about in gets else each for each in payments),
    )


def _payment(stripe_id: str, number: int, about: str) -> Payment:
    ages = {RECENT: AN_HOUR, OLD: LAST_WEEK}
    own = APPS_OWN if about == OWN else None
    return Payment(f"pi_{stripe_id}_{number}", stripe_id, about, own, ages.get(about))


def _with_addresses(payment: Payment, profile: Profile) -> Payment:
    """Return the payment with its expected addresses: only an open payment can lose its address again."""
    is_cleared = payment.succeeded_hours_ago is None and not profile.send_email_receipts
    return replace(payment, addresses=(profile.email, None) if is_cleared else (profile.email,))


def _entries(customer_id: str, changes: list[Changes]) -> tuple[Entry, ...]:
    """Return one entry for each change; each waits for the outcome of the one before it."""
    entries = []
    for number, each in enumerate(changes):
        flag = each.get("send_email_receipts")
        about = "e-mail" if "email" in each else "name"
        about = about if flag is None else f"receipts {'on' if flag else 'off'}"
        entry = entry_of(0.2 + 0.1 * number, customer_id, each, about)
        entries.append(replace(entry, waits=number > 0))
    return tuple(entries)


FIRST_EDIT_SECONDS: Final = 1.5
_EDITS: Final[Mapping[str, Mapping[str, Any] | None]] = {
    "email_emptied": {"email": ""},
    "mark_removed": {"metadata": {"autumn_id": ""}},
    "receipts_removed": {"metadata": {"autumn_send_email_receipts": ""}},
    "deleted_by_hand": None,
}
"""By customer: the edit in Stripe, None for a deletion."""


def make_edits() -> Traffic:
    """Return one customer for each kind of edit. Both sides agree before it."""
    customers = tuple(_edited(customer_id, edit) for customer_id, edit in _EDITS.items())
    return Traffic(
        customers=customers,
        entries=(),
        expected={each.customer_id: each.profile for each in customers},
        edits=tuple(
            Edit(FIRST_EDIT_SECONDS + APART_SECONDS * number, customer_id, _stripe_id_of(customer_id), edit)
            for number, (customer_id, edit) in enumerate(_EDITS.items())
        ),
    )


def _edited(customer_id: str, edit: Mapping[str, Any] | None) -> SeededCustomer:
    profile = Profile(customer_id.replace("_", " ").title(), f"{customer_id}@example.com", False, {})
    metadata = {"autumn_id": customer_id, "autumn_send_email_receipts": "false"}
    stripe = InStripe(_stripe_id_of(customer_id), profile.name, profile.email, metadata)
    result = Expected.REPAIRED if edit is None else Expected.IN_SYNC
    return SeededCustomer(customer_id, profile, stripe.id, (stripe,), result)


def _stripe_id_of(customer_id: str) -> str:
    return f"cus_{customer_id}"
