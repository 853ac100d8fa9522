"""The versions of Autumn's API that this software supports. No setting is read in here.

From 2.1 on, a customer has the format that a sync reads. Version 2.3 adds lists with cursors, which a scan reads. Only
the server knows whether it supports a later version.
"""

from typing import Final

from autumn_sync_client.versions import Version, is_since

DEFAULT_VERSION: Final = "2.3.0"
EVENTS_SINCE: Final = Version(2, 1)
SCANS_SINCE: Final = Version(2, 3)


def supports_events(version: str) -> bool:
    """Return whether a customer has the format that a sync reads."""
    return is_since(version, EVENTS_SINCE)


def supports_scans(version: str) -> bool:
    """Return whether lists have cursors, which a scan needs."""
    return is_since(version, SCANS_SINCE)
