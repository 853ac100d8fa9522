"""The simulated Stripe against what Stripe itself publishes: its SDK's parameters, its example objects, its SDK."""

import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import stripe
import stripe.params

from sandbox.faults import Fault
from sandbox.serve import serving
from sandbox.stripe import StripeSimulator
from sandbox.stripe_requests import ENDPOINTS, Endpoint
from tests.contract.fields import stripe_shapes

Connect = Callable[[str], stripe.StripeClient]

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


def test_every_endpoint_is_held_to_the_sdk() -> None:
    assert SDK_PARAMETERS.keys() == {endpoint.name for endpoint in ENDPOINTS}


def test_an_endpoint_takes_only_parameters_that_the_sdk_knows(endpoint: Endpoint) -> None:
    known = SDK_PARAMETERS[endpoint.name].__annotations__
    assert endpoint.takes.keys() <= known.keys()
    for name, kind in endpoint.takes.items():
        assert re.search(HOW_THE_SDK_WRITES[kind], str(known[name])), name


def test_an_endpoint_requires_what_the_sdk_requires(endpoint: Endpoint) -> None:
    assert set(endpoint.required) == SDK_PARAMETERS[endpoint.name].__required_keys__


# Stripe's example objects


@pytest.fixture(scope="module")
def examples() -> dict[str, Any]:
    return stripe_shapes()


def differences(ours: Any, theirs: Any, where: str = "") -> list[str]:
    """Where two objects differ in their keys or in the types of their values; null and {} go with anything."""
    if ours is None or theirs is None or {} in (ours, theirs):
        return []
    if isinstance(ours, dict) and isinstance(theirs, dict):
        odd = [f"{where}.{key} is on one side only" for key in ours.keys() ^ theirs.keys()]
        both = ours.keys() & theirs.keys()
        return odd + [found for key in both for found in differences(ours[key], theirs[key], f"{where}.{key}")]
    return [] if type(ours) is type(theirs) else [f"{where} is a {type(ours).__name__}, not a {type(theirs).__name__}"]


def test_a_customer_has_the_shape_of_stripes_example(examples: dict[str, Any]) -> None:
    assert not differences(StripeSimulator().seed_customer(), examples["customer"])


def test_a_deleted_customer_has_the_shape_of_stripes_example(examples: dict[str, Any]) -> None:
    ours = StripeSimulator().seed_customer(deleted=True)
    assert {**examples["deleted_customer"], "id": ours["id"]} == ours


def test_a_payment_intent_has_the_shape_of_stripes_example(examples: dict[str, Any]) -> None:
    assert not differences(StripeSimulator().seed_payment_intent(), examples["payment_intent"])


def test_a_charge_has_the_shape_of_stripes_example(examples: dict[str, Any]) -> None:
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


def test_the_comparison_finds_a_missing_key_and_a_wrong_type() -> None:
    assert differences({"a": 1, "b": {"c": "x"}}, {"a": "1", "b": {"d": "x"}})


# Stripe's SDK


@pytest.fixture
def simulator() -> StripeSimulator:
    return StripeSimulator()


@pytest_asyncio.fixture
async def connect(simulator: StripeSimulator) -> AsyncIterator[Connect]:
    stripe.enable_telemetry = False
    async with serving(simulator.app()) as url, aiohttp.ClientSession() as session:
        yield lambda key: stripe.StripeClient(
            key,
            base_addresses={"api": url},
            http_client=stripe.AIOHTTPClient(session=session),
            max_network_retries=0,
        )


@pytest.fixture
def client(connect: Connect, simulator: StripeSimulator) -> stripe.StripeClient:
    return connect(simulator.key)


async def test_the_sdk_creates_retrieves_updates_lists_searches_and_deletes(client: stripe.StripeClient) -> None:
    customers = client.v1.customers
    made = await customers.create_async({"email": "ann@example.com", "metadata": {"autumn_id": "ann", "plan": "x"}})
    updated = await customers.update_async(made.id, {"name": "Ann & Bob [x]=ü", "metadata": {"plan": ""}})
    assert updated.name == "Ann & Bob [x]=ü"
    assert json.loads(str(updated.metadata)) == {"autumn_id": "ann"}
    assert (await customers.retrieve_async(made.id)).email == "ann@example.com"
    listed = await customers.list_async({"email": "ann@example.com", "created": {"gte": made.created}})
    found = await customers.search_async({"query": "metadata['autumn_id']:'ann' AND email:'ANN@example.com'"})
    assert [made.id] == [each.id for each in listed.data] == [each.id for each in found.data]
    assert (await customers.delete_async(made.id)).deleted
    assert not (await customers.list_async()).data


async def test_the_sdks_raw_request_does_the_same(client: stripe.StripeClient, simulator: StripeSimulator) -> None:
    made = await client.raw_request_async(
        "post", "/v1/customers", metadata={"autumn_id": "ann"}, idempotency_key="autumn:create:1"
    )
    assert simulator.customers[made.data["id"]]["metadata"] == {"autumn_id": "ann"}
    assert simulator.calls[-1].idempotency_key == "autumn:create:1"


@pytest.mark.parametrize("email", ["ann+plus@example.com", "a%26b&c=d#e@example.com", "ü'x@exämple.com"])
async def test_an_address_of_any_letters_arrives_as_it_is(client: stripe.StripeClient, email: str) -> None:
    made = await client.v1.customers.create_async({"email": email})
    assert made.email == email
    assert [each.id for each in (await client.v1.customers.list_async({"email": email})).data] == [made.id]
    quoted = email.replace("'", r"\'")
    assert (await client.v1.customers.search_async({"query": f"email:'{quoted}'"})).data[0].id == made.id


