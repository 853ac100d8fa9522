"""The errors a job can meet, each translated once, where it comes from.

SyncError
  TryAgain   the same thing may work later: time-outs, 5xx, a lost connection
    Limited  a 429: it works, only not so fast
    TimedOut no answer in time: a write may still be on its way
    OthersFound a look for a customer showed others only, so it does not tell whether there is one
  GiveUp     it will never work as asked: a refused value, an unknown customer
  Halt       nothing will work until a person mends a key, a scope or a mode
  Absent     what was looked for is not there: a finding, not a failure

`code` is a short word that may be logged and counted. `message` may quote what a service said, so it may hold personal
data: it goes into dead letters, never into a log.
"""

import traceback
from pathlib import Path
from typing import Final, Literal

Service = Literal["autumn", "stripe", "redis", "event", "scan"]

ROOT: Final = Path(__file__).parents[1]
OUR_FOLDERS: Final = ("jobs", "worker", "config")
FRAMES_KEPT: Final = 4
NESTED_KEPT: Final = 3
"""How many members of a group are described, and how deep groups and causes are followed."""
DESCRIPTION_MAX: Final = 1_000


class SyncError(Exception):
    """An error of a service, in our words."""

    def __init__(self, service: Service, code: str, message: str = "") -> None:
        """`service` it came from, `code` to count it by, `message` for a person to read."""
        # A service may cut a text in the middle of a character; what cannot be written down must not stop us.
        message = message.encode("utf-8", "replace").decode()
        super().__init__(f"{service}: {code}" + (f": {message}" if message else ""))
        self.service = service
        self.code = code
        self.message = message


class TryAgain(SyncError):  # noqa: N818 - the names are the decisions of the design
    """It may work later.

    `after_seconds` is what the service asked for, None if it did not say. `maybe_applied` is True where the service may
    have done its work although no answer came. `may_land_for_seconds` tells how long after it was sent such a write may
    still be applied; 0 if the service answered, so that the write is over, or if nothing was sent. `is_replay`: the
    service repeated the answer that it gave to the first request with this idempotency key, and did nothing now.
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
    """No answer in time."""


class OthersFound(TryAgain):
    """A look for a customer showed only customers that were not asked for."""


Limit = Literal["autumn", "stripe", "stripe-endpoint", "customer"]


class Limited(TryAgain):
    """A rate limit was met; nothing was applied. `limit` says whose, as far as the answer told."""

    def __init__(
        self, service: Service, code: str, message: str = "", *, limit: Limit, after_seconds: float | None = None
    ) -> None:
        """See the class."""
        super().__init__(service, code, message, after_seconds=after_seconds)
        self.limit = limit


class GiveUp(SyncError):  # noqa: N818
    """It will never work as it was asked.

    `param` is the parameter that Stripe refuses, as Stripe names it: `email`, `metadata[plan]`, `receipt_email`. None
    if the service named none. It holds no value and may be logged.
    """

    def __init__(self, service: Service, code: str, message: str = "", *, param: str | None = None) -> None:
        """See the class."""
        super().__init__(service, code, message)
        self.param = param


class Halt(SyncError):  # noqa: N818
    """Nothing will work until a person mends something; `message` says what."""


class Absent(SyncError):  # noqa: N818
    """What was looked for is not there."""


def cause_of(error: BaseException) -> str:
    """Return what says more about an error than its code: the fields of an unexpected answer, the places of a fault.

    Empty for other errors of a service, because their words may hold personal data.
    """
    if isinstance(error, SyncError):
        return error.message if error.code == "unexpected_response" else ""
    return describe(error)


def describe(error: BaseException) -> str:
    """Return the type of an unexpected error and the last places in our code that it came through.

    The innermost place comes first, as `folder/file:line function`. Frames of libraries are listed only if there are
    none of ours. Causes and the members of groups are described too. Nothing else of the error is in the text, because
    its message may hold personal data. The text has 1,000 characters at most.
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
