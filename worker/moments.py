"""Moments as datetimes, made of any number: an app may choose the time in an entry's id."""

from datetime import UTC, datetime
from typing import Final

LATEST_MS: Final = 253_402_300_799_000
"""The last second of the year 9999, which is as far as datetime goes."""


def utc(milliseconds: float) -> datetime:
    """Return the moment, in milliseconds since the epoch, in UTC; one before 1970 or after 9999 is cut to these."""
    return datetime.fromtimestamp(max(0.0, min(milliseconds, LATEST_MS)) / 1000, UTC)
