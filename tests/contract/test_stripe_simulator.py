"""The simulated Stripe against Stripe's own publications: its SDK's parameters and its example objects."""

import re
from typing import Any

import pytest
import stripe
import stripe.params

from sandbox.stripe.requests import ENDPOINTS, Endpoint
from sandbox.stripe.server import StripeSimulator
from tests.contract.fields import stripe_shapes

SDK_PARAMETERS: dict[str, Any] = {
    "customers.create": stripe.params.CustomerCreateParams,
    "customers.list": stripe.params.CustomerListParams,
    "customers.search": stripe.params.CustomerSearchParams,
    "customers.retrieve": stripe.params.CustomerRetrieveParams,
    "customers.update": stripe.params.CustomerUpdateParams,
    "customers.delete": stripe.params.CustomerDeleteParams,
    "payment_intents.create": stripe.params.PaymentIntentCreateParams,
    "payment_intents.list": stripe.params.PaymentIntentListParams,
    "payment_intents.retrieve": stripe.params.PaymentIntentRetrieveParams,
    "payment_intents.update": stripe.params.PaymentIntentUpdateParams,
    "charges.list": stripe.params.ChargeListParams,
    "charges.retrieve": stripe.params.ChargeRetrieveParams,
    "events.list": stripe.params.EventListParams,
    "events.retrieve": stripe.params.EventRetrieveParams,
    "subscriptions.list": stripe.params.SubscriptionListParams,
    "subscription_schedules.list": stripe.params.SubscriptionScheduleListParams,
    "account.retrieve": stripe.params.AccountRetrieveCurrentParams,
}

HOW_THE_SDK_WRITES = {
    "text": r"\bstr\b",
    "email": r"\bstr\b",
    "integer": r"\bint\b",
    "boolean": r"\bbool\b",
    "list": r"\bList\[str\]",
    "map": r"\bDict\[str, str\]",
    "range": r"ParamsCreated\|int",
    "address": r"Literal\[''\]\|Customer\w+ParamsAddress",
    "exemption": r"Literal\['exempt', 'none', 'reverse'\]",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "endpoint" in metafunc.fixturenames:
        metafunc.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: str(endpoint.name))


def test_every_endpoint_is_compared_with_the_sdk() -> None:
    assert SDK_PARAMETERS.keys() == {endpoint.name for endpoint in ENDPOINTS}


def test_endpoint_takes_only_parameters_that_the_sdk_knows(endpoint: Endpoint) -> None:
    known = SDK_PARAMETERS[endpoint.name].__annotations__
    assert endpoint.takes.keys() <= known.keys()
    for name, kind in endpoint.takes.items():
        assert re.search(HOW_THE_SDK_WRITES[kind], str(known[name])), name


def test_endpoint_requires_what_the_sdk_requires(endpoint: Endpoint) -> None:
    assert set(endpoint.required) == SDK_PARAMETERS[endpoint.name].__required_keys__


# Stripe's example objects


@pytest.fixture(scope="module")
def examples() -> dict[str, Any]:
    return stripe_shapes()


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Return where two objects differ in their keys or in their values' types. Null and {} match anything."""
    if ours is None or theirs is None or {} in (ours, theirs):
        return []
    if isinstance(ours, dict) and isinstance(theirs, dict):
        odd = [f"{where}.{key} is on one side only" for key in ours.keys() ^ theirs.keys()]
        both = ours.keys() & theirs.keys()
        return odd + [found for key in both for found in differences(ours[key], theirs[key], f"{where}.{key}")]
    return [] if type(ours) is type(theirs) else [f"{where} is a {type(ours).__name__}, not a {type(theirs).__name__}"]


def test_customer_has_shape_of_stripes_example(examples: dict[str, Any]) -> None:
    assert not differences(StripeSimulator().seed_customer(), examples["customer"])


def test_deleted_customer_has_shape_of_stripes_example(examples: dict[str, Any]) -> None:
    ours = StripeSimulator().seed_customer(deleted=True)
    assert {**examples["deleted_customer"], "id": ours["id"]} == ours


def test_payment_intent_has_shape_of_stripes_example(examples: dict[str, Any]) -> None:
    assert not differences(StripeSimulator().seed_payment_intent(), examples["payment_intent"])


def test_charge_has_shape_of_stripes_example(examples: dict[str, Any]) -> None:
    simulator = StripeSimulator()
    simulator.succeed(simulator.seed_payment_intent()["id"])
    (charge,) = simulator.charges.values()
    assert not differences(charge, examples["charge"])


def test_event_has_shape_of_stripes_example(examples: dict[str, Any]) -> None:
    simulator = StripeSimulator()
    simulator.edit(simulator.seed_customer()["id"], name="Ann")
    (ours,) = simulator.webhooks.events
    del ours["data"]["previous_attributes"]  # The example is of a creation, which has none.
    assert not differences({**ours, "data": {"object": {}}}, {**examples["event"], "data": {"object": {}}})


def test_each_event_has_object_in_shape_of_stripes_example(examples: dict[str, Any]) -> None:
    simulator = StripeSimulator(livemode=True)
    customer = simulator.seed_customer(email="ann@example.com")["id"]
    simulator.begin_payment(customer=customer, status="requires_action")
    simulator.begin_payment(customer=customer, status="processing")
    simulator.begin_payment(customer=customer, status="succeeded", receipt_email="ann@example.com")
    simulator.pay_invoice(simulator.finalize_invoice(customer)["id"])
    simulator.edit(customer, name="Ann")
    simulator.delete(customer)
    for event in simulator.events.made:
        shown = event["data"]["object"]
        assert not differences(shown, examples[shown["object"]]), event["type"]
        assert not event["data"].get("previous_attributes", {}).keys() - shown.keys()
    assert {event["type"] for event in simulator.events.made} == {
        "charge.succeeded",
        "charge.updated",
        "customer.deleted",
        "customer.updated",
        "invoice.finalized",
        "invoice.paid",
        "payment_intent.created",
        "payment_intent.processing",
        "payment_intent.requires_action",
        "payment_intent.succeeded",
    }


def test_comparison_finds_missing_key_and_wrong_type() -> None:
    assert differences({"a": 1, "b": {"c": "x"}}, {"a": "1", "b": {"d": "x"}})
