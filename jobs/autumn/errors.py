"""What an error of Autumn means: one of the errors of `jobs.errors`.

Pure, so that each row of Autumn's table of errors is one short test. No HTTP client and no waiting in here.
"""

import json
import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

from jobs.errors import Absent, GiveUp, Halt, Limit, Limited, SyncError, TryAgain

RETRY_AFTER_MAX_SECONDS: Final = 300.0
"""The longest wait that is believed: more than our own longest is a mistake and would hold up a customer."""
LATE_SECONDS: Final = 60.0
"""How long after it was sent a write may still be applied: the longest that Autumn waits for its database."""
MESSAGE_MAX: Final = 500
"""Characters of Autumn's message that are kept: a proxy's error page is long."""

_REDIRECTS: Final = range(300, 400)
_REFUSALS: Final = frozenset(range(400, 500)) - {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_KEY = re.compile(r"am_sk_\S+")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NO_STRIPE = "There is no Stripe account linked"
_STRIPE_GONE = "No such customer"
_STRIPE_ACCESS = re.compile(
    r"api[ _]key|required permissions|have access to account|access may have been revoked", re.IGNORECASE
)
_STRIPE_REFUSES = re.compile(r"invalid email|email address is invalid|must be at most", re.IGNORECASE)
"""Stripe's words for an email or a name, the two values Autumn sends it, that it will never take."""

_TO_MEND: Final = {
    "no_secret_key": "Set AUTUMN_SECRET_KEY: Autumn found no secret key in the request.",
    "invalid_secret_key": "Replace AUTUMN_SECRET_KEY: Autumn does not know this key.",
    "invalid_request": "Replace AUTUMN_SECRET_KEY: it does not begin as Autumn's keys do, with am_sk_.",
    "no_auth_header": "Check AUTUMN_API_URL: Autumn does not know this path, or got no key.",
    "insufficient_scopes": "Give the key of AUTUMN_SECRET_KEY the scopes to read and to write customers.",
    "request_temporarily_disabled": "Ask Autumn to lift its block of this request.",
}
_NOT_ALLOWED: Final = "Check AUTUMN_SECRET_KEY and AUTUMN_API_URL: the request is not allowed."


class _Answer(NamedTuple):
    status: int
    code: str
    """Autumn's code; empty where the body holds none, as it does when something before Autumn answered."""
    message: str
    after_seconds: float | None
    is_autumns: bool
    """Whether Autumn itself gave the answer: its errors have a message, a code and an environment."""


def error_from(status: int, headers: Mapping[str, str], body: bytes, *, writing: bool) -> SyncError:
    """Translate an answer that is not 200; any status, headers and body will do. Returns the error to raise.

    `writing` says that the request was to change something: then a 5xx leaves open whether it did. If something before
    Autumn gave the answer, such as a gateway, Autumn may even be at it still: see `TryAgain.may_land_for_seconds`.
    """
    code, message, is_autumns = _read(body)
    answer = _Answer(status, code, message, _retry_after_seconds(headers), is_autumns)
    if status == HTTPStatus.BAD_REQUEST:
        return _bad_request(answer, writing=writing)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return _halt(answer, _TO_MEND.get(code, _NOT_ALLOWED))
    if status in _REDIRECTS:
        return _halt(answer, "Check AUTUMN_API_URL: the address answers with a redirect.")
    # A 404 without Autumn's code is a proxy that finds no Autumn, as in a deployment: not about the customer.
    no_autumn = status == HTTPStatus.NOT_FOUND and not code
    if status in _REFUSALS and not no_autumn:
        return GiveUp("autumn", _code(answer), message)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _limited(answer)
    return _try_again(answer, writing=writing)


def _limited(answer: _Answer) -> Limited:
    """Autumn's own limiter (plain text) or Stripe's, passed on: both before Autumn changes anything."""
    limit: Limit = "stripe" if answer.code.startswith("stripe") else "autumn"
    return Limited("autumn", _code(answer), answer.message, limit=limit, after_seconds=answer.after_seconds)


def _bad_request(answer: _Answer, *, writing: bool) -> SyncError:
    if answer.code == "stripe_error":
        return _stripe_error(answer, writing=writing)
    if answer.code == "invalid_api_version":
        return _halt(answer, "Set AUTUMN_API_VERSION to a version that Autumn knows, such as 2.3.0.")
    if answer.code == "invalid_request" and _NO_STRIPE in answer.message:
        return _halt(answer, "Connect a Stripe account to the organisation in Autumn.")
    return GiveUp("autumn", _code(answer), answer.message)


def _stripe_error(answer: _Answer, *, writing: bool) -> SyncError:
    """One code stands for every failure between Autumn and Stripe, so that only the words tell them apart."""
    if _STRIPE_GONE in answer.message:
        return Absent("autumn", "stripe_customer_missing", answer.message)
    # Before the key's: a refusal quotes the value, and a customer named "API key" must not halt everybody.
    if _STRIPE_REFUSES.search(answer.message):
        return GiveUp("autumn", "stripe_refused", answer.message)
    if _STRIPE_ACCESS.search(answer.message):
        return _halt(answer, "Reconnect Stripe in Autumn: Stripe refuses the key that Autumn uses.")
    return _try_again(answer, writing=writing)


def _try_again(answer: _Answer, *, writing: bool) -> TryAgain:
    return TryAgain(
        "autumn",
        _code(answer),
        answer.message,
        after_seconds=answer.after_seconds,
        maybe_applied=writing,
        may_land_for_seconds=LATE_SECONDS if writing and not answer.is_autumns else 0.0,
    )


def _halt(answer: _Answer, what_to_mend: str) -> Halt:
    # Autumn repeats the beginning of a wrong key.
    said = _KEY.sub("am_sk_…", answer.message)
    return Halt("autumn", _code(answer), f"{what_to_mend} It said: {said}")


def _code(answer: _Answer) -> str:
    return answer.code or f"http_{answer.status}"


def _read(body: bytes) -> tuple[str, str, bool]:
    """Autumn's code and message, or no code and the beginning of whatever the body is; whether Autumn wrote it."""
    text = body[: 4 * MESSAGE_MAX].decode(errors="replace")[:MESSAGE_MAX]
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return "", text, False
    if not isinstance(said, dict):
        return "", text, False
    code, message = said.get("code"), said.get("message")
    # A code is logged and counted, so that only a short word will do: anything else is not Autumn's.
    known = code if isinstance(code, str) and _CODE.fullmatch(code) else ""
    is_autumns = bool(known) and {"message", "env"} <= said.keys()
    return known, message[:MESSAGE_MAX] if isinstance(message, str) else text, is_autumns


def _retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """What Retry-After asks for, within bounds; None for nonsense and for a date: Autumn sends none."""
    asked = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    try:
        seconds = float(asked)
    except ValueError:
        return None
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, RETRY_AFTER_MAX_SECONDS)
