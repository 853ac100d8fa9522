"""The errors of a job. Each client translates its service's errors into these.

SyncError
  TryAgain   the same request may work later: time-outs, 5xx, a lost connection
    Limited  a 429: too many requests
    TimedOut no answer in time: the service may still apply a write
    OthersFound a search for a customer returned only other customers, so it does not show whether there is one
  GiveUp     the request will never work: a refused value, an unknown customer
  Halt       nothing works until a person fixes a key, a permission or a mode
  Absent     the object does not exist; this is an answer, not a failure

`code` is a short word that may be logged and counted. `message` may quote a service's answer, so it may contain
personal data. It goes into dead letters and never into a log.
"""

import traceback
from pathlib import Path
from typing import Final, Literal

Service = Literal["autumn", "stripe", "redis", "event", "scan"]

ROOT: Final = Path(__file__).parents[1]
OUR_FOLDERS: Final = ("jobs", "worker", "config", "autumn_sync_client")
FRAMES_KEPT: Final = 4
NESTED_KEPT: Final = 3
"""The most members of a group that are described, and the most levels of groups and causes."""
DESCRIPTION_MAX: Final = 1_000


class SyncError(Exception):
    """An error of a service."""

    def __init__(self, service: Service, code: str, message: str = "") -> None:
        """Make an error of `service` with a `code` for logs and counts, and a `message` for a person."""
        # A service may cut a text in the middle of a character, which cannot be encoded.
        message = message.encode("utf-8", "replace").decode()
        super().__init__(f"{service}: {code}" + (f": {message}" if message else ""))
        self.service = service
        self.code = code
        self.message = message


class TryAgain(SyncError):  # noqa: N818 - the names are the decisions of the design
    """The same request may work later.

    `after_seconds` is the pause that the service asked for, None if it asked for none. `maybe_applied` is True if the
    service may have applied the write although no answer came. `may_land_for_seconds` is how long after sending the
    service may still apply such a write. It is 0 if the service answered, or if nothing was sent. `is_replay` is True
    if the service did nothing and repeated its answer to the first request with this idempotency key.
    """

    def __init__(
        self,
        service: Service,
        code: str,
        message: str = "",
        *,
        after_seconds: float | None = None,
        maybe_applied: bool = False,
        may_land_for_seconds: float = 0.0,
        is_replay: bool = False,
    ) -> None:
        """See the class."""
        super().__init__(service, code, message)
        self.after_seconds = after_seconds
        self.maybe_applied = maybe_applied or may_land_for_seconds > 0
        self.may_land_for_seconds = may_land_for_seconds
        self.is_replay = is_replay


class TimedOut(TryAgain):
    """The service did not answer in time."""


class OthersFound(TryAgain):
    """A search for a customer returned only other customers."""


Limit = Literal["autumn", "stripe", "stripe-endpoint", "customer"]


class Limited(TryAgain):
    """A rate limit was exceeded, and nothing was applied. `limit` names it, as far as the answer tells."""

    def __init__(
        self, service: Service, code: str, message: str = "", *, limit: Limit, after_seconds: float | None = None
    ) -> None:
        """See the class."""
        super().__init__(service, code, message, after_seconds=after_seconds)
        self.limit = limit


class GiveUp(SyncError):  # noqa: N818
    """The request will never work.

    `param` is the parameter that Stripe refuses, as Stripe names it: `email`, `metadata[plan]`, `receipt_email`. It is
    None if the service named none. It contains no value, so it may be logged.
    """

    def __init__(self, service: Service, code: str, message: str = "", *, param: str | None = None) -> None:
        """See the class."""
        super().__init__(service, code, message)
        self.param = param


class Halt(SyncError):  # noqa: N818
    """Nothing works until a person fixes the configuration.

    `fix` says what to do, in our words, so it may be logged. `message` also quotes the service's answer, if there is
    one; it may contain personal data.
    """

    def __init__(self, service: Service, code: str, fix: str, *, answer: str = "") -> None:
        """See the class."""
        super().__init__(service, code, f"{fix} {service.capitalize()}'s answer: {answer}" if answer else fix)
        self.fix = fix


class Absent(SyncError):  # noqa: N818
    """The object does not exist."""


def cause_of(error: BaseException) -> str:
    """Return more about an error than its code: the fields of an unexpected answer, or the lines of a fault.

    The text is empty for other errors of a service, because their messages may contain personal data.
    """
    if isinstance(error, SyncError):
        return error.message if error.code == "unexpected_response" else ""
    return describe(error)


def describe(error: BaseException) -> str:
    """Return the type of an unexpected error and the last lines of our code in its traceback.

    The innermost line comes first, as `folder/file:line function`. Frames of libraries are listed only if there are
    none of ours. Causes and the members of groups are described too. The message is left out, because it may contain
    personal data. The text has at most 1,000 characters.
    """
    return _described(error, NESTED_KEPT)[:DESCRIPTION_MAX]


def _described(error: BaseException, depth: int) -> str:
    text = type(error).__name__ + _places(error)
    if depth <= 1:
        return text
    if isinstance(error, BaseExceptionGroup):
        members = [_described(member, depth - 1) for member in error.exceptions[:NESTED_KEPT]]
        more = len(error.exceptions) - len(members)
        text += f" [{' | '.join(members)}{f' | {more} more' if more else ''}]"
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        text += f"; from {_described(cause, depth - 1)}"
    return text


def _places(error: BaseException) -> str:
    ours, others = [], []
    for frame, line in traceback.walk_tb(error.__traceback__):
        file, name = Path(frame.f_code.co_filename), frame.f_code.co_name
        if any(file.is_relative_to(ROOT / folder) for folder in OUR_FOLDERS):
            ours.append(f"{file.relative_to(ROOT)}:{line} {name}")
        else:
            others.append(f"{'/'.join(file.parts[-2:])}:{line} {name}")
    kept = (ours or others)[-FRAMES_KEPT:]
    return f" at {' < '.join(reversed(kept))}" if kept else ""
