"""Merge the changes of one customer's events into one update. No I/O here.

The rules are Autumn's, so one merged update has the same effect as the updates one by one:

- A later value wins, and metadata and config merge by their top-level keys.
- A null deletes a value, and metadata that is null changes nothing.
- Changes that may have another effect when they are merged are not merged: see `mergeable`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pydantic import JsonValue

Changes = Mapping[str, JsonValue]
Fields = Mapping[str, JsonValue]
"""Values by field: `name`, `email`, `stripe_id`, `send_email_receipts`, `metadata.KEY`."""
Digests = Mapping[str, str]
"""Digests of such values, by field."""

BY_KEY: Final = ("metadata", "config")
"""The fields that Autumn merges by their top-level keys."""
ONE_AT_A_TIME: Final = ("billing_controls", "billing_details")
"""The fields with side effects that a later value does not replace: top-ups, usage counters, tax ids."""


def merge(changes: Iterable[Changes]) -> dict[str, JsonValue]:
    """Return one update for all `changes`, which are ordered from the earliest to the latest."""
    merged: dict[str, JsonValue] = {}
    by_key: dict[str, dict[str, JsonValue]] = {name: {} for name in BY_KEY}
    for change in changes:
        for name, value in change.items():
            if name not in by_key:
                merged[name] = value
            elif isinstance(value, dict):
                by_key[name] |= value
    return merged | {name: keys for name, keys in by_key.items() if keys}


def mergeable(changes: Sequence[Changes]) -> int:
    """Return how many of the changes, from the earliest on, may be merged into one update; at least one.

    Two values of a field in ONE_AT_A_TIME need two updates. So do a link and billing details of different events:
    the details belong to the Stripe customer that was linked when their event came.
    """
    named: set[str] = set()
    for count, change in enumerate(changes):
        again = [name for name in ONE_AT_A_TIME if name in change and name in named]
        moves = "stripe_id" in change and "billing_details" in named
        follows = "billing_details" in change and "stripe_id" in named
        if again or moves or follows:
            return count
        named |= change.keys()
    return len(changes)


def cleared(merged: Changes) -> frozenset[str]:
    """Return the fields and `metadata.key`s that an update sets to null, or to "", which Autumn stores as null."""
    fields = {name for name in ("name", "email", "stripe_id") if name in merged and merged[name] in (None, "")}
    metadata = merged.get("metadata")
    keys = [key for key, value in metadata.items() if value in (None, "")] if isinstance(metadata, dict) else []
    return frozenset(fields | {f"metadata.{key}" for key in keys})


def flat(values: Fields) -> dict[str, JsonValue]:
    """Return the values by field, each metadata key as a field of its own."""
    metadata = values.get("metadata")
    keys = {f"metadata.{key}": value for key, value in metadata.items()} if isinstance(metadata, dict) else {}
    return {name: value for name, value in values.items() if name != "metadata"} | keys


def nested(fields: Fields) -> dict[str, JsonValue]:
    """Return the change that requests these fields: the reverse of `flat`."""
    prefix = "metadata."
    keys: dict[str, JsonValue] = {
        name.removeprefix(prefix): value for name, value in fields.items() if name.startswith(prefix)
    }
    rest = {name: value for name, value in fields.items() if not name.startswith(prefix)}
    return {**rest, "metadata": keys} if keys else rest
