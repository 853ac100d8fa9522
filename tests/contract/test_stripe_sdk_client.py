"""Stripe's own Python SDK as a client of the simulated Stripe, by its sync and its async methods.

The async methods use aiohttp, as the worker does. The sync methods run in a thread, because the simulator serves in the
event loop of the test.
"""

import asyncio
import json
from typing import Any, Final

import pytest
import stripe

from sandbox.faults import Fault
from sandbox.stripe.requests import ENDPOINTS
from sandbox.stripe.server import StripeSimulator
from tests.contract.sdk import Api, Service
from tests.support.processes import wait_until

ADDRESS = {"line1": "1 Main Street", "city": "Berlin", "country": "DE", "postal_code": "10115"}
READ_SECONDS: Final = 2.0
"""The longest wait of a client for a missing answer, from the end of its request."""
FOR_EVER_SECONDS: Final = 3600.0
VALUES: Final[dict[str, tuple[Any, Any, Any]]] = {
    "name": ("Ann", "Bea", None),
    "email": ("ann@example.com", "bea@example.com", None),
    "phone": ("+4930123", "+4930456", None),
    "description": ("first", "second", None),
    "address": (ADDRESS, {"line1": "2 Side Street", "city": "Paris", "country": "FR"}, None),
    "tax_exempt": ("reverse", "exempt", "none"),
    "metadata": ({"a": "1", "b": "2"}, {"a": "3", "b": "4"}, {}),
}
"""For each field of a customer: the first value, the second, and the value after it was cleared."""

PAID: Final = {"amount": 500, "currency": "usd"}
SDK_CALLS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "customers.create": ("customers.create", {}),
    "customers.list": ("customers.list", {}),
    "customers.search": ("customers.search", {"query": "name:'Ann'"}),
    "customers.retrieve": ("customers.retrieve", {}),
    "customers.update": ("customers.update", {"name": "Bea"}),
    "customers.delete": ("customers.delete", {}),
    "payment_intents.create": ("payment_intents.create", PAID),
    "payment_intents.list": ("payment_intents.list", {}),
    "payment_intents.retrieve": ("payment_intents.retrieve", {}),
    "payment_intents.update": ("payment_intents.update", {"receipt_email": "ann@example.com"}),
    "charges.list": ("charges.list", {}),
    "charges.retrieve": ("charges.retrieve", {}),
    "events.list": ("events.list", {}),
    "events.retrieve": ("events.retrieve", {}),
    "subscriptions.list": ("subscriptions.list", {}),
    "subscription_schedules.list": ("subscription_schedules.list", {}),
    "account.retrieve": ("accounts.retrieve_current", {}),
}
"""The SDK's method for each endpoint of the simulator, and its parameters without the id."""


async def test_customer_can_be_created_retrieved_updated_listed_searched_and_deleted(api: Api) -> None:
    made = await api.call("customers.create", {"email": "ann@example.com", "metadata": {"autumn_id": "ann", "a": "x"}})
    updated = await api.call("customers.update", made.id, {"name": "Ann & Bob [x]=ü", "metadata": {"a": ""}})
    assert updated.name == "Ann & Bob [x]=ü"
    assert json.loads(str(updated.metadata)) == {"autumn_id": "ann"}
    assert (await api.call("customers.retrieve", made.id)).email == "ann@example.com"
    listed = await api.call("customers.list", {"email": "ann@example.com", "created": {"gte": made.created}})
    found = await api.call("customers.search", {"query": "metadata['autumn_id']:'ann' AND email:'ANN@example.com'"})
    assert [made.id] == [each.id for each in listed.data] == [each.id for each in found.data]
    assert (await api.call("customers.delete", made.id)).deleted
    assert not (await api.call("customers.list")).data


@pytest.mark.parametrize("field", VALUES)
async def test_each_field_is_created_updated_and_cleared(api: Api, field: str) -> None:
    first, second, empty = VALUES[field]
    made = await api.call("customers.create", {field: first})
    updated = await api.call("customers.update", made.id, {field: second})
    read = await api.call("customers.retrieve", made.id)
    cleared = await api.call("customers.update", made.id, {field: ""})
    read_again = await api.call("customers.retrieve", made.id)

    answers = [shown(each, field) for each in (made, updated, read, cleared, read_again)]
    assert answers == [first, second, second, empty, empty]


