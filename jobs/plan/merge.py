"""Merge the changes of one customer's events into one update. No I/O here.

The rules are Autumn's, so one merged update has the same effect as the updates one by one:

- A later value wins, and metadata merges by its top-level keys.
- A null deletes a value, and metadata that is null changes nothing.
"""

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

Changes = Mapping[str, JsonValue]
Fields = Mapping[str, JsonValue]
"""Values by field: `name`, `email`, `stripe_id`, `send_email_receipts`, `metadata.KEY`."""
Digests = Mapping[str, str]
"""Digests of such values, by field."""


def merge(changes: Iterable[Changes]) -> dict[str, JsonValue]:
    """Return one update for all `changes`, which are ordered from the earliest to the latest."""
    merged: dict[str, JsonValue] = {}
    metadata: dict[str, JsonValue] = {}
    for change in changes:
        for name, value in change.items():
            if name != "metadata":
                merged[name] = value
            elif isinstance(value, dict):
                metadata |= value
    if metadata:
        merged["metadata"] = metadata
    return merged


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
