"""Merging the changes that wait for one customer into one update. Purely computational, no I/O here.

After Autumn's own semantics, so that one merged update is the same as the updates one by one: a later value wins,
metadata merges by its top-level keys, a null deletes, metadata that is null changes nothing.
"""

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

Said = Mapping[str, JsonValue]


def merge(changes: Iterable[Said]) -> dict[str, JsonValue]:
    """One update for all `changes`, the earliest first."""
    merged: dict[str, JsonValue] = {}
    metadata: dict[str, JsonValue] = {}
    for said in changes:
        for name, value in said.items():
            if name != "metadata":
                merged[name] = value
            elif isinstance(value, dict):
                metadata |= value
    if metadata:
        merged["metadata"] = metadata
    return merged


def undone(now: Said, said: Said) -> dict[str, JsonValue]:
    """The part of what was `said` that a customer does not show `now`, as an update that says it again."""
    again: dict[str, JsonValue] = {}
    for name, value in said.items():
        if name != "metadata":
            if (now.get(name) or None) != (value or None):
                again[name] = value
        elif isinstance(value, dict):
            shown = now.get("metadata")
            metadata = shown if isinstance(shown, dict) else {}
            lost = {key: item for key, item in value.items() if metadata.get(key) != item}
            if lost:
                again["metadata"] = lost
    return again


def gathered(before: Said, said: Said) -> dict[str, JsonValue]:
    """What was said `before`, and is said now. That a customer was unlinked is over then: any change may link again."""
    lasting = {name: value for name, value in before.items() if value or name != "stripe_id"}
    return merge([lasting, said])


def without(said: Said, later: Said) -> dict[str, JsonValue]:
    """What was `said`, less the fields and metadata keys that `later` says anew."""
    left = {name: value for name, value in said.items() if name not in later or name == "metadata"}
    metadata, newer = left.get("metadata"), later.get("metadata")
    if isinstance(metadata, dict) and isinstance(newer, dict):
        left["metadata"] = {key: item for key, item in metadata.items() if key not in newer}
    return left


def cleared(merged: Said) -> frozenset[str]:
    """What an update clears: fields said as null, or as the empty text, which Autumn stores as null; `metadata.key`."""
    fields = {name for name in ("name", "email", "stripe_id") if name in merged and merged[name] in (None, "")}
    metadata = merged.get("metadata")
    keys = [key for key, value in metadata.items() if value is None] if isinstance(metadata, dict) else []
    return frozenset(fields | {f"metadata.{key}" for key in keys})
