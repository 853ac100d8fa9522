"""Whether both sides hold what the demo sent, told from the simulators' own data. Purely computational, no I/O here.

A part of the demo's judge: it must not ask the worker, read Redis or share a line with what it judges.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.demo_world import DUPLICATE, InStripe, Profile

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it should be: of which customer or event, and what."""

    about: str
    what: str

    def __str__(self) -> str:
        """As a sentence."""
        return f"{self.about}: {self.what}"


def differences(
    expected: Mapping[str, Profile],
    autumn: Mapping[str, Record],
    stripe: Mapping[str, Record],
    *,
    apart: Mapping[str, str | None],
    untouched: Mapping[str, InStripe],
) -> list[Difference]:
    """Everything that is not as it should be; empty where all is equal.

    `expected` and `autumn` go by the customer's id in Autumn, `stripe` and `untouched` by the one in Stripe. Every
    customer has a Stripe customer that agrees, but those `apart`, which have this `stripe_id` and none of their own.
    """
    live = {stripe_id: customer for stripe_id, customer in stripe.items() if not customer.get("deleted")}
    found: list[Difference] = []
    for customer_id in sorted(expected.keys() | autumn.keys()):
        profile, row = expected.get(customer_id), autumn.get(customer_id)
        found += [Difference(customer_id, what) for what in _in_both(customer_id, profile, row, live, apart)]
    linked = {row["stripe_id"] for customer_id, row in autumn.items() if customer_id not in apart}
    others = {stripe_id: customer for stripe_id, customer in live.items() if stripe_id not in untouched}
    unlinked = [
        Difference(stripe_id, "is in Stripe, and no customer in Autumn is linked to it")
        for stripe_id in sorted(others.keys() - linked)
    ]
    return [*found, *_doubles(others), *_touched(untouched, live), *unlinked]


def wrong_endings(expected: Mapping[str, str], found: Mapping[str, str]) -> list[Difference]:
    """Entries that ended otherwise than they should have.

    Both go from an entry's id to `APPLIED` or the reason of its dead letter. `expected` also knows `DUPLICATE`, which
    leaves no ending at all.
    """
    wrong = [
        Difference(f"event {entry}", f"should have been {end}, was {found.get(entry, DUPLICATE)}")
        for entry, end in expected.items()
        if found.get(entry, DUPLICATE) != end
    ]
    return wrong + [Difference(f"event {entry}", "nobody sent it") for entry in found if entry not in expected]


def _in_both(
    customer_id: str,
    profile: Profile | None,
    row: Record | None,
    live: Mapping[str, Record],
    apart: Mapping[str, str | None],
) -> Iterator[str]:
    if profile is None:
        yield "is in Autumn, and nobody created it"
    elif row is None:
        yield "is not in Autumn"
    else:
        yield from _in_autumn(profile, row)
        if customer_id in apart:
            yield from _unequal("stripe_id in Autumn", row["stripe_id"], apart[customer_id])
        else:
            yield from _in_stripe(customer_id, profile, row, live)


def _in_autumn(profile: Profile, row: Record) -> Iterator[str]:
    yield from _unequal("the name in Autumn", row["name"], profile.name)
    yield from _unequal("the e-mail in Autumn", row["email"], profile.email)
    yield from _unequal("send_email_receipts in Autumn", row["send_email_receipts"], profile.send_email_receipts)
    yield from _unequal("the metadata in Autumn", row["metadata"], dict(profile.metadata))


def _in_stripe(customer_id: str, profile: Profile, row: Record, live: Mapping[str, Record]) -> Iterator[str]:
    if not row["stripe_id"]:
        yield "is not linked to a Stripe customer"
        return
    customer = live.get(row["stripe_id"])
    if customer is None:
        yield f"is linked to {row['stripe_id']}, which does not live in Stripe"
        return
    metadata = customer["metadata"]
    flag = str(profile.send_email_receipts).lower()
    yield from _unequal("metadata.autumn_id in Stripe", metadata.get("autumn_id"), customer_id)
    yield from _unequal("the name in Stripe", customer["name"], profile.name)
    yield from _unequal("the e-mail in Stripe", customer["email"], profile.email)
    yield from _unequal(
        "metadata.autumn_send_email_receipts in Stripe", metadata.get("autumn_send_email_receipts"), flag
    )


def _unequal(what: str, found: object, expected: object) -> Iterator[str]:
    if found != expected:
        yield f"{what} is {found!r}, should be {expected!r}"


def _doubles(customers: Mapping[str, Record]) -> Iterator[Difference]:
    owners = Counter(customer["metadata"].get("autumn_id") for customer in customers.values())
    for owner, count in owners.items():
        if owner and count > 1:
            yield Difference(owner, f"{count} Stripe customers carry this autumn_id")


def _touched(untouched: Mapping[str, InStripe], live: Mapping[str, Record]) -> Iterator[Difference]:
    for stripe_id, planted in untouched.items():
        customer = live.get(stripe_id)
        if customer is None:
            yield Difference(stripe_id, "was to be left alone, and is gone from Stripe")
        elif (customer["name"], customer["email"], customer["metadata"]) != (
            planted.name,
            planted.email,
            dict(planted.metadata),
        ):
            yield Difference(stripe_id, "was to be left alone, and was changed in Stripe")
