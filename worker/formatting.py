"""Times and texts for people: times of any number, and texts without characters that control a terminal.

An app may choose the id of an entry, and with it the time, so every number must become a time.
"""

from datetime import UTC, datetime
from typing import Final

LATEST_MS: Final = 253_402_300_799_000
"""The last second of the year 9999, which is as far as datetime goes."""


def utc(milliseconds: float) -> datetime:
    """Return the time in UTC. The argument is in milliseconds since the epoch, cut to the years 1970 to 9999."""
    return datetime.fromtimestamp(max(0.0, min(milliseconds, LATEST_MS)) / 1000, UTC)


def printable(text: str) -> str:
    """Return the text without characters that could control a terminal, because others write events and answers."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def time_text(milliseconds: int) -> str:
    """Return a time in milliseconds since the epoch as ISO 8601 in UTC, to the second."""
    return utc(milliseconds).isoformat(timespec="seconds")


def short_time(milliseconds: int) -> str:
    """A time in milliseconds since the epoch, to the minute, such as `2026-11-29 15:04 UTC`."""
    return utc(milliseconds).strftime("%Y-%m-%d %H:%M UTC")


def clock_text(milliseconds: int) -> str:
    """Return a time in milliseconds since the epoch as a time of day, such as `15:04:05 UTC`."""
    return utc(milliseconds).strftime("%H:%M:%S UTC")
