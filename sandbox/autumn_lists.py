"""`customers.list` of the Autumn simulator: by cursor at version 2.3, by offset before.

It only reads; the order is by creation, newest first unless asked otherwise.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from sandbox import autumn_checks as checks
from sandbox.autumn_customers import Body, Organisation
from sandbox.autumn_rows import RefusedError, Row, shown

_DEFAULT_LIMIT = 50
_ORGANISATION_LIMIT = 1000
Place = tuple[int, str]


async def list_customers(org: Organisation, body: Body, version: str) -> Row:
    """`customers.list`."""
    checks.check(body, checks.LIST)
    limit = body.get("limit", _DEFAULT_LIMIT)
    if limit > _ORGANISATION_LIMIT:
        raise RefusedError(400, "invalid_request", f"limit must be at most {_ORGANISATION_LIMIT}")
    newest_first = body.get("sort_order", "desc") == "desc"
    listed = org.customers if org.replica is None else org.replica
    rows = sorted(_chosen(listed.values(), body), key=_place, reverse=newest_first)
    if version == "2.3":
        return _by_cursor(rows, body.get("start_cursor", ""), limit, newest_first)
    offset = int(body.get("offset", 0))
    page = rows[offset : offset + limit]
    return {
        "list": [shown(row, version) for row in page],
        "total": len(page),
        "total_count": len(listed),
        "total_filtered_count": len(rows),
        "limit": limit,
        "offset": offset,
        "has_more": offset + len(page) < len(rows),
    }


def _by_cursor(rows: list[Row], cursor: str, limit: int, newest_first: bool) -> Row:
    if cursor:
        last = _decoded(cursor)
        rows = [row for row in rows if (_place(row) < last if newest_first else _place(row) > last)]
    page = rows[:limit]
    return {
        "list": [shown(row, "2.3") for row in page],
        "next_cursor": _encoded(page[-1]) if len(rows) > limit else None,
    }


def _chosen(rows: Iterable[Row], body: Body) -> list[Row]:
    searched = str(body.get("search", "")).lower()
    created: Mapping[str, Any] = body.get("created_at_range", {})
    start, end = created.get("start", 0), created.get("end", float("inf"))
    plans = {plan["id"] for plan in body.get("plans", [])}
    processors = set(body.get("processors", []))
    return [
        row
        for row in rows
        if start <= row["created_at"] <= end
        and any(searched in str(row[name] or "").lower() for name in ("id", "name", "email"))
        and (not plans or plans & _plans(row))
        and (not processors or (row["stripe_id"] and "stripe" in processors))
    ]


def _plans(row: Row) -> set[str]:
    return {held["plan_id"] for held in row["subscriptions"] + row["purchases"]}


def _place(row: Row) -> Place:
    return row["created_at"], row["id"] or row["internal_id"]


def _encoded(row: Row) -> str:
    created_at, customer_id = _place(row)
    text = json.dumps({"v": 0, "id": customer_id, "t": created_at}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(cursor: str) -> Place:
    try:
        fields = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return int(fields["t"]), str(fields["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(400, "invalid_cursor", "cursor payload is not valid JSON") from error
