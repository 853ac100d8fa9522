"""Judges a run by what it left behind: nothing that the worker says of itself counts, except that an event has ended.

Pure: evidence in, findings out. Each check knows one promise.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from tests.chaos.evidence import Damage, Evidence, Finding, Profile, Sent, Verdict, Written

UPDATE: Final = "/v1/customers.update"
STRIPE_UPDATE: Final = "customers.update"
OUR_KEY: Final = "autumn:"
FLAG: Final = "autumn_send_email_receipts"
NUMBERED: Final = re.compile(r"\w+ (\d+)")
"""A name that an event has written; those of other writers have no number."""


def check(evidence: Evidence) -> Verdict:
    """All that is wrong, the most telling first."""
    checks = (
        _lost,
        wrong_values,
        _own_echoes,
        _duplicate_customers,
        _overlapping,
        _duplicate_receipts,
        _out_of_order,
        _in_flight,
    )
    return Verdict(tuple(finding for one in checks for finding in one(evidence)))


def expected_profiles(seeds: Mapping[str, Profile], history: Sequence[Sent | Written]) -> dict[str, Profile]:
    """What each customer has to be: the last value that anybody wrote on purpose of each field, of metadata by key."""
    expected = dict(seeds)
    seen: set[str] = set()
    for item in history:
        if isinstance(item, Written):
            expected[item.customer] = _after(expected[item.customer], item.changes, in_stripe=item.by == "person")
        elif item.changes is not None and not item.garbage and item.event_id not in seen:
            seen.add(item.event_id)
            expected[item.customer] = _after(expected[item.customer], item.changes)
    return expected


def _after(before: Profile, changes: Mapping[str, Any], *, in_stripe: bool = False) -> Profile:
    after = replace(before, **{name: changes[name] for name in ("name", "email") if name in changes})
    if in_stripe:
        only = {name: value for name, value in changes.items() if name not in ("name", "email", "metadata")}
        keys = {f"metadata.{key}": value for key, value in changes.get("metadata", {}).items()}
        return replace(after, only_in_stripe={**after.only_in_stripe, **only, **keys})
    return replace(
        after,
        send_email_receipts=changes.get("send_email_receipts", before.send_email_receipts),
        metadata={**before.metadata, **changes.get("metadata", {})},
    )


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


def wrong_values(evidence: Evidence, *, are_unannounced_known: bool = True) -> Iterator[Finding]:
    """Both sides hold the last value written on purpose, and nothing else, of every customer of the history.

    Autumn announces neither the receipts flag nor metadata, so the worker cannot know what another app wrote of them
    since its last sync. Where it need not (`are_unannounced_known` is False), their copies in Stripe may be older.
    """
    expected = expected_profiles(evidence.seeds, evidence.history)
    unannounced = {} if are_unannounced_known else _unannounced(evidence)
    copied = {(one.customer, name): after for one in evidence.copied for name, (_, after) in one.changed.items()}
    last_copied = {(*field, value) for field, value in copied.items()}
    for customer in sorted(
        {item.customer for item in evidence.history if isinstance(item, Written) or not item.garbage}
    ):
        last, autumn = expected[customer], evidence.autumn.get(customer)
        if autumn is None:
            yield Finding("stale", customer, "is not in Autumn any more")
            continue
        echoed: set[str] = set()
        for name, has, should in _differences(_in_autumn(last), _flat(autumn, tuple(_in_autumn(last)))):
            by_echo = (customer, name, has) in last_copied
            damage: Damage = "reverted by an echo" if by_echo else "stale"
            echoed |= {name} if by_echo else set()
            yield Finding(damage, customer, f"Autumn has {name} {has!r}, written last was {should!r}")
        stripe = evidence.stripe.get(str(autumn["stripe_id"]))
        if stripe is None or stripe.get("deleted"):
            yield Finding("stale", customer, f"Autumn links it to {autumn['stripe_id']}, which Stripe does not have")
            continue
        wanted = _in_stripe(customer, last, evidence.copied_keys)
        for name, has, should in _differences(wanted, _flat(stripe, tuple(wanted))):
            if name not in unannounced.get(customer, ()):
                damage = "reverted by an echo" if name in echoed else "stale"
                yield Finding(damage, customer, f"Stripe has {name} {has!r}, written last was {should!r}")


def _unannounced(evidence: Evidence) -> dict[str, set[str]]:
    """The fields in Stripe that show what an app has written to Autumn after the last event of the customer."""
    found: dict[str, set[str]] = {}
    seen: set[str] = set()
    for item in evidence.history:
        if isinstance(item, Sent):
            if not item.garbage and item.event_id not in seen:
                found.pop(item.customer, None)
            seen.add(item.event_id)
        elif item.by == "app":
            flag = {f"metadata.{FLAG}"} if "send_email_receipts" in item.changes else set()
            keys = {f"metadata.{key}" for key in item.changes.get("metadata", {})}
            found[item.customer] = found.get(item.customer, set()) | flag | keys
    return found


def _in_autumn(last: Profile) -> dict[str, Any]:
    metadata = {f"metadata.{key}": value for key, value in last.metadata.items()}
    return {"name": last.name, "email": last.email, "send_email_receipts": last.send_email_receipts, **metadata}


def _in_stripe(customer: str, last: Profile, copied_keys: Sequence[str]) -> dict[str, Any]:
    shown = {"name": last.name, "email": last.email, "description": None, "phone": None, **last.only_in_stripe}
    copied = {f"metadata.{key}": _as_text(last.metadata[key]) for key in copied_keys if key in last.metadata}
    flag = str(last.send_email_receipts).lower()
    return {**shown, **copied, "metadata.autumn_id": customer, f"metadata.{FLAG}": flag}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _flat(held: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """These fields as they are held, and all metadata."""
    plain = {name: held.get(name) for name in fields if not name.startswith("metadata.")}
    return {**plain, **{f"metadata.{key}": value for key, value in held["metadata"].items()}}


def _differences(wanted: Mapping[str, Any], held: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The fields that differ, with what they have and what they should have."""
    for name in {**wanted, **held}:
        has, should = held.get(name) or None, wanted.get(name) or None
        if has != should:
            yield name, has, should


def _own_echoes(evidence: Evidence) -> Iterator[Finding]:
    """No update of the worker comes back as an echo that changes a field, not even for a time: nobody wrote that.

    Where Stripe also announces writes that changed nothing, a late echo cannot be avoided, only repaired.
    """
    if evidence.announces_all:
        return
    for one in evidence.copied:
        for name, (before, after) in one.changed.items() if one.is_own else ():
            text = f"an echo of an update of the worker changed {name} from {before!r} to {after!r}"
            yield Finding("reverted by an echo", one.customer, text)


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
        numbered = NUMBERED.fullmatch(name) if isinstance(name, str) else None
        if numbered is None:
            continue
        number = int(numbered[1])
        if number < newest.get(target, 0):
            later = f"{at - arrived[target]:.3f} s after {newest[target]}, at {at:.3f}"
            yield Finding("out-of-order effects", name.split(" ")[0], f"{service}: {name!r} arrived {later}")
        else:
            newest[target], arrived[target] = number, at


def _in_flight(evidence: Evidence) -> Iterator[Finding]:
    """Too many updates at a time lock up Autumn's database pool."""
    if evidence.max_updates_in_flight > evidence.allowed_in_flight:
        text = f"{evidence.max_updates_in_flight} updates at a time, {evidence.allowed_in_flight} are allowed"
        yield Finding("too many in flight", "Autumn", text)
