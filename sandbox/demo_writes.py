"""Whether anything was written that should not have been, told from the simulators' logs of what they executed.

A part of the demo's judge, purely computational: it must not ask the worker, read Redis or share a line with what it
judges. What both sides look like in the end, demo_comparison says; here is how they came to it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sandbox.autumn import Call
from sandbox.autumn_customers import Copied
from sandbox.demo_comparison import Difference, Record
from sandbox.demo_world import APPLIED, Changes, Fate, Payment, Traffic
from sandbox.stripe_payments import Mail
from sandbox.stripe_writes import Write

AUTUMN_ITSELF: Final = "Autumn itself"
CUSTOMER_WRITERS: Final[Mapping[str, frozenset[str]]] = {
    "create-…": frozenset({"metadata.autumn_id"}),
    "update-…": frozenset({"name", "email", "metadata.autumn_id", "metadata.autumn_send_email_receipts"}),
    AUTUMN_ITSELF: frozenset(),
}
PAYMENT_WRITERS: Final[Mapping[str, frozenset[str]]] = {
    "receipt-…": frozenset({"receipt_email", "metadata.autumn_receipt_email"})
}
"""Who may change what. A name or e-mail is in Stripe before it goes to Autumn, so what Autumn itself then writes to
Stripe changes nothing, and no webhook announces it."""


def writer_of(write: Write) -> str:
    """Who or what wrote, without the number of the try: `update-…`, `create-…`, `receipt-…`, or another."""
    step, *numbers = write.why.split("-")
    return f"{step}-…" if numbers else step


def stray_writes(writes: Sequence[Write], traffic: Traffic) -> list[Difference]:
    """Each write to something that the traffic is not about, or of a field or a value that nobody asked for."""
    allowed = _Allowed(traffic)
    return [Difference(write.object_id, what) for write in writes for what in allowed.faults(write)]


def wrong_receipts(
    traffic: Traffic, writes: Sequence[Write], intents: Mapping[str, Record], mails: Sequence[Mail]
) -> list[Difference]:
    """Each payment that was not given the addresses it had to be given, in order, and each mail too few or too many."""
    found = []
    for payment in traffic.payments:
        given, left = addresses_of(payment, writes), intents[payment.id]["receipt_email"]
        if given != payment.addresses:
            what = f"{payment.about}, was given the addresses {given}, should be {payment.addresses}"
            found.append(Difference(payment.id, what))
        should = payment.addresses[-1] if payment.addresses else payment.receipt_email
        if left != should:
            found.append(Difference(payment.id, f"{payment.about}, has the address {left!r}, should be {should!r}"))
    return found + _wrong_mails(traffic, mails)


def addresses_of(payment: Payment, writes: Sequence[Write]) -> tuple[str | None, ...]:
    """The receipt addresses that a payment was given, in order; None where one was taken back."""
    changes = [write.changed for write in writes if write.object_id == payment.id]
    return tuple(changed["receipt_email"][1] for changed in changes if "receipt_email" in changed)


def lost_to_echoes(copied: Sequence[Copied]) -> list[Difference]:
    """Each value that Autumn took over from a webhook: nobody but the worker writes to Stripe, so nobody meant it."""
    return [
        Difference(one.customer_id, f"its {name} in Autumn was changed from {before!r} to {after!r} by {one.event_id}")
        for one in copied
        for name, (before, after) in one.changed.items()
    ]


def wrong_updates(traffic: Traffic, calls: Sequence[Call], autumn: Mapping[str, Record]) -> list[Difference]:
    """Updates of Autumn for whom nothing may be written, and links that were not healed together with their change."""
    updates = [call for call in calls if call.path == "/v1/customers.update"]
    refused = {planted.customer_id for planted in traffic.of(Fate.REFUSED)}
    return [
        Difference(call.body["customer_id"], "was updated in Autumn, and nothing was to be written")
        for call in updates
        if call.body.get("customer_id") in refused
    ] + [
        Difference(planted.customer_id, "was not healed by one update that carries the change and the new link")
        for planted in traffic.of(Fate.HEALED)
        if not _healed_at_once(planted.customer_id, traffic, updates, autumn)
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
    """What may be written, told from what is planted and sent; who was created, its create tells."""

    def __init__(self, traffic: Traffic) -> None:
        """Knows who owns what is planted, who has to be created, and the names and addresses that anybody ever had."""
        in_sync = [planted for planted in traffic.customers if planted.customer_id not in traffic.apart]
        living = [(each, planted) for planted in in_sync for each in planted.stripe if not each.deleted]
        self._owners = {each.id: planted.customer_id for each, planted in living}
        self._to_create = {planted.customer_id for planted in in_sync} - set(self._owners.values())
        self._values: dict[str, set[Any]] = {
            each.customer_id: {None, each.profile.name, each.profile.email} for each in in_sync
        }
        for entry in traffic.entries:
            if entry.end == APPLIED and entry.customer_id in self._values:
                self._values[entry.customer_id] |= {entry.changes.get("name"), entry.changes.get("email")}
        self._payments = {payment.id for payment in traffic.payments if payment.addresses}

    def faults(self, write: Write) -> Iterator[str]:
        """What is wrong with a write."""
        if write.endpoint == "customers.create":
            self._note_created(write)
        owner = self._owners.get(write.object_id)
        if owner is None and write.object_id not in self._payments:
            yield f"was written to by {write.why}, and the traffic is not about it"
            return
        fields = (PAYMENT_WRITERS if owner is None else CUSTOMER_WRITERS).get(writer_of(write))
        if fields is None:
            yield f"was written to by {write.why}, who has no business there"
            return
        for name, (_, value) in write.changed.items():
            if name not in fields:
                yield f"its {name} was changed by {write.why}"
            elif name == "metadata.autumn_id" and value != owner:
                yield f"its {name} was made {value!r} by {write.why}, should be {owner!r}"
            elif owner is not None and name in ("name", "email") and value not in self._values[owner]:
                yield f"its {name} was made {value!r} by {write.why}, which nobody said of {owner}"

    def _note_created(self, write: Write) -> None:
        _, owner = write.changed.get("metadata.autumn_id", (None, None))
        if owner in self._to_create:
            self._to_create.remove(owner)
            self._owners[write.object_id] = owner
