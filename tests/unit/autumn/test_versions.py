"""The versions of Autumn's API that know a field of an update."""

from typing import Any

import pytest

from jobs.autumn.versions import unsupported_fields

FILTER = {"properties": {"model": "x"}}


def unknown(changes: dict[str, Any], version: str) -> list[str]:
    """Return the paths of the fields that the version does not know."""
    return [text.partition(": ")[0].removeprefix("changes.") for text in unsupported_fields(changes, version)]


@pytest.mark.parametrize("version", ["2.1", "2.2.0", "2026-03-17", "2026-03-18"])
def test_fields_since_2_3_are_unknown_to_older_versions(version: str) -> None:
    changes = {"name": "Ann", "currency": "eur", "config": {}, "billing_controls": {"balance_allocations": []}}
    assert unknown(changes, version) == ["currency", "config", "billing_controls"]
    assert unknown({"name": "Ann", "metadata": {"currency": 1, "config": {}}}, version) == []


@pytest.mark.parametrize("version", ["2.3", "2.3.0", "2026-05-13", "2026-10-15", "2.4"])
def test_fields_of_the_sdk_are_unknown_to_2_3(version: str) -> None:
    changes = {
        "currency": None,
        "config": {"disable_pooled_balance": True},
        "billing_controls": {
            "balance_allocations": [],
            "usage_limits": [
                {"feature_id": "m", "limit": 1, "interval": "day", "filter": FILTER},
                {"feature_id": "m", "usage": 1, "source": "customer"},
            ],
            "usage_alerts": [{"threshold": 1, "threshold_type": "usage", "basis": "included", "filter": FILTER}],
            "spend_limits": [{"feature_id": "m", "limit_type": "absolute"}],
            "auto_topups": [{"purchase_limit": {"count": 1}}],
        },
        "billing_details": {"tax_exempt": "none"},
    }
    assert unknown(changes, version) == [
        "billing_controls.balance_allocations",
        "billing_controls.usage_limits.1.usage",
        "billing_controls.usage_limits.1.source",
        "billing_controls.usage_alerts.0.basis",
        "billing_controls.usage_alerts.0.filter",
        "billing_details",
    ]
    assert unknown(changes, "2.5.0") == unknown(changes, "3") == []


def test_refusal_names_the_field_and_both_versions() -> None:
    (text,) = unsupported_fields({"currency": "eur"}, "2.1")
    assert text == "changes.currency: needs version 2.3 of Autumn's API or later, and AUTUMN_API_VERSION is 2.1"
