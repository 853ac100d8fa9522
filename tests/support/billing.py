"""An example of the billing fields of an event, with every field that Autumn's official SDK has."""

import copy
from collections.abc import Iterator
from typing import Any, Final

ADDRESS: Final = {
    "line1": "1 Main St",
    "line2": None,
    "city": "Berlin",
    "state": None,
    "postal_code": "1",
    "country": "DE",
}
COUNTER: Final = {"feature_id": "m", "usage": 1}
FULLEST: Final[dict[str, Any]] = {
    "currency": "eur",
    "config": {"disable_pooled_balance": True, "disable_overage_billing": False},
    "billing_controls": {
        "balance_allocations": [
            {"feature_id": "m", "interval": "month", "allocations": [{"entity_id": "e", "amount": 1.5}]}
        ],
        "auto_topups": [
            {
                **{"feature_id": "m", "threshold": -5, "quantity": 10, "enabled": True, "invoice_mode": True},
                "purchase_limit": {"interval": "day", "limit": 3, "interval_count": 2, "count": 1},
            }
        ],
        "spend_limits": [
            {
                **{"feature_id": "m", "enabled": True, "limit_type": "usage_percentage", "overage_limit": 120},
                "skip_overage_billing": True,
            }
        ],
        "usage_limits": [
            {
                **{"feature_id": "m", "limit": 5, "interval": "week", "enabled": True, "anchor": "utc", "usage": 0},
                **{"filter": {"properties": {"model": "x", "tier": 2, "beta": True}}, "source": "customer"},
            },
            {"feature_id": "m", "usage": 7},
        ],
        "usage_alerts": [
            {
                **{"threshold": 10, "threshold_type": "usage", "feature_id": "m", "enabled": True, "name": "a"},
                **{"basis": "usage_limit", "filter": {"properties": {"model": "x"}}},
            }
        ],
        "overage_allowed": [{"feature_id": "m", "enabled": True}],
    },
    "billing_details": {
        "address": ADDRESS,
        "tax_ids": {
            "add": [{"type": "eu_vat", "value": "DE123456789"}],
            "remove": [{"type": "gb_vat", "value": "GB123456789"}],
        },
        "tax_exempt": "reverse",
        "invoice_settings": {"custom_fields": [{"name": "PO Number", "value": "42"}]},
    },
}


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each value in a document, outer ones first."""
    if path:
        yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def with_value(document: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """Return a copy of the document with another value at the path."""
    changed = copy.deepcopy(document)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed
