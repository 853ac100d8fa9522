"""The differences between what the demo sent and what both sides hold, and every write that it does not explain.

Purely computational, no I/O here. The rules that hold for every customer are in `sandbox.audit`; this module knows
which customers, writes and receipts the demo's traffic leads to. It must not read Redis or call the worker.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sandbox.audit.checks import (
    Finding,
    check_customer,
    check_echo,
    check_outcomes,
    check_owners,
    check_parallel_updates,
    check_values,
)
from sandbox.audit.expected import OWNER, RECEIPTS_FLAG, Profile, flat
from sandbox.audit.sides import Record, Sides
from sandbox.autumn.customers import Copied
from sandbox.autumn.server import Call
from sandbox.demo.world import APPLIED, DUPLICATE, Changes, Expected, InStripe, Payment, Traffic
from sandbox.stripe.payments import Mail
from sandbox.stripe.writes import Write


@dataclass(frozen=True)
class Difference:
    """One fault, with the customer, payment or event that it is about."""

    about: str
    what: str

    def __str__(self) -> str:
        """Return both parts as one line."""
        return f"{self.about}: {self.what}"


def differences(
    expected: Mapping[str, Profile],
    autumn: Mapping[str, Record],
    stripe: Mapping[str, Record],
    *,
    apart: Mapping[str, str | None],
    untouched: Mapping[str, InStripe],
) -> list[Difference]:
    """Return every difference from the expected state of both sides.

    The keys of `expected` and `autumn` are Autumn ids; those of `stripe` and `untouched` are Stripe ids. Each customer
    must have its own Stripe customer with the same values. The customers in `apart` have none: `apart` maps their
    Autumn id to the `stripe_id` that they must have.
    """
    sides = Sides(autumn, stripe)
    found: list[Difference] = []
    for customer_id in sorted(expected.keys() | autumn.keys()):
        found += _of_customer(customer_id, expected.get(customer_id), sides, apart)
    linked = {row["stripe_id"] for customer_id, row in autumn.items() if customer_id not in apart}
    others = {each: customer for each, customer in stripe.items() if each not in untouched and sides.living(each)}
    unlinked = [
        Difference(stripe_id, "is in Stripe, but no customer in Autumn is linked to it")
        for stripe_id in sorted(others.keys() - linked)
    ]
    doubles = _as_differences(check_owners(Sides(autumn, others)))
    return [*found, *doubles, *_touched(untouched, sides), *unlinked]


def unrepaired(traffic: Traffic, autumn: Mapping[str, Record], stripe: Mapping[str, Record]) -> list[Difference]:
    """Return each customer that a person edited in Stripe and that is not repaired."""
    sides = Sides(autumn, stripe)
    return [
        difference
        for customer_id in dict.fromkeys(edit.customer_id for edit in traffic.edits)
        for difference in _of_customer(customer_id, traffic.expected[customer_id], sides, {})
    ]


def wrong_outcomes(expected: Mapping[str, str], found: Mapping[str, str]) -> list[Difference]:
    """Return each event with another outcome than expected.

    Both map an entry's id to `APPLIED` or to the reason of its dead letter. `expected` also has `DUPLICATE`: a dropped
    duplicate has no recorded outcome.
    """
    named = {f"event {entry}": end for entry, end in expected.items()}
    wrong = _as_differences(
        check_outcomes(named, {f"event {entry}": end for entry, end in found.items()}, absent=DUPLICATE)
    )
    return wrong + [Difference(f"event {entry}", "was never sent") for entry in found if entry not in expected]


def parallel_updates(most_by_customer: Mapping[str, int]) -> list[Difference]:
    """Return each customer that had two updates at a time."""
    return _as_differences(check_parallel_updates(most_by_customer))


def _as_differences(found: Iterable[Finding]) -> list[Difference]:
    return [Difference(each.about, each.text) for each in found]


def _of_customer(
    customer_id: str, profile: Profile | None, sides: Sides, apart: Mapping[str, str | None]
) -> list[Difference]:
    row = sides.autumn.get(customer_id)
    if profile is None:
        return [Difference(customer_id, "is in Autumn, but was never created")]
    if row is None or customer_id not in apart:
        return _as_differences(check_customer(customer_id, profile, sides))
    right = {**profile.in_autumn(), "stripe_id": (apart[customer_id],)}
    return _as_differences(check_values(customer_id, "Autumn", row, right))


def _touched(untouched: Mapping[str, InStripe], sides: Sides) -> Iterator[Difference]:
    for stripe_id, seeded in untouched.items():
        customer = sides.living(stripe_id)
        if customer is None:
            yield Difference(stripe_id, "must not be changed, and is gone from Stripe")
            continue
        right = {"name": seeded.name, "email": seeded.email, **flat({"metadata": seeded.metadata})}
        if any(check_values(stripe_id, "Stripe", customer, {name: (value,) for name, value in right.items()})):
            yield Difference(stripe_id, "must not be changed, and was changed in Stripe")


AUTUMN_ITSELF: Final = "Autumn itself"
CUSTOMER_WRITERS: Final[Mapping[str, frozenset[str]]] = {
    "create-…": frozenset({OWNER}),
    "update-…": frozenset({"name", "email", OWNER, RECEIPTS_FLAG}),
    AUTUMN_ITSELF: frozenset(),
}
PAYMENT_WRITERS: Final[Mapping[str, frozenset[str]]] = {
    "receipt-…": frozenset({"receipt_email", "metadata.autumn_receipt_email"})
}
"""The fields that each writer may change. The worker writes a name or e-mail to Stripe before Autumn, so Autumn's own
write to Stripe changes nothing and causes no webhook."""


def writer_of(write: Write) -> str:
    """Return the writer without the number of the attempt: `update-…`, `create-…`, `receipt-…`, or another."""
    step, *numbers = write.why.split("-")
    return f"{step}-…" if numbers else step


def stray_writes(writes: Sequence[Write], traffic: Traffic) -> list[Difference]:
    """Return each write of an object, field or value that no event explains."""
    allowed = _Allowed(traffic)
    return [Difference(write.object_id, what) for write in writes for what in allowed.faults(write)]


def wrong_receipts(
    traffic: Traffic, writes: Sequence[Write], intents: Mapping[str, Record], mails: Sequence[Mail]
) -> list[Difference]:
    """Return each payment with wrong receipt addresses, and each missing or unexpected e-mail receipt."""
    found = []
    for payment in traffic.payments:
        given, left = addresses_of(payment, writes), intents[payment.id]["receipt_email"]
        if given != payment.addresses:
            what = f"{payment.about}, was given the receipt addresses {given}, should be {payment.addresses}"
            found.append(Difference(payment.id, what))
        should = payment.addresses[-1] if payment.addresses else payment.receipt_email
        if left != should:
            found.append(
                Difference(payment.id, f"{payment.about}, has the receipt address {left!r}, should be {should!r}")
            )
    return found + _wrong_mails(traffic, mails)


def addresses_of(payment: Payment, writes: Sequence[Write]) -> tuple[str | None, ...]:
    """Return the receipt addresses that were set on a payment, in order; None means that one was cleared."""
    changes = [write.changed for write in writes if write.object_id == payment.id]
    return tuple(changed["receipt_email"][1] for changed in changes if "receipt_email" in changed)


def reverted_by_echoes(copied: Sequence[Copied]) -> list[Difference]:
    """Return each value that Autumn copied from a webhook: only the worker writes to Stripe, so each one is an echo."""
    return [
        difference
        for one in copied
        for difference in _as_differences(check_echo(one.customer_id, one.changed, one.event_id))
    ]


def wrong_updates(traffic: Traffic, calls: Sequence[Call], autumn: Mapping[str, Record]) -> list[Difference]:
    """Return updates of customers that need review, and links that were not repaired in the update of their event."""
    updates = [call for call in calls if call.path == "/v1/customers.update"]
    refused = {seeded.customer_id for seeded in traffic.of(Expected.REFUSED)}
    return [
        Difference(call.body["customer_id"], "was updated in Autumn, but must not be written")
        for call in updates
        if call.body.get("customer_id") in refused
    ] + [
        Difference(seeded.customer_id, "was not linked again by one update with the change and the new link")
        for seeded in traffic.of(Expected.REPAIRED)
        if not _healed_at_once(seeded.customer_id, traffic, updates, autumn)
    ]


def _healed_at_once(customer_id: str, traffic: Traffic, updates: Sequence[Call], autumn: Mapping[str, Record]) -> bool:
    whole: Changes = {"customer_id": customer_id, "stripe_id": autumn.get(customer_id, {}).get("stripe_id")}
    for entry in traffic.entries:
        if entry.customer_id == customer_id:
            whole |= entry.changes
    taken = [call.body for call in updates if call.body.get("customer_id") == customer_id and call.status == 200]
    return taken == [whole]


def _wrong_mails(traffic: Traffic, mails: Sequence[Mail]) -> list[Difference]:
    sent = Counter((mail.payment_intent, mail.address) for mail in mails)
    due = Counter((payment.id, address) for payment in traffic.payments for address in payment.mailed_to)
    return [
        Difference(mail[0], f"{sent[mail]} receipts were mailed to {mail[1]}, should be {due[mail]}")
        for mail in sorted(sent.keys() | due.keys())
        if sent[mail] != due[mail]
    ]


class _Allowed:
    """The writes that the seeded objects and the events explain. A create adds its new Stripe customer."""

    def __init__(self, traffic: Traffic) -> None:
        """Collect the owners of seeded objects, the customers to create, and each customer's names and addresses."""
        in_sync = [seeded for seeded in traffic.customers if seeded.customer_id not in traffic.apart]
        living = [(each, seeded) for seeded in in_sync for each in seeded.stripe if not each.deleted]
        self._owners = {each.id: seeded.customer_id for each, seeded in living}
        deleted = {edit.customer_id for edit in traffic.edits if edit.params is None}
        self._to_create = {seeded.customer_id for seeded in in_sync} - set(self._owners.values()) | deleted
        self._values: dict[str, set[Any]] = {
            each.customer_id: {None, each.profile.name, each.profile.email} for each in in_sync
        }
        for entry in traffic.entries:
            if entry.outcome == APPLIED and entry.customer_id in self._values:
                self._values[entry.customer_id] |= {entry.changes.get("name"), entry.changes.get("email")}
        self._payments = {payment.id for payment in traffic.payments if payment.addresses}

    def faults(self, write: Write) -> Iterator[str]:
        """Yield each fault of a write."""
        if write.endpoint == "customers.create":
            self._note_created(write)
        owner = self._owners.get(write.object_id)
        if owner is None and write.object_id not in self._payments:
            yield f"was written by {write.why}, but no event is about it"
            return
        fields = (PAYMENT_WRITERS if owner is None else CUSTOMER_WRITERS).get(writer_of(write))
        if fields is None:
            yield f"was written by {write.why}, which may not write there"
            return
        for name, (_, value) in write.changed.items():
            if name not in fields:
                yield f"{name} was changed by {write.why}"
            elif name == OWNER and value != owner:
                yield f"{name} was set to {value!r} by {write.why}, should be {owner!r}"
            elif owner is not None and name in ("name", "email") and value not in self._values[owner]:
                yield f"{name} was set to {value!r} by {write.why}, which no event requested for {owner}"

    def _note_created(self, write: Write) -> None:
        _, owner = write.changed.get(OWNER, (None, None))
        if owner in self._to_create:
            self._to_create.remove(owner)
            self._owners[write.object_id] = owner
