"""Which versions of Autumn's API this software can use, and for what. No setting is read in here.

A version is numbered (2.3.0, 2.3) or a date (2026-05-13). Versions from 2.1 on show a customer in the same form; 2.3
adds lists by cursor, which a scan reads. Only the server can tell whether it knows a later version.
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
    """Whether the text has the form of a version."""
    return bool(_NUMBERED.fullmatch(text) or _DATED.fullmatch(text))


def supports_events(version: str) -> bool:
    """Whether a customer has the form that a sync reads. `version` has the form of one."""
    return _is_since(version, EVENTS_SINCE, _EVENTS_SINCE_DATE)


def supports_scans(version: str) -> bool:
    """Whether lists have cursors, too. `version` has the form of one."""
    return _is_since(version, SCANS_SINCE, _SCANS_SINCE_DATE)


def _is_since(version: str, number: tuple[int, int], date: str) -> bool:
    numbered = _NUMBERED.fullmatch(version)
    if numbered is None:
        return version >= date
    return (int(numbered[1]), int(numbered[2] or 0)) >= number