async def test_all_fields_are_updated_and_cleared_at_once(api: Api) -> None:
    made = await api.call("customers.create")

    updated = await api.call("customers.update", made.id, {field: second for field, (_, second, _) in VALUES.items()})
    cleared = await api.call("customers.update", made.id, dict.fromkeys(VALUES, ""))

    for field, (_, second, empty) in VALUES.items():
        assert (shown(updated, field), shown(cleared, field)) == (second, empty)


def shown(customer: stripe.Customer, field: str) -> Any:
    """Return a field of a customer in plain Python, without the parts of an address that are null."""
    value = json.loads(str(customer))[field]
    if field == "address" and value is not None:
        return {part: text for part, text in value.items() if text is not None}
    return value


async def test_raw_request_of_the_sdk_has_the_same_effect(api: Api, simulator: StripeSimulator) -> None:
    arguments: Any = {"metadata": {"autumn_id": "ann"}, "idempotency_key": "autumn:create:1"}
    if api.is_async:
        made = await api.client.raw_request_async("post", "/v1/customers", **arguments)
    else:
        made = await asyncio.to_thread(api.client.raw_request, "post", "/v1/customers", **arguments)
    assert simulator.customers[made.data["id"]]["metadata"] == {"autumn_id": "ann"}
    assert simulator.calls[-1].idempotency_key == "autumn:create:1"


@pytest.mark.parametrize("email", ["ann+plus@example.com", "a%26b&c=d#e@example.com", "ü'x@exämple.com"])
async def test_address_with_any_letters_arrives_unchanged(api: Api, email: str) -> None:
    made = await api.call("customers.create", {"email": email})
    assert made.email == email
    assert [each.id for each in (await api.call("customers.list", {"email": email})).data] == [made.id]
    quoted = email.replace("'", r"\'")
    assert (await api.call("customers.search", {"query": f"email:'{quoted}'"})).data[0].id == made.id


async def test_pages_are_read_to_the_end(api: Api, simulator: StripeSimulator) -> None:
    seeded = [simulator.seed_customer(created=second, name="Ann")["id"] for second in range(7)]
    listed = await api.walked(await api.call("customers.list", {"limit": 3}))
    found = await api.walked(await api.call("customers.search", {"query": "name:'ann'", "limit": 3}))
    assert [each.id for each in listed] == [each.id for each in found] == seeded[::-1]


async def test_page_before_another_is_listed(api: Api, simulator: StripeSimulator) -> None:
    seeded = [simulator.seed_customer(created=second)["id"] for second in range(4)]
    page = await api.call("customers.list", {"ending_before": seeded[0], "limit": 2})
    assert ([each.id for each in page.data], page.has_more) == ([seeded[2], seeded[1]], True)


async def test_deleted_customer_is_retrieved_without_an_email(api: Api, simulator: StripeSimulator) -> None:
    gone = simulator.seed_customer(deleted=True)
    retrieved = await api.call("customers.retrieve", gone["id"])
    assert retrieved.deleted
    assert not hasattr(retrieved, "email")


async def test_payment_intent_keeps_its_receipt_email(api: Api) -> None:
    made = await api.call("payment_intents.create", {"amount": 500, "currency": "usd"})
    assert (await api.call("payment_intents.update", made.id, {"receipt_email": "ann@example.com"})).receipt_email
    assert (await api.call("payment_intents.update", made.id, {"receipt_email": ""})).receipt_email is None
    listed = await api.call("payment_intents.list", {"created": {"gte": made.created}})
    assert [made.id] == [each.id for each in listed.data]


async def test_payment_intent_comes_with_its_charge(api: Api, simulator: StripeSimulator) -> None:
    seeded = simulator.seed_payment_intent(status="succeeded", created=100, succeeded_at=160)
    retrieved = await api.call("payment_intents.retrieve", seeded["id"], {"expand": ["latest_charge"]})
    (listed,) = (await api.call("payment_intents.list", {"expand": ["data.latest_charge"]})).data
    for charge in (retrieved.latest_charge, listed.latest_charge):
        assert isinstance(charge, stripe.Charge)
        assert (charge.id, charge.created) == (seeded["latest_charge"], 160)
    with pytest.raises(stripe.InvalidRequestError, match=r"cannot be expanded \(amount\)"):
        await api.call("payment_intents.retrieve", seeded["id"], {"expand": ["amount"]})


