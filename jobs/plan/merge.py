"""Merging the changes that wait for one customer into one update. Purely computational, no I/O here.

After Autumn's own semantics, so that one merged update is the same as the updates one by one: a later value wins,
metadata merges by its top-level keys, a null deletes, metadata that is null changes nothing.
"""

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

Changes = Mapping[str, JsonValue]


def merge(changes: Iterable[Changes]) -> dict[str, JsonValue]:
    """One update for all `changes`, the earliest first."""
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
    """What an update clears: fields said as null, or as the empty text, which Autumn stores as null; `metadata.key`."""
    fields = {name for name in ("name", "email", "stripe_id") if name in merged and merged[name] in (None, "")}
    metadata = merged.get("metadata")
    keys = [key for key, value in metadata.items() if value in (None, "")] if isinstance(metadata, dict) else []
    return frozenset(fields | {f"metadata.{key}" for key in keys})
