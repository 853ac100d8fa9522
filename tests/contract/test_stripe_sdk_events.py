"""The events of the simulated Stripe, read by Stripe's own SDK: listed by page, and constructed from a delivery."""

import json
from typing import Any

import pytest
import stripe
from aiohttp import web

from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator
from tests.contract.sdk import Api, Service

NEW, OLD = "whsec_new", "whsec_old"
TYPES = ["payment_intent.created", "charge.succeeded", "invoice.paid"]


def made(simulator: StripeSimulator) -> list[str]:
    """Make events of several types. Return the ids of all, the newest first."""
    simulator.requests_per_second = simulator.endpoint_requests_per_second = None
    customer = simulator.seed_customer(email="ann@example.com")["id"]
    simulator.pay_invoice(simulator.finalize_invoice(customer)["id"])
    for name in ("Ann", "Anna", "Anne"):
        simulator.edit(customer, name=name)
    return [event["id"] for event in reversed(simulator.events.made)]


async def test_all_pages_are_read(api: Api, simulator: StripeSimulator) -> None:
    ids = made(simulator)
    listed = await api.walked(await api.call("events.list", {"limit": 3}))
    assert [event.id for event in listed] == ids
    assert all(isinstance(event, stripe.Event) for event in listed)
    assert len([call for call in simulator.calls if call.endpoint == "events.list"]) == 3


async def test_types_and_created_are_filtered(api: Api, simulator: StripeSimulator) -> None:
    ids = made(simulator)
    since = simulator.events.made[0]["created"]

    async def types(**params: Any) -> list[str]:
        return [event.type for event in await api.walked(await api.call("events.list", {"limit": 2, **params}))]

    assert await types(type="customer.*") == ["customer.updated"] * 3
    assert await types(types=TYPES) == ["invoice.paid", "charge.succeeded", "payment_intent.created"]
    assert len(await types(created={"gte": since})) == len(ids)
    assert await types(created={"lt": since}) == []


async def test_event_has_what_caused_it(api: Api, simulator: StripeSimulator) -> None:
    customer = await api.call("customers.create", {"name": "Ann"}, {"idempotency_key": "autumn:1"})
    (event,) = (await api.call("events.list")).data
    assert (event.type, event.data.object["id"]) == ("customer.created", customer.id)
    assert event.request.idempotency_key == "autumn:1"
    assert event.request.id == customer.last_response.request_id
    simulator.finalize_invoice(customer.id)
    finalized = (await api.call("events.list", {"type": "invoice.finalized"})).data[0]
    assert (finalized.request.id, finalized.request.idempotency_key) == (None, None)
    assert json.loads(str(await api.call("events.retrieve", event.id))) == json.loads(str(event))


async def test_sdk_sends_key_of_its_own_with_each_write(api: Api) -> None:
    await api.call("customers.create", {"name": "Ann"})
    (event,) = (await api.call("events.list")).data
    assert event.request.idempotency_key


async def test_cursor_that_aged_out_is_refused(api: Api, simulator: StripeSimulator) -> None:
    made(simulator)
    with pytest.raises(stripe.InvalidRequestError) as raised:
        await api.call("events.list", {"starting_after": "evt_aged_out"})
    assert (raised.value.http_status, raised.value.code) == (400, "resource_missing")


async def test_missing_permission_is_named(service: Service) -> None:
    service.simulator.missing_permissions.add("rak_event_read")
    with pytest.raises(stripe.PermissionError, match="rak_event_read"):
        await service.connect(service.simulator.restricted_key).call("events.list")


@pytest.mark.parametrize("secret", [NEW, OLD])
async def test_delivery_is_constructed_with_each_secret_while_one_is_rolled(
    simulator: StripeSimulator, secret: str
) -> None:
    deliveries: list[tuple[bytes, str]] = []

    async def receive(request: web.Request) -> web.Response:
        deliveries.append((await request.read(), request.headers["Stripe-Signature"]))
        return web.Response()

    app = web.Application()
    app.router.add_post("/stripe/webhook", receive)
    async with serving(app) as url:
        endpoint = simulator.webhooks.add_endpoint(f"{url}/stripe/webhook", secret=NEW, types=["charge.*"])
        endpoint.old_secrets = [OLD]
        simulator.begin_payment(status="succeeded")
        await endpoint.settled()
    event = stripe.Webhook.construct_event(*deliveries[0], secret)
    assert (event.type, event.id) == ("charge.succeeded", endpoint.events[0]["id"])
    assert json.loads(str(event)) == endpoint.events[0]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(*deliveries[0], "whsec_other")