async def test_charges_are_listed_and_retrieved(api: Api, simulator: StripeSimulator) -> None:
    ann = simulator.seed_customer()["id"]
    intents = [simulator.seed_payment_intent(status="succeeded", customer=who, created=1) for who in (ann, None)]
    listed = await api.walked(await api.call("charges.list", {"limit": 1}))
    assert {each.id for each in listed} == {intent["latest_charge"] for intent in intents}
    (of_ann,) = (await api.call("charges.list", {"customer": ann})).data
    (of_intent,) = (await api.call("charges.list", {"payment_intent": intents[0]["id"]})).data
    retrieved = await api.call("charges.retrieve", of_ann.id)
    assert of_ann.id == of_intent.id == retrieved.id
    assert (retrieved.payment_intent, retrieved.paid) == (intents[0]["id"], True)
    with pytest.raises(stripe.InvalidRequestError, match="No such charge: 'ch_none'"):
        await api.call("charges.retrieve", "ch_none")


async def test_each_endpoint_answers_its_method_of_the_sdk(api: Api, simulator: StripeSimulator) -> None:
    intent = simulator.begin_payment(status="succeeded")
    ids = {
        "customers": simulator.seed_customer(name="Ann")["id"],
        "payment_intents": intent["id"],
        "charges": intent["latest_charge"],
        "events": simulator.events.made[0]["id"],
    }
    for endpoint in ENDPOINTS:
        method, params = SDK_CALLS[endpoint.name]
        target = [ids[method.partition(".")[0]]] if "{id}" in endpoint.path else []
        await api.call(method, *target, params)

    assert [(call.endpoint, call.status) for call in simulator.calls] == [(each.name, 200) for each in ENDPOINTS]
    assert SDK_CALLS.keys() == {endpoint.name for endpoint in ENDPOINTS}


@pytest.mark.parametrize(
    ("resource", "filters"),
    [("subscriptions", {"status": "all"}), ("subscription_schedules", {"scheduled": True})],
)
async def test_subscriptions_and_their_schedules_are_listed(
    api: Api, simulator: StripeSimulator, resource: str, filters: dict[str, Any]
) -> None:
    ann = simulator.seed_customer()["id"]
    for params in ({}, {"customer": ann, "limit": 100, **filters}):
        listed = await api.call(f"{resource}.list", params)
        assert (listed.object, listed.url, listed.has_more) == ("list", f"/v1/{resource}", False)
        assert await api.walked(listed) == []
    with pytest.raises(stripe.InvalidRequestError, match="No such customer: 'cus_none'"):
        await api.call(f"{resource}.list", {"customer": "cus_none"})


async def test_account_of_the_key_is_retrieved(api: Api, simulator: StripeSimulator) -> None:
    account = await api.call("accounts.retrieve_current")
    assert isinstance(account, stripe.Account)
    assert (account.id, account.country, account.default_currency) == (simulator.account.id, "US", "usd")


@pytest.mark.parametrize("name", ["update", "retrieve", "delete"])
async def test_missing_customer_is_resource_missing(api: Api, name: str) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="No such customer: 'cus_none'") as raised:
        await api.call(f"customers.{name}", "cus_none")
    assert (raised.value.http_status, raised.value.code) == (404, "resource_missing")


async def test_deleted_customer_cannot_be_updated(api: Api, simulator: StripeSimulator) -> None:
    gone = simulator.seed_customer(deleted=True)
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        await api.call("customers.update", gone["id"], {"name": "Ann"})


