"""Merge the changes of one customer's events into one update. No I/O here.

The rules are Autumn's, so one merged update has the same effect as the updates one by one:

- A later value wins, and metadata merges by its top-level keys.
- A null deletes a value, and metadata that is null changes nothing.
"""

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

Changes = Mapping[str, JsonValue]


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
