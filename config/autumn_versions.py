"""The versions of Autumn's API that this software supports. No setting is read in here.

A version is a number (2.3.0, 2.3) or a date (2026-05-13). From 2.1 on, a customer has the format that a sync reads.
Version 2.3 adds lists with cursors, which a scan reads. Only the server knows whether it supports a later version.
"""

import re
from typing import Final

DEFAULT_VERSION: Final = "2.3.0"
EVENTS_SINCE: Final = (2, 1)
SCANS_SINCE: Final = (2, 3)
_EVENTS_SINCE_DATE: Final = "2026-03-17"
_SCANS_SINCE_DATE: Final = "2026-05-13"
_NUMBERED: Final = re.compile(r"(\d{1,4})(?:\.(\d{1,4}))?(?:\.\d{1,4})?", re.ASCII)
_DATED: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def is_version(text: str) -> bool:
    """Return whether the text looks like a version."""
    return bool(_NUMBERED.fullmatch(text) or _DATED.fullmatch(text))


def supports_events(version: str) -> bool:
    """Return whether a customer has the format that a sync reads. `version` must look like a version."""
    return _is_since(version, EVENTS_SINCE, _EVENTS_SINCE_DATE)


def supports_scans(version: str) -> bool:
    """Return whether lists have cursors, which a scan needs. `version` must look like a version."""
    return _is_since(version, SCANS_SINCE, _SCANS_SINCE_DATE)


def _is_since(version: str, number: tuple[int, int], date: str) -> bool:
    numbered = _NUMBERED.fullmatch(version)
    if numbered is None:
        return version >= date
    return (int(numbered[1]), int(numbered[2] or 0)) >= number
