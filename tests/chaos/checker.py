"""Judge a run by its results. Of the worker's own statements, only the outcome of an event counts.

Pure: evidence in, findings out. Each check is about one promise.
"""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sandbox.audit import checks
from sandbox.audit.expected import RECEIPTS_FLAG, Profile
from sandbox.audit.sides import Sides
from tests.chaos.evidence import Damage, Evidence, Finding, Sent, Verdict, Written

UPDATE: Final = "/v1/customers.update"
PROFILE: Final = ("name", "email")
STRIPE_UPDATE: Final = "customers.update"
OUR_KEY: Final = "autumn:customer-sync:"
AT_ONCE: Final = re.compile(r"stripe-[^-]+-[0-9a-f]{8}-\d+(-\d+)?")
"""The id of a reconcile that the watch did not defer."""
NUMBERED: Final = re.compile(r"\w+ (\d+)")
"""A name that an event has written. Those of other writers have no number."""


def check(evidence: Evidence) -> Verdict:
    """Return all findings, the most important first."""
    sides = Sides(evidence.autumn, evidence.stripe)
    return Verdict(
        (
            *_lost(evidence),
            *wrong_values(evidence),
            *_undone_edits(evidence),
            *_own_echoes(evidence),
            *_as_damage(checks.check_owners(sides)),
            *_as_damage(checks.check_parallel_updates(evidence.max_parallel_updates)),
            *_as_damage(checks.check_receipts(mail.payment_intent for mail in evidence.mails)),
            *missing_receipts(evidence),
            *_out_of_order(evidence),
            *_in_flight(evidence),
        )
    )


def _as_damage(found: Iterable[checks.Finding]) -> Iterator[Finding]:
    return (Finding(each.damage, each.about, each.text) for each in found)


def expected_profiles(seeds: Mapping[str, Profile], history: Sequence[Sent | Written]) -> dict[str, Profile]:
    """Return the right profile of each customer: the last value written on purpose of each field and metadata key."""
    expected = dict(seeds)
    seen: set[str] = set()
    for item in history:
        if isinstance(item, Written):
            expected[item.customer] = _after_write(_freed(expected[item.customer], item.changes), item)
        elif item.changes is not None and not item.garbage and item.event_id not in seen:
            seen.add(item.event_id)
            expected[item.customer] = _freed(expected[item.customer], item.changes).after(item.changes)
    return expected


def _after_write(before: Profile, written: Written) -> Profile:
    if written.by == "app":
        return before.after(written.changes)
    if written.act == "delete":
        return replace(before, only_in_stripe={})
    if written.act != "write":
        # The worker restores what a person empties or removes.
        return before
    if not written.is_withheld:
        return before.after_edit(written.changes)
    # Nobody can know a name or e-mail whose event was never made. It looks like drift, unless Autumn has none.
    known = before.after_edit({name: value for name, value in written.changes.items() if name not in PROFILE})
    kept = {name: written.changes[name] for name in PROFILE if name in written.changes and not getattr(before, name)}
    return replace(known, only_in_stripe={**known.only_in_stripe, **kept})


def _freed(before: Profile, changes: Mapping[str, Any]) -> Profile:
    """Return the profile without the values of these names and e-mails that only Stripe has."""
    kept = {name: value for name, value in before.only_in_stripe.items() if name not in {*PROFILE} & changes.keys()}
    return replace(before, only_in_stripe=kept)


def _lost(evidence: Evidence) -> Iterator[Finding]:
    """Each event must be applied, each invalid one dead-lettered, and no other event dead-lettered."""
    events = {event.event_id: event for event in evidence.sent}
    reasons = {_event_of(each): f"dead: {each.get('reason')}: {each.get('message')}" for each in evidence.dead}
    abouts = {event_id: f"{event.customer} {event_id}" for event_id, event in events.items()}
    found = {
        abouts[event_id]: _outcome(event, evidence.outcomes.get(event_id), reasons.get(event_id))
        for event_id, event in events.items()
    }
    expected = {abouts[event_id]: "dead" if event.garbage else "applied" for event_id, event in events.items()}
    yield from _as_damage(checks.check_outcomes(expected, found, absent="without an outcome"))


def _outcome(event: Sent, status: str | None, reason: str | None) -> str:
    """Return the outcome from the dead letters or, if it is not there, the recorded one."""
    if reason is not None:
        return "dead" if event.garbage else reason
    return "not among the dead letters" if event.garbage else status or "without an outcome"


def _event_of(letter: Mapping[str, str]) -> str:
    return letter.get("sent.event_id") or letter.get("entry", "")


