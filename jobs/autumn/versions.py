"""The fields of an update that only some versions of Autumn's API know. No HTTP.

Autumn drops an unknown field without a word, so a change that the version does not know would be lost. docs/events.md
says where each version comes from.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import JsonValue

from autumn_sync_client.versions import Version, is_since

RECORDED: Final = Version(2, 3)
"""The first version with recorded updates of these fields."""
OF_THE_SDK: Final = Version(2, 5)
"""The version of the SDK that knows the other fields."""
SINCE: Final[Mapping[str, Version]] = {
    "currency": RECORDED,
    "config": RECORDED,
    "billing_controls": RECORDED,
    "billing_controls.balance_allocations": OF_THE_SDK,
    "billing_controls.usage_limits.usage": OF_THE_SDK,
    "billing_controls.usage_limits.source": OF_THE_SDK,
    "billing_controls.usage_alerts.basis": OF_THE_SDK,
    "billing_controls.usage_alerts.filter": OF_THE_SDK,
    "billing_details": OF_THE_SDK,
}
"""The first version that knows a field; all versions know the other ones. Items of a list have no index here."""
_WITH_PARTS: Final = frozenset(field.rpartition(".")[0] for field in SINCE)


def unsupported_fields(changes: Mapping[str, JsonValue], version: str) -> tuple[str, ...]:
    """Return a sentence for each field of `changes` that this version of the API does not know."""
    return tuple(
        f"changes.{path}: needs version {since} of Autumn's API or later, and AUTUMN_API_VERSION is {version}"
        for path, since in _unknown(changes, version)
    )


def _unknown(
    value: JsonValue | Mapping[str, JsonValue], version: str, path: str = "", name: str = ""
) -> Iterator[tuple[str, Version]]:
    """Yield the path of each unknown field in a value, and its first version. `name` is the path without indexes."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, version, f"{path}{index}.", name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            field = name + key
            since = SINCE.get(field)
            if since is not None and not is_since(version, since):
                yield path + key, since
            elif field in _WITH_PARTS:
                yield from _unknown(item, version, f"{path}{key}.", f"{field}.")
