"""Every error of Stripe's SDK, and of aiohttp below it, as one of `jobs.errors`.

Beside `jobs.stripe.client` the only file that knows the SDK: its classes are what an error of Stripe is told by.
"""

import re

import aiohttp
import stripe

from jobs.errors import Absent, GiveUp, Halt, Limit, Limited, SyncError, TryAgain
from jobs.stripe.transport import AnswerTooLargeError

PERMISSION = re.compile(r"\brak_[a-z_]+\b")
ACCOUNT = re.compile(r"\bacct_[A-Za-z0-9]{1,64}\b")
PARAM = re.compile(r"[a-z][a-z0-9_]{0,63}(\[[A-Za-z0-9_ .:-]{0,40}\]){0,3}")
"""A parameter's name, as in `metadata[plan]`. It is logged, so that nothing else is taken for one."""
REDIRECTS = range(300, 400)
SDK_ERRORS = (stripe.StripeError, aiohttp.ClientError, TimeoutError)
"""What a call may raise: the SDK lets a body that was cut short, or a time-out while reading it, through as it is."""


def as_sync_error(error: Exception) -> SyncError:
    """An error of the SDK, or of aiohttp below it, in our words."""
    if not isinstance(error, stripe.StripeError):
        return _unread(error)
    code, message = _code(error), error.user_message or ""
    match error:
        case stripe.AuthenticationError():
            return Halt("stripe", "invalid_key", "Stripe refuses STRIPE_API_KEY: set one that is valid")
        case stripe.PermissionError():
            return Halt("stripe", "missing_permission", f"STRIPE_API_KEY lacks a permission: {_permission(message)}")
        case stripe.RateLimitError():
            return _limited(error, code or "rate_limit")
        case stripe.IdempotencyError():
            # The key was used with other values: the next try looks again and writes what is missing under a new key.
            return TryAgain("stripe", "idempotency_error", message)
        case stripe.InvalidRequestError():
            if code == "resource_missing":
                return Absent("stripe", code, message)
            return GiveUp("stripe", code or "invalid_request", message, param=_param(error))
        case stripe.APIConnectionError():
            return TryAgain("stripe", "connection", message, maybe_applied=True)
        case _ if error.http_status in REDIRECTS:
            return Halt("stripe", "redirect", "Check STRIPE_API_BASE: the address answers with a redirect")
        case _:
            code = code or f"http_{error.http_status}"
            is_replay = _header(error, "idempotent-replayed") == "true"
            return TryAgain("stripe", code, message, maybe_applied=True, is_replay=is_replay)


def status_of(error: Exception) -> int | None:
    """The status of the answer that the error is about, None where there was no answer, or it was not read."""
    return error.http_status if isinstance(error, stripe.StripeError) else None


def account_named_by(error: SyncError) -> str | None:
    """Return the id of the account that the text of a 403 names, None if the error is another one or names none."""
    cause = error.__cause__
    if not isinstance(cause, stripe.PermissionError):
        return None
    named = ACCOUNT.search(cause.user_message or "")
    return named.group() if named else None


def _permission(message: str) -> str:
    """The permission that a 403 names. The rest of it shows the end of the key and the account."""
    named = PERMISSION.search(message)
    return named.group() if named else "Stripe's log of requests says which"


def _unread(error: Exception) -> TryAgain:
    """An answer that did not come, or not to its end: what was written may be done."""
    if isinstance(error, AnswerTooLargeError):
        return TryAgain("stripe", "unexpected_response", str(error), maybe_applied=True)
    return TryAgain("stripe", "connection", type(error).__name__, maybe_applied=True)


def _limited(error: stripe.RateLimitError, code: str) -> Limited:
    """Which limit was met: Stripe says so in a header, except for an object that another request has locked."""
    reason = _header(error, "stripe-rate-limited-reason")
    limit: Limit = "stripe"
    if code == "lock_timeout" or reason == "resource-specific":
        limit = "customer"
    elif reason.startswith("endpoint"):
        limit = "stripe-endpoint"
    return Limited("stripe", code, reason or error.user_message or "", limit=limit)


def _header(error: stripe.StripeError, name: str) -> str:
    """A header of the answer; `name` is in lower case."""
    return str({each.lower(): value for each, value in (error.headers or {}).items()}.get(name, ""))


def _param(error: stripe.InvalidRequestError) -> str | None:
    """The name of the refused parameter."""
    return error.param if error.param and PARAM.fullmatch(error.param) else None


def _code(error: stripe.StripeError) -> str | None:
    # RateLimitError and others leave `.code` None; the error object in the body has it.
    code = error.code or (error.error.code if error.error is not None and "code" in error.error else None)
    return str(code) if code else None