def wrong_values(evidence: Evidence, *, are_unannounced_known: bool = True) -> Iterator[Finding]:
    """Both sides must have the last value written on purpose, and no other, for every customer of the history.

    Autumn announces neither the receipts flag nor metadata. So the worker cannot know values of them that another app
    wrote since its last sync. If `are_unannounced_known` is False, their copies in Stripe may be older.
    """
    expected = expected_profiles(evidence.seeds, evidence.history)
    unannounced = {} if are_unannounced_known else _unannounced(evidence)
    copied = {(one.customer, name): after for one in evidence.copied for name, (_, after) in one.changed.items()}
    last_copied = {(*field, value) for field, value in copied.items()}
    edits = set(_edits(evidence.history))
    sides = Sides(evidence.autumn, evidence.stripe)
    for customer in sorted(
        {item.customer for item in evidence.history if isinstance(item, Written) or not item.garbage}
    ):
        echoed: set[str] = set()
        for found in checks.check_customer(customer, expected[customer], sides, evidence.copied_keys):
            damage: Damage = found.damage
            if (value := found.value) is not None:
                if value.service == "Stripe" and value.field in unannounced.get(customer, ()):
                    continue
                if value.service == "Autumn" and (customer, value.field, value.has) in last_copied:
                    echoed.add(value.field)
                damage = "reverted by an echo" if value.field in echoed else damage
                damage = "undone edits" if (customer, value.field, value.right) in edits else damage
            yield Finding(damage, customer, found.text)


def _edits(history: Sequence[Sent | Written]) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """Yield each edit of a name or e-mail in Stripe, as (customer, field, right values)."""
    for item in history:
        if isinstance(item, Written) and item.by == "person" and item.act == "write":
            yield from ((item.customer, name, (item.changes[name],)) for name in PROFILE if name in item.changes)


def _undone_edits(evidence: Evidence) -> Iterator[Finding]:
    """No sync may overwrite an edit in Stripe because the watch noticed it, or later, not even for a moment.

    A sync that began before may do so. Then Autumn's webhook brings the edit back.
    """
    edited = {
        (drift.stripe_id, name, value): drift
        for drift in evidence.drifts
        if drift.act == "write" and drift.is_calm
        for name, value in drift.shown.items()
    }
    at_once = {event_id.split("-")[1] for event_id in evidence.outcomes if AT_ONCE.fullmatch(event_id)}
    for write in evidence.stripe_writes if edited else ():
        for name, (before, after) in write.changed.items():
            drift = edited.get((write.object_id, name, before))
            if drift is None or not (write.idempotency_key or "").startswith(OUR_KEY):
                continue
            noticed_at = drift.noticed_at if drift.was_idle and drift.noticed_at is not None else math.inf
            if write.at > noticed_at or not at_once.isdisjoint(drift.events):
                seconds = write.at - drift.at
                text = (
                    f"{name} in Stripe was edited to {before!r}, and a sync set it to {after!r} {seconds:.1f} s later"
                )
                yield Finding("undone edits", drift.customer, text)


def missing_receipts(evidence: Evidence, *, without: Collection[str] = ()) -> Iterator[Finding]:
    """Each payment of a calm customer needs its receipt, unless the customer was deleted or is among `without`."""
    mailed = {mail.payment_intent for mail in evidence.mails}
    for drift in evidence.drifts:
        is_linked = evidence.autumn[drift.customer]["stripe_id"] == drift.stripe_id
        if drift.intent in evidence.paid - mailed and is_linked and drift.intent not in without:
            yield Finding("missing receipts", drift.customer, f"{drift.intent} succeeded and no receipt was mailed")


def _unannounced(evidence: Evidence) -> dict[str, set[str]]:
    """The fields in Stripe that show a value that an app wrote to Autumn after the customer's last event."""
    found: dict[str, set[str]] = {}
    seen: set[str] = set()
    for item in evidence.history:
        if isinstance(item, Sent):
            if not item.garbage and item.event_id not in seen:
                found.pop(item.customer, None)
            seen.add(item.event_id)
        elif item.by == "app":
            flag = {RECEIPTS_FLAG} if "send_email_receipts" in item.changes else set()
            keys = {f"metadata.{key}" for key in item.changes.get("metadata", {})}
            found[item.customer] = found.get(item.customer, set()) | flag | keys
    return found


def _own_echoes(evidence: Evidence) -> Iterator[Finding]:
    """No update of the worker may come back as an echo that changes a field, not even for a moment.

    If Stripe also announces writes that changed nothing, a late echo cannot be avoided, only repaired.
    """
    if evidence.announces_all:
        return
    for one in evidence.copied:
        if one.is_own:
            yield from _as_damage(checks.check_echo(one.customer, one.changed, "an echo of an update of the worker"))


def _out_of_order(evidence: Evidence) -> Iterator[Finding]:
    """No write with an older number may arrive after one with a newer. A replay without an effect does not count."""
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
