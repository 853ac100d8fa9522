"""The billing fields of an event: they are passed on unchanged, and a fault is named by its path."""

from typing import Any

import pytest

from autumn_sync_client.billing import UsageLimit
from jobs.events import EventError, new_update, read_entry
from tests.support.billing import COUNTER, FULLEST, places, with_value


def changed(**changes: Any) -> dict[str, Any]:
    """Return the changes of an event with these fields, after its way through the stream."""
    fields = new_update(customer_id="ann", changes=changes).fields()
    update = read_entry({name.encode(): value.encode() for name, value in fields.items()})
    assert update.changes is not None
    return update.changes.requested()


def fault(**changes: Any) -> str:
    """Return the text of the refusal of an event with these changes."""
    with pytest.raises(EventError) as refused:
        new_update(customer_id="ann", changes=changes)
    return str(refused.value)


def test_each_field_is_passed_on_as_it_was_sent() -> None:
    assert changed(**FULLEST) == FULLEST


def test_usage_limit_is_a_limit_or_a_counter() -> None:
    assert {name for name, field in UsageLimit.model_fields.items() if field.is_required()} == {"feature_id"}
    at = "changes.billing_controls.usage_limits.0"
    for limit, missing in (
        ({"feature_id": "m"}, "limit"),
        ({"feature_id": "m", "limit": 1}, "interval"),
        ({"feature_id": "m", "interval": "day", "usage": 1}, "limit"),
        ({"feature_id": "m", "usage": 1, "enabled": False}, "limit"),
    ):
        assert fault(billing_controls={"usage_limits": [limit]}).startswith(f"{at}.{missing}: is missing: ")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"currency": "euro"}, "changes.currency: is not a currency code of three letters, such as eur"),
        ({"currency": 5}, "changes.currency: must be a string"),
        ({"currency": ""}, "changes.currency: is not a currency code"),
        ({"config": None}, "changes.config: must be a JSON object"),
        ({"config": {"disable_pooled_balance": None}}, "changes.config.disable_pooled_balance: must be true or false"),
        ({"config": {"disable_pool_balance": True}}, "changes.config.disable_pool_balance: unknown field (did you "),
        ({"billing_controls": None}, "changes.billing_controls: must be a JSON object"),
        ({"billing_controls": {"spend_limits": {}}}, "changes.billing_controls.spend_limits: must be a JSON array"),
        ({"billing_controls": {"spend_limits": None}}, "changes.billing_controls.spend_limits: must be a JSON array"),
        (
            {"billing_controls": {"spend_limits": [{}, {"overage_limt": 5}]}},
            "changes.billing_controls.spend_limits.1.overage_limt: unknown field (did you mean overage_limit?)",
        ),
        (
            {"billing_controls": {"spend_limits": [{"overage_limit": "5"}]}},
            "changes.billing_controls.spend_limits.0.overage_limit: must be a number",
        ),
        (
            {"billing_controls": {"spend_limits": [{"overage_limit": True}]}},
            "changes.billing_controls.spend_limits.0.overage_limit: must be a number",
        ),
        (
            {"billing_controls": {"usage_alerts": [{"threshold": 1, "threshold_type": "all"}]}},
            "changes.billing_controls.usage_alerts.0.threshold_type: ",
        ),
        (
            {"billing_controls": {"overage_allowed": [{"enabled": True}]}},
            "changes.billing_controls.overage_allowed.0.feature_id: ",
        ),
        (
            {"billing_controls": {"usage_alerts": [{"threshold": 1, "threshold_type": "usage", "filter": {}}]}},
            "changes.billing_controls.usage_alerts.0.filter.properties: ",
        ),
        (
            {"billing_controls": {"usage_limits": [{**COUNTER, "filter": {"properties": {"a": []}}}]}},
            "changes.billing_controls.usage_limits.0.filter.properties.a: must be a string, a number, true or false",
        ),
        ({"billing_details": {"adress": {}}}, "changes.billing_details.adress: unknown field (did you mean address?)"),
        (
            {"billing_details": {"address": {"country": "Germany"}}},
            "changes.billing_details.address.country: is not a country code of two letters, such as DE",
        ),
        (
            {"billing_details": {"address": {"contry": "DE"}}},
            "changes.billing_details.address.contry: unknown field (did you mean country?)",
        ),
        ({"billing_details": {"address": {"zzz": 1}}}, "changes.billing_details.address.zzz: unknown field"),
        ({"billing_details": {"tax_ids": None}}, "changes.billing_details.tax_ids: must be a JSON object"),
        (
            {"billing_details": {"tax_ids": {"add": [{"type": "eu_vat", "value": ""}]}}},
            "changes.billing_details.tax_ids.add.0.value: is empty",
        ),
        ({"billing_details": {"tax_exempt": "yes"}}, "changes.billing_details.tax_exempt: "),
        (
            {"billing_details": {"invoice_settings": {"custom_fields": [{"name": "a", "value": "b"}] * 5}}},
            "changes.billing_details.invoice_settings.custom_fields: ",
        ),
        (
            {"billing_details": {"address": {"city": "a\0"}}},
            "changes.billing_details.address.city: contains a NUL byte",
        ),
        (
            {"billing_details": {"tax_exempt": "none"}, "stripe_id": None},
            "changes.billing_details: needs a linked Stripe customer, so it cannot be sent with a stripe_id that un",
        ),
    ],
)
def test_fault_is_named_by_its_path(changes: dict[str, Any], text: str) -> None:
    assert fault(**changes).startswith(text)


