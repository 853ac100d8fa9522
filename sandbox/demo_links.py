"""The demo's broken links: those that the worker has to heal, and those that it may not touch.

Purely computational, no I/O here. It must not know how events are sent or judged.
"""

from typing import Final

from sandbox.demo_world import (
    APPLIED,
    NEEDS_REVIEW,
    Changes,
    Fate,
    InStripe,
    Planted,
    Profile,
    Traffic,
    entry_of,
)

FIRST_AT_SECONDS: Final = 0.5
APART_SECONDS: Final = 0.3


def make_links(shared: str) -> Traffic:
    """A customer for each way in which a link can be wrong, with one change each.

    `shared` is the Stripe customer of somebody else, to which a customer here is linked as well.
    """
    cases = [
        _healed("deleted_1", {"email": "new.address@example.com"}, InStripe("cus_deleted_1", deleted=True)),
        _healed("deleted_2", {"send_email_receipts": True}, InStripe("cus_deleted_2", deleted=True)),
        _healed(
            "deleted_found",
            {"name": "Found Again", "metadata": {"plan": "team"}},
            InStripe("cus_deleted_3", deleted=True),
            InStripe("cus_found", "Before", "before@example.com", {"autumn_id": "deleted_found"}),
        ),
        _healed("never_known", {"email": "known.now@example.com", "send_email_receipts": True}),
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
        customers=tuple(planted for planted, _ in cases),
        entries=tuple(
            entry_of(
                FIRST_AT_SECONDS + APART_SECONDS * number,
                planted.customer_id,
                changes,
                _about(planted.fate, changes),
                NEEDS_REVIEW if planted.fate is Fate.REFUSED else APPLIED,
            )
            for number, (planted, changes) in enumerate(cases)
        ),
        expected={
            planted.customer_id: planted.profile if planted.fate is Fate.REFUSED else planted.profile.after(changes)
            for planted, changes in cases
        },
    )


def _healed(customer_id: str, changes: Changes, *stripe: InStripe) -> tuple[Planted, Changes]:
    """Linked to the first of the Stripe customers, or to one that Stripe never knew."""
    stripe_id = stripe[0].id if stripe else f"cus_{customer_id}"
    return Planted(customer_id, _profile(customer_id), stripe_id, stripe, Fate.HEALED), changes


def _refused(customer_id: str, stripe_id: str | None, *stripe: InStripe) -> tuple[Planted, Changes]:
    changes: Changes = {"name": "Not To Be Seen", "email": f"not.to.be.seen.{customer_id}@example.com"}
    return Planted(customer_id, _profile(customer_id), stripe_id, stripe, Fate.REFUSED), changes


def _unlinked(customer_id: str) -> tuple[Planted, Changes]:
    profile = _profile(customer_id)
    left_alone = InStripe("cus_unlinked", profile.name, profile.email, {"autumn_id": customer_id})
    return Planted(customer_id, profile, left_alone.id, (left_alone,), Fate.UNLINKED), {"stripe_id": None}


def _profile(customer_id: str) -> Profile:
    name = customer_id.replace("_", " ").title()
    return Profile(name, f"{customer_id}@example.com", send_email_receipts=False, metadata={"plan": "pro"})


def _about(fate: Fate, changes: Changes) -> str:
    what = {
        Fate.HEALED: ", with its link to be healed",
        Fate.REFUSED: ", with a link for a person to decide",
        Fate.UNLINKED: " null",
    }
    return ", ".join(changes).replace("send_email_receipts", "receipts").replace("email", "e-mail") + what[fate]
