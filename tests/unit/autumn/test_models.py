"""Answers that are accepted as a customer of Autumn, and the text of a refusal."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jobs.autumn.models import EXPLAINED_MAX, UpdateCustomerResponse, explain, read_customer
from jobs.autumn.pages import CustomerPage, ListedCustomer

DATA = Path(__file__).parents[2] / "data" / "autumn"


def answers(file: str) -> dict[str, Any]:
    return {row["name"]: row["json"] for row in json.loads((DATA / file).read_text())}


CUSTOMERS = answers("customers.json")
PAGES = answers("pages.json")
OTHERS = answers("others.json")
TWELVE: dict[str, Any] = CUSTOMERS["the twelve fields"]
RICH: dict[str, Any] = CUSTOMERS["plans and balances, expanded"]

DETAILED = {"subscriptions", "purchases", "balances"}

Steps = tuple[str | int, ...]


def refusal(document: object, model: type[UpdateCustomerResponse] | type[CustomerPage]) -> str:
    with pytest.raises(ValidationError) as refused:
        model.model_validate_json(json.dumps(document))
    return explain(refused.value)


def with_value(document: dict[str, Any], steps: Steps, value: object) -> dict[str, Any]:
    changed: Any = copy.deepcopy(document)
    place = changed
    for step in steps[:-1]:
        place = place[step]
    place[steps[-1]] = value
    assert isinstance(changed, dict)
    return changed


@pytest.mark.parametrize("name", CUSTOMERS)
def test_customer_has_its_values(name: str) -> None:
    customer = UpdateCustomerResponse.model_validate_json(json.dumps(CUSTOMERS[name]))

    for field in TWELVE.keys() - {"subscriptions", "purchases", "balances"}:
        assert getattr(customer, field) == CUSTOMERS[name][field]


def test_model_requires_exactly_the_twelve_fields() -> None:
    required = {name for name, field in UpdateCustomerResponse.model_fields.items() if field.is_required()}

    assert required == set(UpdateCustomerResponse.model_fields) - {"elsewhere"} == set(TWELVE)
    assert len(required) == 12


@pytest.mark.parametrize(
    ("processors", "elsewhere"),
    [
        ({"revenuecat": {"id": None}}, ("revenuecat",)),
        (
            {"vercel": {"installation_id": "i", "account_id": "a"}, "revenuecat": {"id": "ann"}},
            ("revenuecat", "vercel"),
        ),
        ({"stripe": {"id": "cus_ann"}, "revenuecat": {"id": "ann"}}, ()),
        ({"stripe": None, "revenuecat": {"id": "ann"}}, ("revenuecat",)),
        ({"stripe": {"id": "cus_ann"}}, ()),
        ({"vercel": None, "Ann's": {}, "": {}}, ()),
        ({}, ()),
        (None, ()),
        ("revenuecat", ()),
        (True, ()),
        ([["revenuecat", 1]], ()),
    ],
)
def test_processors_without_stripe_are_named_and_odd_ones_stop_nothing(
    processors: object, elsewhere: tuple[str, ...]
) -> None:
    document = json.dumps({**TWELVE, "processors": processors}).encode()
    assert read_customer(document).elsewhere == elsewhere
    assert ListedCustomer.model_validate_json(document).elsewhere == elsewhere
    assert read_customer(json.dumps({**TWELVE, "elsewhere": ["x"]}).encode()).elsewhere == ()


def test_nested_fields_are_read() -> None:
    customer = UpdateCustomerResponse.model_validate_json(json.dumps(RICH))

    (subscription,) = customer.subscriptions
    assert subscription.plan is not None
    price = subscription.plan.items[0].price
    assert price is not None
    assert price.tiers is not None
    assert [tier.to for tier in price.tiers] == [100, "inf"]
    assert customer.balances["messages"].remaining == 99.5


@pytest.mark.parametrize("field", TWELVE)
def test_missing_field_is_refused_by_name(field: str) -> None:
    less = {name: value for name, value in TWELVE.items() if name != field}

    assert refusal(less, UpdateCustomerResponse) == f"{field}: field required"


@pytest.mark.parametrize(
    ("steps", "value", "text"),
    [
        (("id",), 1, "id: should be a string"),
        (("name",), True, "name: should be a string"),
        (("email",), ["ann@example.com"], "email: should be a string"),
        (("created_at",), "1767225600000", "created_at: should be a number"),
        (("created_at",), True, "created_at: should be a number"),
        (("created_at",), None, "created_at: should be a number"),
        (("env",), None, "env: should be a string"),
        (("metadata",), None, "metadata: should be an object"),
        (("metadata",), [], "metadata: should be an object"),
        (("send_email_receipts",), "true", "send_email_receipts: should be true or false"),
        (("send_email_receipts",), 1, "send_email_receipts: should be true or false"),
        (("send_email_receipts",), None, "send_email_receipts: should be true or false"),
        (("subscriptions",), {}, "subscriptions: should be a list"),
        (("subscriptions", 0), "pro", "subscriptions.0: should be an object"),
        (("subscriptions", 0, "past_due"), 0, "subscriptions.0.past_due: should be true or false"),
        (
            ("subscriptions", 0, "plan", "items", 0, "included"),
            "1",
            "subscriptions.0.plan.items.0.included: should be a number",
        ),
        (("purchases", 0, "started_at"), None, "purchases.0.started_at: should be a number"),
        (("balances",), [], "balances: should be an object"),
        (("balances", "messages", "granted"), "9", "balances.messages.granted: should be a number"),
        (
            ("balances", "messages", "rollovers", 0, "balance"),
            False,
            "balances.messages.rollovers.0.balance: should be a number",
        ),
    ],
)
def test_wrong_type_is_refused_by_name(steps: Steps, value: object, text: str) -> None:
    assert refusal(with_value(RICH, steps, value), UpdateCustomerResponse) == text


@pytest.mark.parametrize(
    ("steps", "value"),
    [
        (("env",), "staging"),
        (("subscriptions", 0, "status"), "paused"),
        (("subscriptions", 0, "plan", "items", 0, "reset", "interval"), "fortnight"),
        (("balances", "messages", "feature", "type"), "ai_credits"),
        (("balances", "messages", "remaining"), -3),
        (("balances", "messages", "breakdown"), None),
        (("created_at",), 1767225600000.5),
        (("a_field_of_tomorrow",), {"any": "thing"}),
        (("balances", "messages", "a_field_of_tomorrow"), 1),
    ],
)
def test_later_additions_of_autumn_are_accepted(steps: Steps, value: object) -> None:
    UpdateCustomerResponse.model_validate_json(json.dumps(with_value(RICH, steps, value)))


def test_good_answer_has_no_oddities() -> None:
    customer = read_customer(json.dumps(RICH).encode())

    assert customer == UpdateCustomerResponse.model_validate(RICH)
    assert customer.oddities == ()


@pytest.mark.parametrize(
    ("steps", "value", "place"),
    [
        (("subscriptions", 0), "pro", "subscriptions.0"),
        (("subscriptions", 0, "past_due"), 0, "subscriptions.0.past_due"),
        (("subscriptions", 0, "plan", "items", 0, "included"), "1", "subscriptions.0.plan.items.0.included"),
        (("purchases", 0, "started_at"), None, "purchases.0.started_at"),
        (("balances", "messages"), None, "balances.messages"),
        (("balances", "messages", "granted"), "9", "balances.messages.granted"),
        (("balances", "messages", "rollovers", 0, "balance"), False, "balances.messages.rollovers.0.balance"),
    ],
)
def test_odd_detail_is_left_out_and_named(steps: Steps, value: object, place: str) -> None:
    customer = read_customer(json.dumps(with_value(RICH, steps, value)).encode())

    assert customer.oddities == (place,)
    assert all(getattr(customer, field) == RICH[field] for field in TWELVE.keys() - {steps[0]} - DETAILED)
    assert len(getattr(customer, str(steps[0]))) == len(RICH[str(steps[0])]) - 1


def test_details_beside_an_odd_one_are_kept() -> None:
    good = RICH["subscriptions"][0]
    odd = {**good, "plan_id": None, "quantity": "2"}
    answer = {**RICH, "subscriptions": [odd, good, "pro", good], "balances": {**RICH["balances"], "seats": 3}}

    customer = read_customer(json.dumps(answer).encode())

    assert [each.plan_id for each in customer.subscriptions] == [good["plan_id"]] * 2
    assert set(customer.balances) == set(RICH["balances"])
    assert customer.oddities == (
        "subscriptions.0.plan_id",
        "subscriptions.0.quantity",
        "subscriptions.2",
        "balances.seats",
    )


@pytest.mark.parametrize("field", TWELVE)
def test_missing_field_is_refused_beside_odd_details(field: str) -> None:
    odd = with_value(RICH, ("subscriptions",), [{}] * EXPLAINED_MAX)
    with pytest.raises(ValidationError) as refused:
        read_customer(json.dumps({name: value for name, value in odd.items() if name != field}).encode())

    assert explain(refused.value).startswith(f"{field}: field required")


@pytest.mark.parametrize(("field", "value"), [("subscriptions", {}), ("purchases", None), ("balances", [])])
def test_collection_of_the_wrong_type_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        read_customer(json.dumps({**RICH, field: value}).encode())

    assert explain(refused.value).startswith(f"{field}: should be ")


def test_answer_cannot_claim_oddities() -> None:
    assert read_customer(json.dumps({**TWELVE, "oddities": ["x"], "_oddities": ["x"]}).encode()).oddities == ()


@given(
    st.sampled_from(["subscriptions", "purchases"]),
    st.lists(st.none() | st.text() | st.dictionaries(st.text(), st.integers())),
    st.dictionaries(st.text(), st.none() | st.floats() | st.lists(st.integers())),
)
def test_any_detail_leaves_the_twelve_readable(field: str, items: list[object], balances: dict[str, object]) -> None:
    customer = read_customer(json.dumps({**TWELVE, field: items, "balances": balances}).encode())

    assert (customer.id, customer.email, customer.stripe_id) == (TWELVE["id"], TWELVE["email"], TWELVE["stripe_id"])
    assert bool(customer.oddities) == bool(items or balances)


@pytest.mark.parametrize("name", PAGES)
def test_page_has_customers_and_the_next_cursor(name: str) -> None:
    page = CustomerPage.model_validate_json(json.dumps(PAGES[name]))

    assert [customer.id for customer in page.list] == [item["id"] for item in PAGES[name]["list"]]
    assert page.next_cursor == PAGES[name]["next_cursor"]


def test_page_by_offset_is_refused() -> None:
    page = OTHERS["a page by offset, as before version 2.3"]

    assert refusal(page, CustomerPage) == "next_cursor: field required"


def test_faulty_customer_of_a_page_is_named() -> None:
    page = {"list": [TWELVE, {**TWELVE, "email": 1}], "next_cursor": None}

    assert refusal(page, CustomerPage) == "list.1.email: should be a string"


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b'{"id": "user_1"', b"[" * 10_000])
def test_invalid_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValidationError) as refused:
        UpdateCustomerResponse.model_validate_json(body)

    assert explain(refused.value) == "the answer: should be JSON"


def test_long_explanation_ends_in_a_count() -> None:
    text = refusal({"list": [{}, {}, {}, {}], "next_cursor": None}, CustomerPage)

    assert text.count("field required") == EXPLAINED_MAX
    assert text.endswith("; and 12 more")


def test_customer_is_immutable() -> None:
    customer = UpdateCustomerResponse.model_validate(TWELVE)

    with pytest.raises(ValidationError):
        customer.email = "eve@example.com"  # type: ignore[misc]  # the assignment that must fail


def test_neither_repr_nor_explanation_shows_personal_data() -> None:
    private = {**TWELVE, "name": "Ann Private", "email": "ann@example.com", "metadata": {"note": "Private"}}

    shown = repr(UpdateCustomerResponse.model_validate(private)) + refusal(
        {**private, "fingerprint": {"is": "Private"}, "stripe_id": ["Private"]}, UpdateCustomerResponse
    )

    assert "Private" not in shown
    assert "ann@example.com" not in shown


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(TWELVE)) | st.text(), inner),
    )
)
def test_json_without_a_customer_is_refused_and_explained(document: object) -> None:
    if isinstance(document, dict):
        document.pop("created_at", None)

    assert refusal(document, UpdateCustomerResponse)
