"""The fields of an update that only some versions of Autumn's API know. No HTTP.

Autumn drops an unknown field without a word, so a change that the version does not know would be lost. docs/events.md
says where each version comes from.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from pydantic import JsonValue


class Version(NamedTuple):
    """A version of the API by its number."""

    major: int
    minor: int


OLDEST: Final = Version(2, 1)
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
_NUMBERED: Final = re.compile(r"(\d{1,4})(?:\.(\d{1,4}))?(?:\.\d{1,4})?", re.ASCII)
_DATE_OF_RECORDED: Final = "2026-05-13"
"""The same version by its date. The dates of later versions are not known."""


def unsupported_fields(changes: Mapping[str, JsonValue], version: str) -> tuple[str, ...]:
    """Return a sentence for each field of `changes` that this version of the API does not know."""
    return tuple(
        f"changes.{path}: needs version {since.major}.{since.minor} of Autumn's API or later, and AUTUMN_API_VERSION "
        f"is {version}"
        for path, since in _unknown(changes, _number_of(version))
    )


def _unknown(
    value: JsonValue | Mapping[str, JsonValue], spoken: Version, path: str = "", name: str = ""
) -> Iterator[tuple[str, Version]]:
    """Yield the path of each unknown field in a value, and its first version. `name` is the path without indexes."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, spoken, f"{path}{index}.", name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            field = name + key
            since = SINCE.get(field)
            if since is not None and since > spoken:
                yield path + key, since
            elif field in _WITH_PARTS:
                yield from _unknown(item, spoken, f"{path}{key}.", f"{field}.")


def _number_of(version: str) -> Version:
    numbered = _NUMBERED.fullmatch(version)
    if numbered is None:
        return RECORDED if version >= _DATE_OF_RECORDED else OLDEST
    return Version(int(numbered[1]), int(numbered[2] or 0))
