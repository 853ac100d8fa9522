"""Times and texts as they are shown: times made of any number, texts that steer no terminal.

An app may choose the time in the id of an entry, so every number has to become a time.
"""

from datetime import UTC, datetime
from typing import Final

LATEST_MS: Final = 253_402_300_799_000
"""The last second of the year 9999, which is as far as datetime goes."""


def utc(milliseconds: float) -> datetime:
    """Return the moment, in milliseconds since the epoch, in UTC; one before 1970 or after 9999 is cut to these."""
    return datetime.fromtimestamp(max(0.0, min(milliseconds, LATEST_MS)) / 1000, UTC)


def printable(text: str) -> str:
    """The text without what could steer a terminal: events and answers of services are not ours."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def time_text(milliseconds: int) -> str:
    """A time in milliseconds since the epoch as ISO 8601, to the second, in UTC."""
    return utc(milliseconds).isoformat(timespec="seconds")


def clock_text(milliseconds: int) -> str:
    """A time of the next hours in milliseconds since the epoch, such as `15:04:05 UTC`."""
    return utc(milliseconds).strftime("%H:%M:%S UTC")
