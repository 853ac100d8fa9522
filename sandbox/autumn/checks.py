"""The checks of request bodies, with Autumn's error messages.

Pure: they take a body and return the messages in Autumn's order. The real service ignores unknown fields silently, so
these checks do as well.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from sandbox.autumn.rows import RefusedError

Body = Mapping[str, Any]
Check = Callable[[Any], str | None]

MAX_LIST_LIMIT: Final = 5000
_UNDEFINED: Final = object()
_EMAIL = re.compile(r'[^\s@"]{1,64}@[^\s@]{1,255}')
_THREE_LETTERS = re.compile(r"[A-Za-z]{3}", re.ASCII)
_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_:-]")
_ALLOWED_IN_AN_ID = "Use only letters, numbers, underscores, hyphens, and colons."
_SPECIAL = {" ": "spaces", "@": "@ symbol"}
_JSON_NAMES: Final = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def _kind(value: Any) -> str:
    if value is _UNDEFINED:
        return "undefined"
    return _JSON_NAMES[type(value)]


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else f"must be a string (received {_kind(value)})"


def _email(value: Any) -> str | None:
    return _text(value) or (None if _EMAIL.fullmatch(value) else "not a valid email address")


def _currency(value: Any) -> str | None:
    """Check only the form of the code. Autumn knows which codes Stripe supports."""
    return _text(value) or (None if _THREE_LETTERS.fullmatch(value) else "must be a Stripe-supported currency code")


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"must be a boolean (received {_kind(value)})"


def _record(value: Any) -> str | None:
    return None if isinstance(value, dict) else f"Invalid input: expected record, received {_kind(value)}"


def _identifier(value: Any) -> str | None:
    wrong = _text(value)
    if wrong:
        return wrong
    if not value:
        return "can't be an empty string"
    bad = _NOT_IN_AN_ID.search(value)
    if not bad:
        return None
    named = _SPECIAL.get(bad[0], f"'{bad[0]}'")
    return f"cannot contain {named}. {_ALLOWED_IN_AN_ID}"


def _limit(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return f"Invalid input: expected number, received {_kind(value)}"
    if value < 1:
        return "Too small: expected number to be >=1"
    return f"Too big: expected number to be <={MAX_LIST_LIMIT}" if value > MAX_LIST_LIMIT else None


def _direction(value: Any) -> str | None:
    return None if value in ("asc", "desc") else "must be one of: asc, desc"


def _nullable(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _optional(check: Check) -> Check:
    return lambda value: None if value is _UNDEFINED else check(value)


_PROFILE: dict[str, Check] = {
    "name": _optional(_nullable(_text)),
    "email": _optional(_nullable(_email)),
    "fingerprint": _optional(_nullable(_text)),
    "metadata": _optional(_nullable(_record)),
    "stripe_id": _optional(_nullable(_text)),
    "send_email_receipts": _optional(_boolean),
    "currency": _optional(_nullable(_currency)),
    "billing_controls": _optional(_record),
    "config": _optional(_record),
    "billing_details": _optional(_record),
}
NAMED: dict[str, Check] = {"customer_id": _identifier}
UPDATE: dict[str, Check] = {**NAMED, **_PROFILE, "new_customer_id": _optional(_nullable(_identifier))}
GET_OR_CREATE: dict[str, Check] = {
    "customer_id": _nullable(_identifier),
    **_PROFILE,
    "create_in_stripe": _optional(_boolean),
}
LIST: dict[str, Check] = {
    "start_cursor": _optional(_text),
    "limit": _optional(_limit),
    "sort_order": _optional(_direction),
    "created_at_range": _optional(_record),
    "search": _optional(_text),
}


def check_object(parsed: object) -> None:
    """Check that a body is an object.

    Raises:
        RefusedError: 400 `invalid_inputs`.
    """
    if not isinstance(parsed, dict):
        raise RefusedError(400, "invalid_inputs", f"input: Invalid input: expected object, received {_kind(parsed)}")


def check(body: Body, checks: Mapping[str, Check]) -> None:
    """Run the checks in order.

    Raises:
        RefusedError: 400 `invalid_inputs`, with one message or all of them.
    """
    problems = []
    for name, problem_of in checks.items():
        problem = problem_of(body.get(name, _UNDEFINED))
        if problem:
            problems.append(f"{name}: {problem}")
    if problems:
        many = "[Validation Errors] " if len(problems) > 1 else ""
        raise RefusedError(400, "invalid_inputs", many + "; ".join(problems))
