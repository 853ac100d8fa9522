"""`customers.list` of the Autumn simulator: pages by cursor since version 2.3, by offset before.

It only reads. The order is by creation; the newest comes first unless the request says otherwise.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.autumn import checks
from sandbox.autumn.customers import Body, Organisation
from sandbox.autumn.rows import RefusedError, Row, all_processors, pages_by_cursor, shown

_DEFAULT_LIMIT = 50
Place = tuple[int, str]


async def list_customers(org: Organisation, body: Body, version: str) -> Row:
    """Serve `customers.list`."""
    checks.check(body, checks.LIST)
    most = org.behaviour.largest_page
    limit = body.get("limit", min(_DEFAULT_LIMIT, most))
    if limit > most:
        raise RefusedError(400, "invalid_request", f"limit {limit} exceeds max of {most} for this org")
    newest_first = body.get("sort_order", "desc") == "desc"
    listed = org.reads.listed() if org.replica is None else org.replica
    rows = sorted(_chosen(listed.values(), body), key=_place, reverse=newest_first)
    if pages_by_cursor(version):
        last = _decoded(body["start_cursor"]) if body.get("start_cursor") else None
        _refuse_later_page(org, body, is_later=last is not None)
        if last is not None:
            rows = [row for row in rows if (_place(row) < last if newest_first else _place(row) > last)]
        return _by_cursor(rows[: limit + 1], limit, version)
    offset = int(body.get("offset", 0))
    _refuse_later_page(org, body, is_later=offset > 0)
    page = rows[offset : offset + limit]
    return {
        "list": [shown(row, version, listed=True) for row in page],
        "total": len(page),
        "total_count": len(listed),
        "total_filtered_count": len(rows),
        "limit": limit,
        "offset": offset,
        "has_more": offset + len(page) < len(rows),
    }


def _refuse_later_page(org: Organisation, body: Body, *, is_later: bool) -> None:
    if is_later and body.get("created_at_range") and org.behaviour.broken_second_page:
        raise RefusedError(500, "internal_error", "Internal server error")


def _by_cursor(rows: list[Row], limit: int, version: str) -> Row:
    page = rows[:limit]
    return {
        "list": [shown(row, version, listed=True) for row in page],
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
        and (not processors or processors & all_processors(row).keys())
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
