"""The signed webhooks of the simulated Stripe, checked by Stripe's own SDK."""

import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import stripe
from aiohttp import web

from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator
from sandbox.stripe.webhooks import signature

SECRET = "whsec_contract"
TOLERANCE_SECONDS = 300
"""The maximum age of a delivery in Stripe's SDK if the caller gives no tolerance."""
MARGIN_SECONDS = 10
Delivery = tuple[bytes, str]


class Endpoint:
    """A webhook endpoint that keeps its deliveries, and can refuse the first of them."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.refusals = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/", self._receive)
        return app

    async def _receive(self, request: web.Request) -> web.Response:
        self.deliveries.append((await request.read(), request.headers["Stripe-Signature"]))
        self.refusals -= 1
        return web.Response(status=500 if self.refusals >= 0 else 200)


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[tuple[StripeSimulator, Endpoint]]:
    simulator, endpoint = StripeSimulator(), Endpoint()
    simulator.webhooks.secret = SECRET
    async with serving(endpoint.app()) as url, serving(simulator.app()):
        simulator.webhooks.url = url
        yield simulator, endpoint


async def test_each_event_is_constructed_from_its_delivery(endpoint: tuple[StripeSimulator, Endpoint]) -> None:
    simulator, receiver = endpoint
    customer = simulator.seed_customer(name="Ann")["id"]
    simulator.edit(customer, name="Bea", email="bea@example.com")
    simulator.delete(customer)
    await simulator.webhooks.settled()

    events = [stripe.Webhook.construct_event(*delivery, SECRET) for delivery in receiver.deliveries]

    by_type = {event.type: event for event in events}
    assert by_type.keys() == {"customer.updated", "customer.deleted"}
    updated = by_type["customer.updated"]
    assert (updated.data.object["id"], updated.data.object["name"]) == (customer, "Bea")
    assert json.loads(str(updated.data.previous_attributes)) == {"name": "Ann", "email": None}
    assert all(isinstance(event, stripe.Event) for event in events)


async def test_client_constructs_the_same_event(endpoint: tuple[StripeSimulator, Endpoint]) -> None:
    simulator, receiver = endpoint
    simulator.edit(simulator.seed_customer()["id"], name="Ann")
    await simulator.webhooks.settled()

    event = stripe.StripeClient(simulator.key).construct_event(*receiver.deliveries[0], SECRET)

    assert event.id == simulator.webhooks.events[0]["id"]


@pytest.mark.parametrize("fault", ["secret", "body"])
async def test_wrong_secret_and_changed_body_are_refused(
    endpoint: tuple[StripeSimulator, Endpoint], fault: str
) -> None:
    simulator, receiver = endpoint
    simulator.edit(simulator.seed_customer()["id"], name="Ann")
    await simulator.webhooks.settled()
    (body, signed), secret = receiver.deliveries[0], SECRET
    if fault == "secret":
        secret = "whsec_other"
    else:
        body = body.replace(b"Ann", b"Eve")

    with pytest.raises(stripe.SignatureVerificationError, match="No signatures found matching"):
        stripe.Webhook.construct_event(body, signed, secret)


async def test_old_delivery_is_refused_at_the_default_tolerance(endpoint: tuple[StripeSimulator, Endpoint]) -> None:
    body = await body_of_a_delivery(endpoint)
    signed = signature(body, SECRET, int(time.time()) - TOLERANCE_SECONDS - 1)

    with pytest.raises(stripe.SignatureVerificationError, match="outside the tolerance zone"):
        stripe.Webhook.construct_event(body, signed, SECRET)


async def test_delivery_just_inside_the_default_tolerance_is_accepted(
    endpoint: tuple[StripeSimulator, Endpoint],
) -> None:
    body = await body_of_a_delivery(endpoint)
    # The margin is only for a machine that stalls between these two lines.
    signed = signature(body, SECRET, int(time.time()) - TOLERANCE_SECONDS + MARGIN_SECONDS)
    event = stripe.Webhook.construct_event(body, signed, SECRET)

    assert event.type == "customer.updated"


async def body_of_a_delivery(endpoint: tuple[StripeSimulator, Endpoint]) -> bytes:
    """Return the simulator's delivery about an edited customer."""
    simulator, receiver = endpoint
    simulator.edit(simulator.seed_customer()["id"], name="Ann")
    await simulator.webhooks.settled()
    ((body, _),) = receiver.deliveries
    return body


async def test_each_try_of_a_delivery_is_signed(endpoint: tuple[StripeSimulator, Endpoint]) -> None:
    simulator, receiver = endpoint
    receiver.refusals = 1
    simulator.webhooks.retry_pause_seconds = 0
    simulator.edit(simulator.seed_customer()["id"], name="Ann")
    await simulator.webhooks.settled()

    (first, _), (second, _) = receiver.deliveries
    assert first == second
    for delivery in receiver.deliveries:
        assert stripe.Webhook.construct_event(*delivery, SECRET).created <= time.time()
