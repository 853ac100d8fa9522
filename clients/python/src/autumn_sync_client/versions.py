"""The versions of Autumn's API: how they are read and compared. Only for the worker's settings and its sync.

A version is a number (2.3.0, 2.3) or a date (2026-05-13). The settings and the sync import nothing of each other, so
what both need is here.
"""

import re
from typing import Final, NamedTuple

_NUMBERED: Final = re.compile(r"(\d{1,4})(?:\.(\d{1,4}))?(?:\.\d{1,4})?", re.ASCII)
_DATED: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class Version(NamedTuple):
    """A version of the API by its number. Versions compare by age."""

    major: int
    minor: int

    def __str__(self) -> str:
        """Return the number as a text, such as 2.3."""
        return f"{self.major}.{self.minor}"


DATES: Final = (("2026-05-13", Version(2, 3)), ("2026-03-17", Version(2, 1)))
"""The versions with a known date, newest first."""
_BEFORE_DATES: Final = Version(0, 0)


def is_version(text: str) -> bool:
    """Return whether the text looks like a version."""
    return _read(text) is not None


def is_since(text: str, first: Version) -> bool:
    """Return whether a version is `first` or later. A date is as late as the newest known version of that time."""
    version = _read(text)
    return version is not None and version >= first


def _read(text: str) -> Version | None:
    if _DATED.fullmatch(text):
        return next((version for date, version in DATES if text >= date), _BEFORE_DATES)
    numbered = _NUMBERED.fullmatch(text)
    return None if numbered is None else Version(int(numbered[1]), int(numbered[2] or 0))
