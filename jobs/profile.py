"""What of Autumn's profile goes to Stripe, within what Stripe takes. Purely computational, no I/O here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from jobs.customer import (
    AUTUMN_ID,
    EMAIL_MAX,
    METADATA_KEYS_MAX,
    METADATA_VALUE_MAX,
    NAME_MAX,
    SEND_EMAIL_RECEIPTS,
    AutumnCustomer,
    StripeCustomer,
)
from jobs.findings import Finding


@dataclass(frozen=True)
class UpdateStripe:
    """Write what differs. None leaves a field as it is, the empty text clears it, a metadata key too."""

    stripe_id: str
    name: str | None = None
    email: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def writes_nothing(self) -> bool:
        """Whether nothing differs."""
        return self == UpdateStripe(self.stripe_id)


def profile_update(
    autumn: AutumnCustomer, stripe: StripeCustomer, cleared: frozenset[str], metadata_keys: tuple[str, ...]
) -> tuple[UpdateStripe, list[Finding]]:
    """The update that makes a Stripe customer agree, and what had to be cut or left out of it.

    `cleared` are the fields that a change said to be null: only those may be blanked.
    """
    name, email, found = _fitting(autumn, stripe)
    wanted, cut = _wanted_metadata(autumn, stripe, cleared, metadata_keys)
    differing = [(key, value) for key, value in wanted.items() if stripe.metadata.get(key, "") != value]
    metadata, left_out = _with_room(differing, stripe.metadata)
    update = UpdateStripe(
        stripe.id,
        name=_difference(name, stripe.name, "name" in cleared),
        email=_difference(email, stripe.email, "email" in cleared),
        metadata=metadata,
    )
    return update, [*found, *cut, *left_out]


def can_be_claimed(stripe: StripeCustomer) -> bool:
    """Whether it carries an `autumn_id` already, or has room for one."""
    return AUTUMN_ID in stripe.metadata or len(stripe.metadata) < METADATA_KEYS_MAX


def too_long(said: Mapping[str, JsonValue]) -> str | None:
    """Why Autumn, which passes a new name or e-mail on, would have a change refused by Stripe; None if it would not."""
    for field, longest in (("name", NAME_MAX), ("email", EMAIL_MAX)):
        value = said.get(field)
        if isinstance(value, str) and len(value) > longest:
            return f"changes.{field}: has {len(value)} characters, and Stripe takes {longest}: send a shorter one"
    return None


def _fitting(autumn: AutumnCustomer, stripe: StripeCustomer) -> tuple[str | None, str | None, list[Finding]]:
    """Name and e-mail as Stripe takes them: a long name is cut, a long address left alone, for half of it is wrong."""
    name, email, found = autumn.name, autumn.email, []
    if name and len(name) > NAME_MAX:
        found.append(Finding("name-cut", f"the name has {len(name)} characters, and Stripe takes {NAME_MAX}"))
        name = name[:NAME_MAX]
    if email and len(email) > EMAIL_MAX:
        text = f"the e-mail address has {len(email)} characters, and Stripe takes {EMAIL_MAX}"
        found.append(Finding("email-left-out", text))
        email = stripe.email
    return name, email, found


def _difference(autumn: str | None, stripe: str | None, was_cleared: bool) -> str | None:
    """What to write so that Stripe's value becomes Autumn's: None for nothing, "" to clear."""
    if autumn:
        return autumn if autumn != stripe else None
    return "" if was_cleared and stripe else None


def _wanted_metadata(
    autumn: AutumnCustomer, stripe: StripeCustomer, cleared: frozenset[str], keys: tuple[str, ...]
) -> tuple[dict[str, str], list[Finding]]:
    """The metadata that Stripe should have, ours first; "" for a key that a change removed."""
    wanted = {AUTUMN_ID: autumn.id, SEND_EMAIL_RECEIPTS: str(autumn.send_email_receipts).lower()}
    found = []
    for key in keys:
        value = autumn.metadata.get(key)
        if value is None:
            if f"metadata.{key}" in cleared and key in stripe.metadata:
                wanted[key] = ""
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if len(text) > METADATA_VALUE_MAX:
            found.append(
                Finding("metadata-cut", f"metadata.{key} has {len(text)} characters: {METADATA_VALUE_MAX} fit")
            )
        if text:
            wanted[key] = text[:METADATA_VALUE_MAX]
    return wanted, found


def _with_room(
    differing: list[tuple[str, str]], present: Mapping[str, str]
) -> tuple[tuple[tuple[str, str], ...], list[Finding]]:
    """As many of the keys, in their order, as Stripe has room for."""
    room = METADATA_KEYS_MAX - len(present) + sum(not value for _, value in differing)
    fitting, found = [], []
    for key, value in differing:
        if value and key not in present:
            if room <= 0:
                found.append(
                    Finding("metadata-left-out", f"metadata.{key}: Stripe has {METADATA_KEYS_MAX} keys already")
                )
                continue
            room -= 1
        fitting.append((key, value))
    return tuple(fitting), found
