"""Pages of a list and of a search, in the form of Stripe. Pure: the functions take objects and return a page."""

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from sandbox.stripe.errors import Json, StripeError, invalid, missing

_DEFAULT_LIMIT = 10
_MOST = 100
_CLAUSE = re.compile(
    r"""\s*(?:AND\s+)?(?P<field>email|name|metadata\[(?P<q>['"])(?P<key>[^'"]+)(?P=q)\])"""
    r""":(?P<quote>['"])(?P<value>(?:\\.|(?!(?P=quote)).)*)(?P=quote)""",
    re.IGNORECASE | re.DOTALL,
)


class _Clause(NamedTuple):
    field: str
    metadata_key: str | None
    value: str


def newest_first(stored: dict[str, Json], params: Json, filter_by: str = "") -> list[Json]:
    """Return the objects that are not deleted and pass the filters: `created`, and one field that must be equal."""
    # The later one of the same second comes first: sorting keeps the order of equal items.
    chosen = [item for item in reversed(stored.values()) if "deleted" not in item]
    if filter_by in params:
        chosen = [item for item in chosen if item[filter_by] == params[filter_by]]
    if "created" in params:
        chosen = [item for item in chosen if _within(item["created"], params["created"])]
    chosen.sort(key=itemgetter("created"), reverse=True)
    return chosen


def page(newest_first: Sequence[Json], params: Json, *, url: str, kind: str) -> Json:
    """Return the page for `limit`, `starting_after` and `ending_before`.

    Raises: StripeError for a limit out of bounds or a cursor that is not in the list.
    """
    limit = limit_of(params)
    if "ending_before" in params:
        before = newest_first[: _position(newest_first, params["ending_before"], "ending_before", kind)]
        chosen, left = before[-limit:], len(before) - limit
    else:
        start = 0
        if "starting_after" in params:
            start = _position(newest_first, params["starting_after"], "starting_after", kind) + 1
        chosen, left = newest_first[start : start + limit], len(newest_first) - start - limit
    return {"object": "list", "url": url, "has_more": left > 0, "data": list(chosen)}


def found(newest_first: Sequence[Json], params: Json, *, url: str) -> Json:
    """Return the page of a search: `email:'x'`, `name:'x'` or `metadata['k']:'v'`, joined by AND or a space.

    Raises: StripeError for an invalid query or page, or a limit out of bounds.
    """
    clauses = _clauses(params["query"])
    hits = [item for item in newest_first if all(_matches(item, clause) for clause in clauses)]
    start, limit = _start(params), limit_of(params)
    more = len(hits) > start + limit
    return {
        "object": "search_result",
        "url": url,
        "has_more": more,
        "next_page": str(start + limit) if more else None,
        "data": hits[start : start + limit],
    }


def _within(moment: int, bounds: dict[str, int]) -> bool:
    """Return whether a time in seconds is inside the given gt, gte, lt and lte."""
    return (
        moment > bounds.get("gt", moment - 1)
        and moment >= bounds.get("gte", moment)
        and moment < bounds.get("lt", moment + 1)
        and moment <= bounds.get("lte", moment)
    )


def limit_of(params: Json) -> int:
    """Return the length of a page. Raises: StripeError if it is out of bounds."""
    limit: int = params.get("limit", _DEFAULT_LIMIT)
    if not 1 <= limit <= _MOST:
        raise invalid("limit", f"Invalid limit: {limit} is not between 1 and {_MOST}.", "parameter_invalid_integer")
    return limit


def _start(params: Json) -> int:
    cursor = params.get("page", "0")
    if not cursor.isdecimal():
        raise invalid("page", f"Invalid page: {cursor}")
    return int(cursor)


def _position(newest_first: Sequence[Json], object_id: str, param: str, kind: str) -> int:
    for position, item in enumerate(newest_first):
        if item["id"] == object_id:
            return position
    raise missing(kind, object_id, param=param, status=400)


def _clauses(query: str) -> list[_Clause]:
    clauses: list[_Clause] = []
    rest = query.strip()
    while rest:
        clause = _CLAUSE.match(rest)
        if clause is None:
            raise StripeError(400, f"We were unable to parse your search query: {query}", param="query")
        value = re.sub(r"\\(.)", r"\1", clause["value"], flags=re.DOTALL)
        clauses.append(_Clause(clause["field"].lower(), clause["key"], value))
        rest = rest[clause.end() :].strip()
    if not clauses:
        raise StripeError(400, "The search query is empty.", param="query")
    return clauses


def _matches(item: Json, clause: _Clause) -> bool:
    if clause.metadata_key is not None:
        return bool(item["metadata"].get(clause.metadata_key) == clause.value)
    # Stripe's search ignores case in strings; its list does not.
    return (item[clause.field] or "").lower() == clause.value.lower()