async def test_pages_are_walked_to_the_end(client: stripe.StripeClient, simulator: StripeSimulator) -> None:
    seeded = [simulator.seed_customer(created=second)["id"] for second in range(7)]
    pages = await client.v1.customers.list_async({"limit": 3})
    walked = [each.id async for each in pages.auto_paging_iter()]
    assert walked == seeded[::-1]


async def test_a_deleted_customer_is_retrieved_without_an_email(
    client: stripe.StripeClient, simulator: StripeSimulator
) -> None:
    gone = simulator.seed_customer(deleted=True)
    retrieved = await client.v1.customers.retrieve_async(gone["id"])
    assert retrieved.deleted
    assert not hasattr(retrieved, "email")


async def test_a_payment_intent_keeps_its_receipt_email(client: stripe.StripeClient) -> None:
    intents = client.v1.payment_intents
    made = await intents.create_async({"amount": 500, "currency": "usd"})
    assert (await intents.update_async(made.id, {"receipt_email": "ann@example.com"})).receipt_email
    assert (await intents.update_async(made.id, {"receipt_email": ""})).receipt_email is None
    assert [made.id] == [each.id for each in (await intents.list_async({"created": {"gte": made.created}})).data]


async def test_a_payment_intent_comes_with_its_charge(client: stripe.StripeClient, simulator: StripeSimulator) -> None:
    intents = client.v1.payment_intents
    seeded = simulator.seed_payment_intent(status="succeeded", created=100, succeeded_at=160)
    retrieved = await intents.retrieve_async(seeded["id"], {"expand": ["latest_charge"]})
    (listed,) = (await intents.list_async({"expand": ["data.latest_charge"]})).data
    for charge in (retrieved.latest_charge, listed.latest_charge):
        assert isinstance(charge, stripe.Charge)
        assert (charge.id, charge.created) == (seeded["latest_charge"], 160)
    with pytest.raises(stripe.InvalidRequestError, match=r"cannot be expanded \(amount\)"):
        await intents.retrieve_async(seeded["id"], {"expand": ["amount"]})


@pytest.mark.parametrize("write", [True, False], ids=["update", "retrieve"])
async def test_a_missing_customer_is_resource_missing(client: stripe.StripeClient, write: bool) -> None:
    customers = client.v1.customers
    with pytest.raises(stripe.InvalidRequestError, match="No such customer: 'cus_none'") as raised:
        await (customers.update_async("cus_none", {}) if write else customers.retrieve_async("cus_none"))
    assert (raised.value.http_status, raised.value.code) == (404, "resource_missing")


async def test_a_deleted_customer_cannot_be_updated(client: stripe.StripeClient, simulator: StripeSimulator) -> None:
    gone = simulator.seed_customer(deleted=True)
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        await client.v1.customers.update_async(gone["id"], {"name": "Ann"})


async def test_the_code_of_a_rate_limit_is_in_its_error_only(
    client: stripe.StripeClient, simulator: StripeSimulator
) -> None:
    simulator.endpoint_requests_per_second = 0
    with pytest.raises(stripe.RateLimitError) as raised:
        await client.v1.customers.list_async()
    error = raised.value
    assert error.code is None
    assert error.error is not None
    assert error.error.code == "rate_limit"
    assert error.headers is not None
    assert error.headers["Stripe-Rate-Limited-Reason"] == "endpoint-rate"
    assert "Retry-After" not in error.headers


async def test_a_key_that_is_used_for_something_else_is_an_idempotency_error(client: stripe.StripeClient) -> None:
    await client.v1.customers.create_async({"name": "A"}, {"idempotency_key": "autumn:1"})
    with pytest.raises(stripe.IdempotencyError):
        await client.v1.customers.create_async({"name": "B"}, {"idempotency_key": "autumn:1"})


async def test_a_wrong_key_is_an_authentication_error(connect: Connect) -> None:
    with pytest.raises(stripe.AuthenticationError, match="Invalid API Key"):
        await connect("sk_test_another_account").v1.customers.list_async()


async def test_a_missing_permission_is_a_permission_error_that_names_it(
    connect: Connect, simulator: StripeSimulator
) -> None:
    simulator.missing_permissions.add("rak_customer_write")
    restricted = connect(simulator.restricted_key)
    await restricted.v1.customers.list_async()
    with pytest.raises(stripe.PermissionError, match="rak_customer_write"):
        await restricted.v1.customers.create_async({})


async def test_a_500_is_an_api_error(client: stripe.StripeClient, simulator: StripeSimulator) -> None:
    simulator.switches.add(Fault("500"))
    with pytest.raises(stripe.APIError) as raised:
        await client.v1.customers.list_async()
    assert raised.value.http_status == 500


async def test_an_answer_that_is_no_json_is_an_api_error(
    client: stripe.StripeClient, simulator: StripeSimulator
) -> None:
    simulator.switches.add(Fault("garbage"))
    with pytest.raises(stripe.APIError):
        await client.v1.customers.list_async()


async def test_a_cut_connection_is_a_connection_error(client: stripe.StripeClient, simulator: StripeSimulator) -> None:
    simulator.switches.add(Fault("cut"))
    with pytest.raises(stripe.APIConnectionError):
        await client.v1.customers.list_async()
