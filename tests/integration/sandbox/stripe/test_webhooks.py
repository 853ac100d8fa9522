"""The events of the simulated Stripe, and their delivery to an endpoint."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from sandbox.faults import Fault
from sandbox.serve import serving
from sandbox.stripe.errors import StripeError
from sandbox.stripe.server import StripeSimulator
from sandbox.stripe.webhooks import DeliveryError
from tests.support.stripe_client import Client, Clock


@dataclass
class Endpoint:
    """An app that receives webhooks. It keeps them, and answers with the given statuses first and then 200."""

    received: list[Any] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/stripe", self._receive)
        return app

    async def _receive(self, request: web.Request) -> web.Response:
        self.received.append(json.loads(await request.read()))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)


@pytest_asyncio.fixture
async def endpoint(simulator: StripeSimulator) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    simulator.webhooks.retry_pause_seconds = 0
    async with serving(endpoint.app()) as url:
        simulator.webhooks.url = f"{url}/stripe"
        yield endpoint


def ann(simulator: StripeSimulator, **fields: Any) -> str:
    return str(simulator.seed_customer(name="Ann", email="ann@example.com", **fields)["id"])


# Writes that make an event, and the event's content


async def test_update_event_has_whole_customer_and_what_changed(
    client: Client, simulator: StripeSimulator, clock: Clock
) -> None:
    path = f"/v1/customers/{ann(simulator, metadata={'a': '1', 'b': '2'})}"
    answer = await client.post(path, "autumn:1", name="Anna", **{"metadata[a]": "", "metadata[c]": "3"})
    assert simulator.webhooks.events == [
        {
            "id": "evt_000000000000000000000000",
            "object": "event",
            "api_version": "2025-10-29.clover",
            "created": int(clock.now),
            "data": {
                "object": answer.body,
                "previous_attributes": {"name": "Ann", "metadata": {"a": "1", "c": None}},
            },
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": answer.headers["Request-Id"], "idempotency_key": "autumn:1"},
            "type": "customer.updated",
        }
    ]


async def test_create_and_delete_make_events(client: Client, simulator: StripeSimulator) -> None:
    made = (await client.post("/v1/customers", name="Ann")).body
    await client.send("DELETE", f"/v1/customers/{made['id']}")
    events = simulator.webhooks.events
    assert [(event["type"], event["data"]) for event in events] == [
        ("customer.created", {"object": made}),
        ("customer.deleted", {"object": made}),
    ]
    assert {event["request"]["idempotency_key"] for event in events} == {None}


async def test_event_keeps_customer_as_it_was(client: Client, simulator: StripeSimulator) -> None:
    path = f"/v1/customers/{ann(simulator)}"
    await client.post(path, name="First", **{"metadata[a]": "1"})
    await client.post(path, name="Second", **{"metadata[a]": "2"})
    first, second = (event["data"]["object"] for event in simulator.webhooks.events)
    assert (first["name"], first["metadata"]) == ("First", {"a": "1"})
    assert (second["name"], second["metadata"]) == ("Second", {"a": "2"})


async def test_update_without_change_makes_event_only_if_enabled(client: Client, simulator: StripeSimulator) -> None:
    path = f"/v1/customers/{ann(simulator)}"
    await client.post(path, name="Ann")
    assert simulator.webhooks.events == []
    simulator.webhooks.without_change = True
    await client.post(path, name="Ann")
    (event,) = simulator.webhooks.events
    assert event["data"]["previous_attributes"] == {}


async def test_refusal_replay_and_seed_make_no_event(client: Client, simulator: StripeSimulator) -> None:
    path = f"/v1/customers/{ann(simulator)}"
    await client.post(path, "autumn:1", name="Anna")
    await client.post(path, "autumn:1", name="Anna")
    await client.post(path, email="not an address")
    await client.post("/v1/customers/cus_none", name="Ann")
    simulator.switches.add(Fault("500"))
    await client.post(path, name="Anne")
    assert [event["data"]["object"]["name"] for event in simulator.webhooks.events] == ["Anna"]


async def test_autumn_gets_no_event_of_payment(client: Client, simulator: StripeSimulator) -> None:
    await client.post("/v1/payment_intents", amount="500", currency="usd")
    assert [event["type"] for event in simulator.events.made] == ["payment_intent.created"]
    assert simulator.webhooks.events == []


# Edits in the dashboard


async def test_dashboard_edit_makes_event_without_key(client: Client, simulator: StripeSimulator) -> None:
    customer = ann(simulator, metadata={"a": "1"})
    edited = simulator.edit(customer, name="Anna", email="", metadata={"a": "", "b": "2"})
    assert (edited["name"], edited["email"], edited["metadata"]) == ("Anna", None, {"b": "2"})
    assert (await client.get(f"/v1/customers/{customer}")).body == edited
    (event,) = simulator.webhooks.events
    assert (event["type"], event["data"]["object"]) == ("customer.updated", edited)
    assert event["request"]["idempotency_key"] is None
    assert simulator.writes == []


async def test_dashboard_delete_makes_event(client: Client, simulator: StripeSimulator) -> None:
    customer = ann(simulator)
    assert simulator.delete(customer) == {"id": customer, "object": "customer", "deleted": True}
    assert (await client.get(f"/v1/customers/{customer}")).body["deleted"]
    assert [event["type"] for event in simulator.webhooks.events] == ["customer.deleted"]


@pytest.mark.parametrize("params", [{"email": "not an address"}, {"colour": "red"}])
def test_dashboard_edit_refuses_what_stripe_refuses(simulator: StripeSimulator, params: dict[str, Any]) -> None:
    with pytest.raises(StripeError):
        simulator.edit(ann(simulator), **params)
    with pytest.raises(StripeError, match="No such customer"):
        simulator.delete("cus_none")
    assert simulator.webhooks.events == []


# Delivery


async def test_event_is_delivered_as_recorded(client: Client, simulator: StripeSimulator, endpoint: Endpoint) -> None:
    await client.post("/v1/customers", name="Ann")
    await simulator.webhooks.settled()
    assert endpoint.received == simulator.webhooks.events
    assert endpoint.received[0]["pending_webhooks"] == 1
    assert simulator.webhooks.in_flight == 0


async def test_without_url_events_are_only_recorded(client: Client, simulator: StripeSimulator) -> None:
    simulator.webhooks.delay_seconds = None
    await client.post("/v1/customers")
    assert (len(simulator.webhooks.events), simulator.webhooks.pending, simulator.webhooks.in_flight) == (1, [], 0)
    with pytest.raises(RuntimeError, match=r"webhooks\.url"):
        await simulator.webhooks.deliver(0)


async def test_held_events_are_delivered_by_hand_in_any_order(
    client: Client, simulator: StripeSimulator, endpoint: Endpoint
) -> None:
    simulator.webhooks.delay_seconds = None
    made = [(await client.post("/v1/customers", name=name)).body["id"] for name in ("Ann", "Bob", "Cyd", "Dan")]
    first, second, third, fourth = simulator.webhooks.events
    assert simulator.webhooks.pending == [first, second, third, fourth]
    await simulator.webhooks.deliver(2)
    await simulator.webhooks.deliver(first)
    assert simulator.webhooks.pending == [second, fourth]
    await simulator.webhooks.deliver(2)
    await simulator.webhooks.deliver_all()
    assert simulator.webhooks.pending == []
    delivered = [event["data"]["object"]["id"] for event in endpoint.received]
    assert delivered == [made[place] for place in (2, 0, 2, 1, 3)]


async def test_random_delays_bring_events_out_of_order(
    client: Client, simulator: StripeSimulator, endpoint: Endpoint
) -> None:
    simulator.webhooks.random = Random(1)
    simulator.webhooks.delay_seconds = (0.0, 0.3)
    await asyncio.gather(*(client.post("/v1/customers") for _ in range(20)))
    assert simulator.webhooks.in_flight > 0
    await simulator.webhooks.settled()
    ids = [event["id"] for event in endpoint.received]
    assert sorted(ids) == [event["id"] for event in simulator.webhooks.events]
    assert ids != sorted(ids)


@pytest.mark.parametrize("delay_seconds", [(0.0, 0.0), None])
async def test_event_may_come_twice(
    client: Client, simulator: StripeSimulator, endpoint: Endpoint, delay_seconds: tuple[float, float] | None
) -> None:
    simulator.webhooks.twice = 1.0
    simulator.webhooks.delay_seconds = delay_seconds
    await client.post("/v1/customers")
    await simulator.webhooks.deliver_all()
    await simulator.webhooks.settled()
    assert endpoint.received == simulator.webhooks.events * 2
    assert simulator.webhooks.delivered == 2


async def test_refused_delivery_is_tried_again(client: Client, simulator: StripeSimulator, endpoint: Endpoint) -> None:
    endpoint.answers = [500, 400, 301]
    await client.post("/v1/customers")
    await simulator.webhooks.settled()
    assert endpoint.received == simulator.webhooks.events * 4
    assert simulator.webhooks.undelivered == []
    assert simulator.webhooks.delivered == 1


async def test_delivery_ends_after_five_tries(client: Client, simulator: StripeSimulator, endpoint: Endpoint) -> None:
    endpoint.answers = [500] * 10
    await client.post("/v1/customers")
    await simulator.webhooks.settled()
    assert len(endpoint.received) == 5
    assert simulator.webhooks.undelivered == simulator.webhooks.events
    with pytest.raises(DeliveryError, match=r"customer\.created.*answered 500"):
        await simulator.webhooks.deliver(0)


async def test_unreachable_endpoint_is_reported(client: Client, simulator: StripeSimulator) -> None:
    simulator.webhooks.url, simulator.webhooks.retry_pause_seconds = "http://127.0.0.1:1/stripe", 0
    await client.post("/v1/customers")
    await simulator.webhooks.settled()
    assert simulator.webhooks.undelivered == simulator.webhooks.events
    with pytest.raises(DeliveryError, match="no answer"):
        await simulator.webhooks.deliver(0)


async def test_deliveries_end_with_the_app(simulator: StripeSimulator, endpoint: Endpoint) -> None:
    simulator.webhooks.delay_seconds = (60.0, 60.0)
    async with serving(simulator.app()):
        simulator.edit(ann(simulator), name="Anna")
        assert simulator.webhooks.in_flight == 1
    assert (simulator.webhooks.in_flight, endpoint.received) == (0, [])


async def test_event_made_while_no_app_serves_is_held(simulator: StripeSimulator, endpoint: Endpoint) -> None:
    simulator.edit(ann(simulator), name="Anna")
    assert simulator.webhooks.pending == simulator.webhooks.events
    async with serving(simulator.app()):
        await simulator.webhooks.deliver_all()
    assert endpoint.received == simulator.webhooks.events
