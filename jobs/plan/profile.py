"""Decide which fields of Autumn's profile are written to Stripe, within Stripe's limits. No I/O here."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import JsonValue

from jobs.errors import GiveUp
from jobs.plan.customer import (
    AUTUMN_ID,
    EMAIL_MAX,
    METADATA_KEYS_MAX,
    METADATA_VALUE_MAX,
    NAME_MAX,
    SEND_EMAIL_RECEIPTS,
    AutumnCustomer,
    StripeCustomer,
    normal_form,
    short_digest,
)
from jobs.plan.findings import Finding
from jobs.plan.steps import UpdateStripe

PROFILE: Final = ("name", "email")
"""The fields that Autumn itself writes to Stripe, and overwrites from Stripe's webhooks."""


@dataclass(frozen=True)
class Refused:
    """A field that Stripe refuses, named as in an event, with Stripe's code and the digest of the value."""

    field: str
    code: str
    digest: str = ""


@dataclass(frozen=True)
class WriteRules:
    """The rules for an update of Stripe.

    - `cleared`: the fields that an event set to null. Only those may be cleared in Stripe.
    - `requested`: the fields that an event names. They are written exactly as they were sent.
    - `refused`: the fields that Stripe refuses. They are not written.
    - `forms`: by field, the digests of the name or e-mail as it was sent and as Stripe stored it.
    - `left`: the fields that waiting events name. They are not written, because Autumn's value may be the older one.
    """

    cleared: frozenset[str] = frozenset()
    requested: frozenset[str] = frozenset()
    refused: tuple[Refused, ...] = ()
    forms: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    left: frozenset[str] = frozenset()


def digest_of(customer_id: str, name: str, value: JsonValue) -> str:
    """Return the digest of a field's value, the same for every form in which Stripe may store it."""
    text = normal_form(name, value) if isinstance(value, str) else json.dumps(value, sort_keys=True)
    whole = "\n".join([customer_id, name, text if value not in (None, "") else "null"])
    return short_digest(whole)


def digests_of(customer_id: str, values: Mapping[str, JsonValue]) -> dict[str, str]:
    """Return the digests of values by field."""
    return {name: digest_of(customer_id, name, value) for name, value in values.items()}


def divided(step: UpdateStripe) -> list[UpdateStripe]:
    """Split a step into one for each field. The claim comes first, because no other write may precede it."""
    claim = [each for each in step.metadata if each[0] == AUTUMN_ID]
    rest = [each for each in step.metadata if each[0] != AUTUMN_ID]
    parts = [
        UpdateStripe(step.stripe_id, name=step.name),
        UpdateStripe(step.stripe_id, email=step.email),
        *(UpdateStripe(step.stripe_id, metadata=(each,)) for each in [*claim, *rest]),
    ]
    parts.sort(key=lambda part: part.metadata != tuple(claim))
    return [part for part in parts if not part.writes_nothing]


def refused_field(refusal: GiveUp, step: UpdateStripe) -> str | None:
    """Return the field of a step that Stripe refused, named as in an event; None if it is unknown."""
    fields = step.written
    named = re.sub(r"^metadata\[(.*)\]$", r"metadata.\1", refusal.param or "")
    if named in fields:
        return named
    return next(iter(fields)) if len(fields) == 1 else None


def profile_update(
    autumn: AutumnCustomer, stripe: StripeCustomer, rules: WriteRules, metadata_keys: tuple[str, ...]
) -> tuple[UpdateStripe, list[Finding]]:
    """Return the update that makes a Stripe customer agree, and findings about values that were cut or left out."""
    update, found = name_and_email_update(autumn, stripe, rules)
    wanted, cut = _wanted_metadata(autumn, stripe, rules.cleared, metadata_keys)
    differing = [(key, value) for key, value in wanted.items() if stripe.metadata.get(key, "") != value]
    refused = {each.field for each in rules.refused}
    metadata, left_out = _with_room(
        [each for each in differing if f"metadata.{each[0]}" not in refused], stripe.metadata
    )
    return replace(update, metadata=metadata), [*found, *cut, *left_out]


def name_and_email_update(
    autumn: AutumnCustomer, stripe: StripeCustomer, rules: WriteRules
) -> tuple[UpdateStripe, list[Finding]]:
    """Return the update of name and e-mail only. Autumn would write these itself and cause an echo by webhook.

    The update also claims a customer without an owner, because no write may precede the claim.
    """
    name, email, found = _fitting(autumn, stripe)
    refused = {each.field for each in rules.refused}
    update = UpdateStripe(
        stripe.id,
        name=None if "name" in refused else _difference("name", name, stripe.name, rules),
        email=None if "email" in refused else _difference("email", email, stripe.email, rules),
        metadata=() if stripe.owner else ((AUTUMN_ID, autumn.id),),
    )
    texts = [Finding("refused-by-stripe", f"Stripe refuses {each.field} ({each.code})") for each in rules.refused]
    return update, [*found, *texts]


