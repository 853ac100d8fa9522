"""Judges a run by what it left behind: nothing that the worker says of itself counts, except that an event has ended.

Pure: evidence in, findings out. Each check knows one promise.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from tests.chaos.evidence import Evidence, Finding, Profile, Sent, Verdict

UPDATE: Final = "/v1/customers.update"
STRIPE_UPDATE: Final = "customers.update"
OUR_KEY: Final = "autumn:"
FLAG: Final = "autumn_send_email_receipts"


def check(evidence: Evidence) -> Verdict:
    """All that is wrong, the most telling first."""
    checks = (_lost, _stale, _duplicate_customers, _overlapping, _duplicate_receipts, _out_of_order, _in_flight)
    return Verdict(tuple(finding for one in checks for finding in one(evidence)))


def expected_profiles(seeds: Mapping[str, Profile], sent: Sequence[Sent]) -> dict[str, Profile]:
    """What each customer has to be at the end: the last value said of each field, of metadata by key."""
    expected = dict(seeds)
    seen: set[str] = set()
    for event in sent:
        if event.changes is None or event.garbage or event.event_id in seen:
            continue
        seen.add(event.event_id)
        before = expected[event.customer]
        expected[event.customer] = Profile(
            name=event.changes.get("name", before.name),
            email=event.changes.get("email", before.email),
            send_email_receipts=event.changes.get("send_email_receipts", before.send_email_receipts),
            metadata={**before.metadata, **event.changes.get("metadata", {})},
        )
    return expected


def _lost(evidence: Evidence) -> Iterator[Finding]:
    """Each event ends as applied, and garbage as a dead letter; nothing else is dead."""
    reasons = {_event_of(letter): letter for letter in evidence.dead}
    for event in {event.event_id: event for event in evidence.sent}.values():
        about = f"{event.customer} {event.event_id}"
        letter = reasons.get(event.event_id)
        if event.garbage:
            if letter is None:
                yield Finding("lost", about, "is garbage and no dead letter")
        elif letter is not None:
            yield Finding("lost", about, f"is a dead letter: {letter.get('reason')}: {letter.get('message')}")
        elif (status := evidence.outcomes.get(event.event_id)) != "applied":
            yield Finding("lost", about, f"has not ended: {status or 'no trace of it'}")


def _event_of(letter: Mapping[str, str]) -> str:
    return letter.get("sent.event_id") or letter.get("entry", "")


def _stale(evidence: Evidence) -> Iterator[Finding]:
    """Both sides hold the last value said, of every customer that an event was about."""
    expected = expected_profiles(evidence.seeds, evidence.sent)
    for customer in sorted({event.customer for event in evidence.sent if not event.garbage}):
        last, autumn = expected[customer], evidence.autumn.get(customer)
        if autumn is None:
            yield Finding("stale", customer, "is not in Autumn any more")
            continue
        said = {
            "name": last.name,
            "email": last.email,
            "send_email_receipts": last.send_email_receipts,
            **{f"metadata.{key}": value for key, value in last.metadata.items()},
        }
        held = {**autumn, **{f"metadata.{key}": value for key, value in autumn["metadata"].items()}}
        yield from _differences(customer, "Autumn", said, held)
        stripe = evidence.stripe.get(str(autumn["stripe_id"]))
        if stripe is None or stripe.get("deleted"):
            yield Finding("stale", customer, f"Autumn links it to {autumn['stripe_id']}, which Stripe does not have")
            continue
        said = {
            "name": last.name,
            "email": last.email,
            FLAG: str(last.send_email_receipts).lower(),
            "autumn_id": customer,
        }
        yield from _differences(customer, "Stripe", said, {**stripe, **stripe["metadata"]})


def _differences(customer: str, service: str, said: Mapping[str, Any], held: Mapping[str, Any]) -> Iterator[Finding]:
    for name, value in said.items():
        if (held.get(name) or None) != (value or None):
            yield Finding("stale", customer, f"{service} has {name} {held.get(name)!r}, said last was {value!r}")


def _duplicate_customers(evidence: Evidence) -> Iterator[Finding]:
    """An Autumn customer has one living Stripe customer."""
    owners = Counter(
        customer["metadata"]["autumn_id"]
        for customer in evidence.stripe.values()
        if not customer.get("deleted") and "autumn_id" in customer["metadata"]
    )
    for owner, count in owners.items():
        if count > 1:
            yield Finding("duplicate Stripe customers", owner, f"{count} Stripe customers carry its id")


def _overlapping(evidence: Evidence) -> Iterator[Finding]:
    """Autumn has no lock: a second update of a customer at the same time loses what the first one wrote."""
    for customer, most in evidence.max_parallel_updates.items():
        if most > 1:
            yield Finding("overlapping updates", customer, f"{most} updates at a time")


def _duplicate_receipts(evidence: Evidence) -> Iterator[Finding]:
    """One payment is one e-mail."""
    for payment_intent, count in Counter(mail.payment_intent for mail in evidence.mails).items():
        if count > 1:
            yield Finding("duplicate receipts", payment_intent, f"{count} e-mails for one payment")


def _out_of_order(evidence: Evidence) -> Iterator[Finding]:
    """No write that carries an older number arrives after one with a newer; what was only replayed had no effect."""
    to_autumn = (
        (call.started, str(call.body.get("customer_id")), call.body.get("name"))
        for call in evidence.autumn_calls
        if call.path == UPDATE
    )
    to_stripe = (
        (call.at, call.path, call.params.get("name"))
        for call in evidence.stripe_calls
        if call.endpoint == STRIPE_UPDATE and (call.idempotency_key or "").startswith(OUR_KEY) and not call.replayed
    )
    yield from _steps_back("Autumn", to_autumn)
    yield from _steps_back("Stripe", to_stripe)


def _steps_back(service: str, writes: Iterable[tuple[float, str, Any]]) -> Iterator[Finding]:
    newest: dict[str, int] = {}
    arrived: dict[str, float] = {}
    for at, target, name in sorted(writes, key=lambda write: write[0]):
        if not isinstance(name, str) or " " not in name:
            continue
        number = int(name.rsplit(" ", 1)[1])
        if number < newest.get(target, 0):
            later = f"{at - arrived[target]:.3f} s after {newest[target]}, at {at:.3f}"
            yield Finding("out-of-order effects", f"{service} {name}", f"arrived {later}")
        else:
            newest[target], arrived[target] = number, at


def _in_flight(evidence: Evidence) -> Iterator[Finding]:
    """Too many updates at a time lock up Autumn's database pool."""
    if evidence.max_updates_in_flight > evidence.allowed_in_flight:
        text = f"{evidence.max_updates_in_flight} updates at a time, {evidence.allowed_in_flight} are allowed"
        yield Finding("too many in flight", "Autumn", text)