@pytest.mark.parametrize(
    ("params", "param", "code"),
    [
        ({"email": "foo@com"}, "email", "email_invalid"),
        ({"name": "x" * 257}, "name", "parameter_invalid_string_length"),
        ({"nickname": "x"}, "nickname", "parameter_unknown"),
        ({"tax_exempt": "perhaps"}, "tax_exempt", "parameter_invalid"),
        ({"address": {"planet": "Earth"}}, "address[planet]", "parameter_unknown"),
    ],
    ids=str,
)
async def test_wrong_parameter_is_named(api: Api, params: Any, param: str, code: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as raised:
        await api.call("customers.create", params)
    assert (raised.value.http_status, raised.value.param, raised.value.code) == (400, param, code)


async def test_code_of_a_rate_limit_is_only_in_its_error(api: Api, simulator: StripeSimulator) -> None:
    simulator.endpoint_requests_per_second = 0
    with pytest.raises(stripe.RateLimitError) as raised:
        await api.call("customers.list")
    error = raised.value
    assert error.code is None
    assert error.error is not None
    assert error.error.code == "rate_limit"
    assert error.headers is not None
    assert error.headers["Stripe-Rate-Limited-Reason"] == "endpoint-rate"
    assert "Retry-After" not in error.headers


async def test_key_replays_the_first_answer(api: Api, simulator: StripeSimulator) -> None:
    options = {"idempotency_key": "autumn:1"}
    first = await api.call("customers.create", {"name": "A"}, options)
    second = await api.call("customers.create", {"name": "A"}, options)
    assert first.id == second.id
    assert len(simulator.customers) == 1
    assert second.last_response.headers["Idempotent-Replayed"] == "true"


async def test_key_with_other_parameters_is_an_idempotency_error(api: Api) -> None:
    await api.call("customers.create", {"name": "A"}, {"idempotency_key": "autumn:1"})
    with pytest.raises(stripe.IdempotencyError):
        await api.call("customers.create", {"name": "B"}, {"idempotency_key": "autumn:1"})


async def test_wrong_key_is_an_authentication_error(service: Service) -> None:
    with pytest.raises(stripe.AuthenticationError, match="Invalid API Key"):
        await service.connect("sk_test_another_account").call("customers.list")


async def test_missing_permission_is_named_in_a_permission_error(service: Service) -> None:
    service.simulator.missing_permissions.add("rak_customer_write")
    restricted = service.connect(service.simulator.restricted_key)
    await restricted.call("customers.list")
    with pytest.raises(stripe.PermissionError, match="rak_customer_write"):
        await restricted.call("customers.create", {})


async def test_missing_permission_for_account_names_account(service: Service) -> None:
    service.simulator.missing_permissions.add("rak_accounts_kyc_id_numbers_read")
    restricted = service.connect(service.simulator.restricted_key)
    with pytest.raises(stripe.PermissionError, match=f"for this endpoint on account '{service.simulator.account.id}'"):
        await restricted.call("accounts.retrieve_current")


@pytest.mark.parametrize("kind", ["500", "503", "garbage"])
async def test_server_error_and_invalid_json_are_api_errors(api: Api, simulator: StripeSimulator, kind: Any) -> None:
    simulator.switches.add(Fault(kind))
    with pytest.raises(stripe.APIError) as raised:
        await api.call("customers.list")
    assert raised.value.http_status == (200 if kind == "garbage" else int(kind))


@pytest.mark.parametrize("kind", ["cut", "lost"])
async def test_cut_connection_is_a_connection_error(api: Api, simulator: StripeSimulator, kind: Any) -> None:
    simulator.switches.add(Fault(kind))
    with pytest.raises(stripe.APIConnectionError):
        await api.call("customers.create", {"name": "Ann"})
    assert len(simulator.customers) == (1 if kind == "lost" else 0)


async def test_write_may_happen_after_a_time_out(service: Service) -> None:
    simulator = service.simulator
    simulator.switches.add(Fault("hang", seconds=FOR_EVER_SECONDS, times=1))
    with pytest.raises(stripe.APIConnectionError):
        await service.connect(timeout=READ_SECONDS).call("customers.create", {"name": "Ann"})
    assert simulator.switches.fired == {"hang": 1}
    assert not simulator.customers

    simulator.switches.release()

    async def written() -> bool:
        return len(simulator.customers) == 1

    await wait_until(written)


async def test_sdk_retries_with_the_same_key(service: Service) -> None:
    simulator = service.simulator
    simulator.switches.add(Fault("lost", times=1))
    made = await service.connect(retries=2).call("customers.create", {"name": "Ann"})
    assert list(simulator.customers) == [made.id]
    assert len({call.idempotency_key for call in simulator.calls}) == 1