def form_digest(value: str | None) -> str:
    """Return the digest of one form of a value."""
    return short_digest(value or "")


def can_be_claimed(stripe: StripeCustomer) -> bool:
    """Return whether a customer carries an `autumn_id` or has room for one."""
    return AUTUMN_ID in stripe.metadata or len(stripe.metadata) < METADATA_KEYS_MAX


def too_long(changes: Mapping[str, JsonValue]) -> str | None:
    """Return the error if a name or e-mail is too long for Stripe, to which Autumn forwards it; else None."""
    for name, longest in (("name", NAME_MAX), ("email", EMAIL_MAX)):
        value = changes.get(name)
        if isinstance(value, str) and len(value) > longest:
            return f"changes.{name}: has {len(value)} characters, and Stripe allows {longest}: send a shorter one"
    return None


def _fitting(autumn: AutumnCustomer, stripe: StripeCustomer) -> tuple[str | None, str | None, list[Finding]]:
    """Return name and e-mail within Stripe's limits. A cut address would be wrong, so a long one is not written."""
    name, email, found = autumn.name, autumn.email, []
    if name and len(name) > NAME_MAX:
        found.append(Finding("name-cut", f"the name has {len(name)} characters, and Stripe allows {NAME_MAX}"))
        name = name[:NAME_MAX]
    if email and len(email) > EMAIL_MAX:
        text = f"the e-mail address has {len(email)} characters, and Stripe allows {EMAIL_MAX}"
        found.append(Finding("email-left-out", text))
        email = stripe.email
    return name, email, found


def _difference(name: str, autumn: str | None, stripe: str | None, rules: WriteRules) -> str | None:
    """Return the value to write so that Stripe agrees; None for no write, "" to clear."""
    if name in rules.left:
        return None
    if autumn:
        is_same = autumn == stripe if name in rules.requested else _same(name, autumn, stripe, rules)
        return None if is_same else autumn
    return "" if name in rules.cleared and stripe else None


def _same(name: str, autumn: str, stripe: str | None, rules: WriteRules) -> bool:
    """Return whether Stripe's value is a stored form of Autumn's. Without this, a sync would write it each time."""
    if stripe is not None and normal_form(name, autumn) == normal_form(name, stripe):
        return True
    return rules.forms.get(name) == (form_digest(autumn), form_digest(stripe))


def metadata_text(value: JsonValue) -> str:
    """Return a value of Autumn's metadata as Stripe stores it: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _wanted_metadata(
    autumn: AutumnCustomer, stripe: StripeCustomer, cleared: frozenset[str], keys: tuple[str, ...]
) -> tuple[dict[str, str], list[Finding]]:
    """Return the metadata that Stripe should have, our keys first; "" for a key that an event removed."""
    wanted = {AUTUMN_ID: autumn.id, SEND_EMAIL_RECEIPTS: metadata_text(autumn.send_email_receipts)}
    found = []
    for key in keys:
        value = autumn.metadata.get(key)
        if value is None:
            if f"metadata.{key}" in cleared and key in stripe.metadata:
                wanted[key] = ""
            continue
        text = metadata_text(value)
        if len(text) > METADATA_VALUE_MAX:
            found.append(
                Finding(
                    "metadata-cut", f"metadata.{key} has {len(text)} characters, and Stripe allows {METADATA_VALUE_MAX}"
                )
            )
        if text or (f"metadata.{key}" in cleared and key in stripe.metadata):
            wanted[key] = text[:METADATA_VALUE_MAX]
    return wanted, found


def _with_room(
    differing: list[tuple[str, str]], present: Mapping[str, str]
) -> tuple[tuple[tuple[str, str], ...], list[Finding]]:
    """Return the keys, in their order, that fit into Stripe's limit, and findings about the others."""
    room = METADATA_KEYS_MAX - len(present) + sum(not value for _, value in differing)
    fitting, found = [], []
    for key, value in differing:
        if value and key not in present:
            if room <= 0:
                found.append(
                    Finding(
                        "metadata-left-out",
                        f"metadata.{key}: the customer already has {METADATA_KEYS_MAX} keys in Stripe",
                    )
                )
                continue
            room -= 1
        fitting.append((key, value))
    return tuple(fitting), found