@pytest.mark.parametrize("number", [2**53, float("inf"), float("nan")])
def test_property_that_autumn_would_change_is_refused_as_a_number(number: float) -> None:
    limits = [{**COUNTER, "filter": {"properties": {"a": number}}}]
    assert fault(billing_controls={"usage_limits": limits}) == (
        "changes.billing_controls.usage_limits.0.filter.properties.a: "
        "must be a number that JavaScript keeps exactly, at most 9007199254740991"
    )


@pytest.mark.parametrize("number", [2**53, float("inf"), float("nan"), None, "1"])
def test_number_that_autumn_would_change_is_refused(number: Any) -> None:
    limits = [{"feature_id": "m", "overage_limit": number}]
    assert fault(billing_controls={"spend_limits": limits}).startswith(
        "changes.billing_controls.spend_limits.0.overage_limit: must be a number"
    )


def refusal_of(changes: dict[str, Any]) -> str | None:
    """Return the text of the refusal of an event; None if it is accepted."""
    try:
        new_update(customer_id="ann", changes=changes)
    except EventError as refusal:
        return str(refusal)
    return None


@pytest.mark.parametrize("odd", [None, -5, 1.5, "Secret", True, [], {}, [["Secret"]], {"odd": "Secret"}], ids=str)
def test_odd_value_at_any_place_is_accepted_or_named(odd: Any) -> None:
    for path in places(FULLEST):
        text = refusal_of(with_value(FULLEST, path, odd)) or "accepted"
        assert text.startswith(("accepted", ".".join(map(str, ("changes", *path)))))
        assert "Secret" not in text


def test_key_that_is_not_text_is_refused() -> None:
    with pytest.raises(EventError, match=r"^changes"):
        new_update(customer_id="ann", changes={5: 1})


def test_refusal_repeats_no_value() -> None:
    text = fault(billing_details={"address": {"line1": 5, "country": "Secretland"}, "tax_exempt": "secret"})
    assert "ecret" not in text


@pytest.mark.parametrize(
    "changes",
    [
        {"currency": None},
        {"currency": "EUR"},
        {"config": {}},
        {"billing_controls": {"usage_alerts": []}},
        {"billing_details": {"address": None}},
        {"billing_details": {"invoice_settings": {"custom_fields": None}}},
        {"billing_details": {"tax_exempt": "none"}, "stripe_id": "cus_ann"},
    ],
)
def test_null_and_empty_lists_that_autumn_takes_are_accepted(changes: dict[str, Any]) -> None:
    assert changed(**changes) == changes
