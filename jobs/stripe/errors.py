"""Translate the errors of Stripe's SDK, and of aiohttp below it, into those of `jobs.errors`.

Beside `jobs.stripe.client`, only this file knows the SDK, because the SDK's classes distinguish Stripe's errors.
"""

import re
from typing import Final

import aiohttp
import stripe

from jobs.errors import Absent, GiveUp, Halt, Limit, Limited, SyncError, TryAgain
from jobs.stripe.transport import AnswerTooLargeError

MISSING_PERMISSION: Final = "missing_permission"
"""The code of a request that a restricted key may not send."""
PERMISSION = re.compile(r"\brak_[a-z_]+\b")
ACCOUNT = re.compile(r"\bacct_[A-Za-z0-9]{1,64}\b")
PARAM = re.compile(r"[a-z][a-z0-9_]{0,63}(\[[A-Za-z0-9_ .:-]{0,40}\]){0,3}")
"""A parameter's name, as in `metadata[plan]`. It is logged, so no other text is accepted as one."""
REDIRECTS = range(300, 400)
SDK_ERRORS = (stripe.StripeError, aiohttp.ClientError, TimeoutError)
"""The errors of a call. The SDK does not wrap those of reading a body: a truncated body, or a time-out."""


def as_sync_error(error: Exception) -> SyncError:
    """Return the error of `jobs.errors` for one of the SDK or of aiohttp."""
    if not isinstance(error, stripe.StripeError):
        return _unread(error)
    code, message = _code(error), error.user_message or ""
    match error:
        case stripe.AuthenticationError():
            return Halt("stripe", "invalid_key", "Stripe refuses STRIPE_API_KEY: set one that is valid")
        case stripe.PermissionError():
            return Halt("stripe", MISSING_PERMISSION, f"STRIPE_API_KEY lacks a permission: {_permission(message)}")
        case stripe.RateLimitError():
            return _limited(error, code or "rate_limit")
        case stripe.IdempotencyError():
            # The key was used with other values. The next try fetches and writes what is missing under a new key.
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
    """Return the status of the answer. None if there was no answer, or it was not read."""
    return error.http_status if isinstance(error, stripe.StripeError) else None


def account_named_by(error: SyncError) -> str | None:
    """Return the account id in the text of a 403. None for another error or without an id."""
    cause = error.__cause__
    if not isinstance(cause, stripe.PermissionError):
        return None
    named = ACCOUNT.search(cause.user_message or "")
    return named.group() if named else None


def _permission(message: str) -> str:
    """Return the permission that a 403 names. The rest of its text shows the account and the end of the key."""
    named = PERMISSION.search(message)
    return named.group() if named else "see Stripe's request log for its name"


def _unread(error: Exception) -> TryAgain:
    """Return the error for an answer that was missing or incomplete. The write may be done."""
    if isinstance(error, AnswerTooLargeError):
        return TryAgain("stripe", "unexpected_response", str(error), maybe_applied=True)
    return TryAgain("stripe", "connection", type(error).__name__, maybe_applied=True)


def _limited(error: stripe.RateLimitError, code: str) -> Limited:
    """Return the error for the limit that Stripe names in a header, or for an object locked by another request."""
    reason = _header(error, "stripe-rate-limited-reason")
    limit: Limit = "stripe"
    if code == "lock_timeout" or reason == "resource-specific":
        limit = "customer"
    elif reason.startswith("endpoint"):
        limit = "stripe-endpoint"
    return Limited("stripe", code, reason or error.user_message or "", limit=limit)


def _header(error: stripe.StripeError, name: str) -> str:
    """Return a header of the answer, `name` in lower case."""
    return str({each.lower(): value for each, value in (error.headers or {}).items()}.get(name, ""))


def _param(error: stripe.InvalidRequestError) -> str | None:
    """Return the name of the refused parameter, if it looks like one."""
    return error.param if error.param and PARAM.fullmatch(error.param) else None


def _code(error: stripe.StripeError) -> str | None:
    # RateLimitError and others leave `.code` None. The error object in the body has it.
    code = error.code or (error.error.code if error.error is not None and "code" in error.error else None)
    return str(code) if code else None
