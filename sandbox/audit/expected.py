"""The values that a customer must have on each side after the events so far: the last write of each field wins."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

Json = dict[str, Any]
RightValues = dict[str, tuple[Any, ...]]
"""The right values by field, a metadata key as `metadata.KEY`. There are several if the last write is uncertain."""

OWNER: Final = "metadata.autumn_id"
RECEIPTS_FLAG: Final = "metadata.autumn_send_email_receipts"
AUTUMN_FIELDS: Final = ("name", "email", "send_email_receipts")


@dataclass(frozen=True)
class Profile:
    """The expected values of one customer. `metadata` is Autumn's.

    `only_in_stripe` holds fields that Autumn does not have, by the names of `RightValues`.
    """

    name: str | None
    email: str | None
    send_email_receipts: bool
    metadata: Mapping[str, Any] = field(default_factory=dict)
    only_in_stripe: Mapping[str, Any] = field(default_factory=dict)

    def after(self, changes: Mapping[str, Any]) -> "Profile":
        """Return the profile after a write to Autumn: metadata merges by key, and a null deletes its key."""
        merged = {**self.metadata, **(changes.get("metadata") or {})}
        metadata = {key: value for key, value in merged.items() if value is not None}
        return replace(self, **{name: changes[name] for name in AUTUMN_FIELDS if name in changes}, metadata=metadata)

    def after_edit(self, changes: Mapping[str, Any]) -> "Profile":
        """Return the profile after an edit in Stripe: a name or e-mail counts on both sides, the rest only there."""
        shared = {name: value for name, value in changes.items() if name in ("name", "email")}
        rest = {name: value for name, value in flat(changes).items() if name not in shared}
        return replace(self.after(shared), only_in_stripe={**self.only_in_stripe, **rest})

    def in_autumn(self) -> RightValues:
        """Return the right value of each field in Autumn."""
        metadata = {f"metadata.{key}": (value,) for key, value in self.metadata.items()}
        return {name: (getattr(self, name),) for name in AUTUMN_FIELDS} | metadata

    def in_stripe(self, customer_id: str, metadata_keys: Sequence[str] = ()) -> RightValues:
        """Return the right value of each field in Stripe; the `metadata_keys` are copied there as text."""
        values = {"name": self.name, "email": self.email, "description": None, "phone": None, **self.only_in_stripe}
        copied = {key: self.metadata[key] for key in metadata_keys if key in self.metadata}
        values |= {f"metadata.{key}": _as_text(value) for key, value in copied.items()}
        values |= {OWNER: customer_id, RECEIPTS_FLAG: _as_text(self.send_email_receipts)}
        return {name: (value,) for name, value in values.items()}


def profile_of(row: Mapping[str, Any]) -> Profile:
    """Return the profile that a customer of Autumn has."""
    return Profile(**{name: row[name] for name in AUTUMN_FIELDS}, metadata=dict(row["metadata"]))


def possible_values(before: Profile, writes: Iterable[tuple[Mapping[str, Any], bool]]) -> RightValues:
    """Return the right values in Autumn after writes, in order, each with whether it certainly took effect.

    An uncertain write, as one whose answer was lost, adds its value to those that were right before it.
    """
    right = before.in_autumn()
    for changes, is_certain in writes:
        for name, value in flat(changes).items():
            if name != "stripe_id":
                right[name] = (value,) if is_certain else (*right.get(name, (None,)), value)
    return right


def flat(changes: Mapping[str, Any]) -> Json:
    """Return the fields of a change or of a customer, each metadata key as a field `metadata.KEY`."""
    keys = {f"metadata.{key}": value for key, value in (changes.get("metadata") or {}).items()}
    return {name: value for name, value in changes.items() if name != "metadata"} | keys


def _as_text(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value, separators=(",", ":"))
