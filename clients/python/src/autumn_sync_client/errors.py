"""The errors of the client.

ClientError
  InvalidEvents     fields of events are invalid, and nothing was sent
  Unauthorized      the token is unknown, or Redis refuses the user, the password or the command
  RateLimited       too many requests, and nothing was sent
  Unavailable       no answer, or one that says to try later; the events may have been accepted
  UnexpectedAnswer  any other answer, such as that of a wrong URL

No text contains a value of an event, a token or a password.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from autumn_sync_client.faults import FAULTS_MAX, MORE


@dataclass(frozen=True)
class InvalidField:
    """A wrong field: the index of its event among those that were sent, its path, and what is wrong with it.

    The path is empty if the whole event is wrong.
    """

    entry: int
    field: str
    message: str

    def __str__(self) -> str:
        """Return all three as one text."""
        return f"event {self.entry}: {f'{self.field}: ' if self.field else ''}{self.message}"


class ClientError(Exception):
    """An error of the client. Every other error of this package is one."""


class InvalidEvents(ClientError):  # noqa: N818 - the name says what is wrong
    """Fields of events are invalid, and none of the events was sent. `fields` has at most 100 of each event."""

    def __init__(self, fields: Sequence[InvalidField]) -> None:
        """Keep the fields."""
        is_cut = any(number >= FAULTS_MAX for number in Counter(each.entry for each in fields).values())
        super().__init__("; ".join([*map(str, fields), *([MORE] if is_cut else [])]))
        self.fields = tuple(fields)


class Unauthorized(ClientError):  # noqa: N818
    """The token is unknown, or Redis refuses the user, the password or the command."""


class RateLimited(ClientError):  # noqa: N818
    """Too many requests, and nothing was sent. `retry_after` is in seconds, None if the answer has no time."""

    def __init__(self, message: str, retry_after: float | None) -> None:
        """Keep the time."""
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(ClientError):  # noqa: N818
    """There was no answer, or one that says to try later. The events may have been accepted.

    `retry_after` is in seconds, None if there is no answer or it has no time.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """Keep the time."""
        super().__init__(message)
        self.retry_after = retry_after


class UnexpectedAnswer(ClientError):  # noqa: N818
    """The answer is not one of this service, or it refuses the request for another reason. The text has its code."""
