"""Translate Autumn's errors into those of `jobs.errors`.

Pure functions without HTTP and waiting, so each row of Autumn's error table is one short test.
"""

import json
import math
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

from jobs.errors import Absent, GiveUp, Halt, Limit, Limited, SyncError, TryAgain

NOT_IN_AUTUMN: Final = "customer_not_found"
"""Autumn's code for a customer that it does not know."""
RETRY_AFTER_MAX_SECONDS: Final = 300.0
"""The longest Retry-After that is believed. A longer one is a mistake and would hold up a customer."""
LATE_SECONDS: Final = 60.0
"""The time after which a sent write can no longer be applied: Autumn's longest wait for its database."""
MESSAGE_MAX: Final = 500
"""The most characters of Autumn's message that are kept. A proxy's error page can be long."""

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
_STRIPE_REFUSES = re.compile(
    r"invalid email|email address is invalid|must be at most"
    r"|invalid value for [a-z]{2,3}_|invalid \w+: must be one of|country '.*' is unknown",
    re.IGNORECASE,
)
"""Stripe's texts when it will never accept a value that Autumn sends to it: an email, a name, or billing details.

No recording has those about billing details. They are the texts that Stripe documents.
"""

_REMEDIES: Final = {
    "no_secret_key": "Set AUTUMN_SECRET_KEY: Autumn found no secret key in the request.",
    "invalid_secret_key": "Replace AUTUMN_SECRET_KEY: Autumn does not know this key.",
    "invalid_request": "Replace AUTUMN_SECRET_KEY: it does not begin with am_sk_, as Autumn's keys do.",
    "no_auth_header": "Check AUTUMN_API_URL: Autumn does not know this path, or got no key.",
    "insufficient_scopes": "Give the key of AUTUMN_SECRET_KEY the scopes to read and to write customers.",
    "request_temporarily_disabled": "Ask Autumn to lift its block of this request.",
}
_NOT_ALLOWED: Final = "Check AUTUMN_SECRET_KEY and AUTUMN_API_URL: the request is not allowed."


class _Answer(NamedTuple):
    status: int
    code: str
    """Autumn's code. Empty if the body has none, for example if a proxy gave the answer."""
    message: str
    after_seconds: float | None
    is_autumns: bool
    """Whether Autumn itself gave the answer. Its errors have a message, a code and an environment."""


def error_from(status: int, headers: Mapping[str, str], body: bytes, *, writing: bool) -> SyncError:
    """Return the error to raise for an answer that is not 200. Accepts any status, headers and body.

    `writing`: the request was to change something, so after a 5xx the change may have been made. If a proxy or gateway
    gave the answer, Autumn may still be working on the request: see `TryAgain.may_land_for_seconds`.
    """
    code, message, is_autumns = _read(body)
    answer = _Answer(status, code, message, _retry_after_seconds(headers), is_autumns)
    if status == HTTPStatus.BAD_REQUEST:
        return _bad_request(answer, writing=writing)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return _halt(answer, _REMEDIES.get(code, _NOT_ALLOWED))
    if status in _REDIRECTS:
        return _halt(answer, "Check AUTUMN_API_URL: the address answers with a redirect.")
    # A 404 without Autumn's code comes from a proxy that finds no Autumn. It says nothing about the customer.
    no_autumn = status == HTTPStatus.NOT_FOUND and not code
    if status in _REFUSALS and not no_autumn:
        return GiveUp("autumn", _code(answer), message)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _limited(answer)
    return _try_again(answer, writing=writing)


def _limited(answer: _Answer) -> Limited:
    """Autumn's own limit (plain text), or Stripe's limit passed on. Neither changes anything in Autumn."""
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
    """Autumn has one code for every failure between it and Stripe, so only the text tells them apart."""
    if _STRIPE_GONE in answer.message:
        return Absent("autumn", "stripe_customer_missing", answer.message)
    # This check comes before the key's: a refusal quotes the value, and a customer named "API key" must not halt all.
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


def _halt(answer: _Answer, remedy: str) -> Halt:
    # Autumn repeats the beginning of a wrong key.
    message = _KEY.sub("am_sk_…", answer.message)
    return Halt("autumn", _code(answer), remedy, answer=message)


def _code(answer: _Answer) -> str:
    return answer.code or f"http_{answer.status}"


def _read(body: bytes) -> tuple[str, str, bool]:
    """Return Autumn's code and message, and whether Autumn wrote the body. Without a code: the beginning of the
    body."""
    text = body[: 4 * MESSAGE_MAX].decode(errors="replace")[:MESSAGE_MAX]
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return "", text, False
    if not isinstance(document, dict):
        return "", text, False
    code, message = document.get("code"), document.get("message")
    # A code is logged and counted, so only a short word is accepted as one.
    known = code if isinstance(code, str) and _CODE.fullmatch(code) else ""
    is_autumns = bool(known) and {"message", "env"} <= document.keys()
    return known, message[:MESSAGE_MAX] if isinstance(message, str) else text, is_autumns


def _retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The seconds of Retry-After, within bounds. None for an invalid value or a date, which Autumn never sends."""
    header = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    try:
        seconds = float(header)
    except ValueError:
        return None
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, RETRY_AFTER_MAX_SECONDS)
