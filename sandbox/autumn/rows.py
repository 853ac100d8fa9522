"""The stored row of a customer in the Autumn simulator, and its form in each API version.

Pure: no HTTP, no Stripe, no clock. The endpoints change rows; this module defines them.
"""

import re
from collections.abc import Mapping
from typing import Any

Row = dict[str, Any]

DEFAULT_VERSION = "2.3"
_OLDEST_VERSION = "2.0"
_FIRST_BY_CURSOR = "2.3"
_FIRST_WITH_SOURCE = "2.3"
_BY_DATE = {"2026-05-13": "2.3", "2026-03-18": "2.2", "2026-03-17": "2.1", "2026-03-16": "2.0"}
_TOO_OLD_DATES = ("2025-05-05", "2025-04-17", "2025-04-01", "2025-02-01")
_TOO_OLD = re.compile(r"beta|[01]\.\d")
_NUMBERED = re.compile(r"(\d)(?:\.(\d))?(?:\.0)?")
_GONE_AT_2_0 = ("purchases", "licenses", "flags", "config")


class RefusedError(Exception):
    """An error answer of Autumn, with its status, code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Keep the fields of the answer."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def spoken_version(header: str | None, newest: str) -> str:
    """Return the version of an `x-api-version` header, as "2.3"; `newest` is the newest that the server supports.

    Raises:
        RefusedError: 400 for a version Autumn does not know; 501 for an old one that only Autumn supports.
    """
    if not header:
        return DEFAULT_VERSION
    numbered = _NUMBERED.fullmatch(header)
    version = _BY_DATE.get(header) or (f"{numbered[1]}.{numbered[2] or 0}" if numbered else header)
    if (numbered or header in _BY_DATE) and _OLDEST_VERSION <= version <= newest:
        return version
    if header in _TOO_OLD_DATES or _TOO_OLD.fullmatch(version):
        raise RefusedError(501, "not_simulated", f"This simulator does not speak version {header}")
    raise RefusedError(400, "invalid_api_version", f'"{header}" is not a valid API version')


def pages_by_cursor(version: str) -> bool:
    """Return whether lists of this version, as "2.3", page by cursor; older ones page by offset."""
    return version >= _FIRST_BY_CURSOR


def new_row(customer_id: str | None, internal_id: str, created_at: int, env: str) -> Row:
    """Return an empty customer, with its fields in the order of Autumn's answers; `created_at` is in milliseconds."""
    return {
        "internal_id": internal_id,
        "id": customer_id,
        "name": None,
        "email": None,
        "created_at": created_at,
        "fingerprint": None,
        "stripe_id": None,
        "env": env,
        "metadata": {},
        "send_email_receipts": False,
        "billing_controls": {},
        "subscriptions": [],
        "purchases": [],
        "licenses": [],
        "balances": {},
        "flags": {},
        "config": {},
        "processors": {},
    }


def shown(row: Row, version: str, *, listed: bool = False) -> Row:
    """Return the row as an answer of this version. A list has no source of the billing controls.

    `processors` are those other than Stripe, such as RevenueCat. An answer without any processor has no such field.

    Raises:
        RefusedError: 501 for fields that version 2.0 has in another form than later versions.
    """
    answer = {name: value for name, value in row.items() if name not in {"internal_id", "processors"}}
    if version == "2.0":
        if row["subscriptions"] or row["purchases"] or row["balances"] or row["flags"]:
            raise RefusedError(501, "not_simulated", "This simulator shows no plans or balances at version 2.0")
        balances = answer.pop("balances")
        for name in _GONE_AT_2_0:
            del answer[name]
        return answer | {"scheduled_subscriptions": [], "balances": balances}
    if version >= _FIRST_WITH_SOURCE and not listed:
        answer["billing_controls"] = _with_source(row["billing_controls"])
    if processors := all_processors(row):
        answer["processors"] = processors
    return answer


def all_processors(row: Row) -> dict[str, Any]:
    """Return the payment processors of a customer, Stripe first."""
    stripe = {"stripe": {"id": row["stripe_id"]}} if row["stripe_id"] else {}
    return {**stripe, **row["processors"]}


def _with_source(controls: Mapping[str, Any]) -> dict[str, Any]:
    """Return the billing controls with the customer as their source: the simulator has no plans with such controls."""
    return {name: [{**each, "source": "customer"} for each in items] for name, items in controls.items()}


def merged_metadata(old: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata after a change: it merges top-level keys, null deletes a key, nested values are replaced."""
    kept = {key: value for key, value in old.items() if key not in change or change[key] is not None}
    return kept | {key: value for key, value in change.items() if value is not None}
