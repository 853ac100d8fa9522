"""Several webhook endpoints of the simulated Stripe, each with its own types, delays, attempts and secrets."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator
from sandbox.stripe.webhooks import WebhookEndpoint, signature
from tests.support.stripe_client import Client

Received = list[tuple[str, bytes, str]]


class Receivers:
    """An app with a path for each endpoint. It answers with the given statuses first, and then 200."""

    def __init__(self) -> None:
        self.received: Received = []
        self.answers: dict[str, list[int]] = {}
        self.url = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{name}", self._receive)
        return app

    def ids(self, name: str) -> list[str]:
        return [json.loads(body)["id"] for each, body, _ in self.received if each == name]

    async def _receive(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.received.append((name, await request.read(), request.headers["Stripe-Signature"]))
        left = self.answers.get(name, [])
        return web.Response(status=left.pop(0) if left else 200)


Add = Callable[..., WebhookEndpoint]


@pytest_asyncio.fixture
async def receivers(simulator: StripeSimulator) -> AsyncIterator[Receivers]:
    receivers = Receivers()
    async with serving(receivers.app()) as url, serving(simulator.app()):
        receivers.url = url
        simulator.webhooks.url = f"{url}/autumn"
        yield receivers


@pytest.fixture
def add(simulator: StripeSimulator, receivers: Receivers) -> Add:
    def add(*types: str, name: str = "worker", secret: str = "whsec_worker") -> WebhookEndpoint:  # noqa: S107  a fake one
        endpoint = simulator.webhooks.add_endpoint(f"{receivers.url}/{name}", secret=secret, types=types)
        endpoint.retry_pause_seconds = 0
        return endpoint

    return add


async def settled(simulator: StripeSimulator) -> None:
    for endpoint in simulator.webhooks.endpoints:
        await endpoint.settled()


async def test_each_endpoint_receives_events_of_its_types(
    simulator: StripeSimulator, receivers: Receivers, add: Add
) -> None:
    worker = add("payment_intent.*", "charge.succeeded")
    customer = simulator.seed_customer()["id"]
    simulator.pay_invoice(simulator.finalize_invoice(customer)["id"])
    simulator.delete(customer)
    await settled(simulator)
    by_type = {event["type"]: event for event in simulator.events.made}
    assert [event["type"] for event in simulator.webhooks.events] == [
        "invoice.finalized",
        "invoice.paid",
        "customer.deleted",
    ]
    assert {event["type"] for event in worker.events} == by_type.keys() - {
        event["type"] for event in simulator.webhooks.events
    }
    assert sorted(receivers.ids("worker")) == [event["id"] for event in worker.events]
    assert sorted(receivers.ids("autumn")) == [event["id"] for event in simulator.webhooks.events]


async def test_event_counts_endpoints_that_get_it(simulator: StripeSimulator, add: Add) -> None:
    customer = simulator.seed_customer()["id"]
    simulator.edit(customer, name="Ann")
    add("customer.updated", name="first")
    add("customer.*", name="second").url = None
    simulator.edit(customer, name="Anna")
    simulator.begin_payment()
    assert [event["pending_webhooks"] for event in simulator.events.made] == [1, 2, 0]


async def test_delay_and_second_delivery_are_of_one_endpoint(
    simulator: StripeSimulator, receivers: Receivers, add: Add
) -> None:
    worker = add("customer.*")
    worker.delay_seconds, worker.twice = None, 1.0
    simulator.edit(simulator.seed_customer()["id"], name="Ann")
    await settled(simulator)
    (event,) = simulator.events.made
    assert (worker.pending, simulator.webhooks.pending) == ([event, event], [])
    assert (receivers.ids("worker"), receivers.ids("autumn")) == ([], [event["id"]])
    await worker.deliver_all()
    assert receivers.ids("worker") == [event["id"]] * 2
    assert (worker.delivered, simulator.webhooks.delivered) == (2, 1)


async def test_attempts_are_of_one_endpoint(simulator: StripeSimulator, receivers: Receivers, add: Add) -> None:
    patient, hasty = add("customer.*", name="patient"), add("customer.*", name="hasty")
    patient.attempts, hasty.attempts = 8, 2
    receivers.answers = {"patient": [500] * 7, "hasty": [500] * 7}
    simulator.edit(simulator.seed_customer()["id"], name="Ann")
    await settled(simulator)
    assert (len(receivers.ids("patient")), len(receivers.ids("hasty"))) == (8, 2)
    assert (patient.delivered, hasty.undelivered) == (1, simulator.events.made)


async def test_rolled_secret_signs_beside_the_new_one(
    simulator: StripeSimulator, receivers: Receivers, add: Add
) -> None:
    worker = add("customer.*", secret="whsec_new")
    worker.old_secrets = ["whsec_old"]
    simulator.edit(simulator.seed_customer()["id"], name="Ann")
    await settled(simulator)
    signed = {name: (body, header) for name, body, header in receivers.received}
    body, header = signed["worker"]
    at = int(header.partition(",")[0].removeprefix("t="))
    assert header == signature(body, "whsec_new", at, "whsec_old")
    alone = {signature(body, secret, at).partition(",")[2] for secret in ("whsec_new", "whsec_old")}
    assert set(header.split(",")[1:]) == alone
    assert signed["autumn"][1].count("v1=") == 1


async def test_all_deliveries_end_with_the_app(simulator: StripeSimulator) -> None:
    async with serving(simulator.app()):
        worker = simulator.webhooks.add_endpoint("http://127.0.0.1:1/", secret="whsec_worker", types=["customer.*"])
        worker.delay_seconds = (60.0, 60.0)
        simulator.edit(simulator.seed_customer()["id"], name="Ann")
        assert worker.in_flight == 1
    assert worker.in_flight == 0


# Over HTTP


async def test_endpoint_is_added_over_http(client: Client, simulator: StripeSimulator, receivers: Receivers) -> None:
    sent: dict[str, Any] = {"url": f"{receivers.url}/worker", "secret": "whsec_worker", "types": ["charge.*"]}
    added = await client.send("POST", "/_sandbox/webhooks", json=sent)
    assert (added.status, added.body) == (200, sent)
    simulator.begin_payment(status="succeeded")
    await settled(simulator)
    (event,) = (event for event in simulator.events.made if event["type"] == "charge.succeeded")
    assert receivers.ids("worker") == [event["id"]]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": "ftp://127.0.0.1/"}, "url"),
        ({"url": None}, "url"),
        ({"secret": ""}, "secret"),
        ({"types": "charge.*"}, "types"),
        ({"types": []}, "types"),
        ({"types": [1]}, "types"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_wrong_endpoint_is_refused(
    client: Client, simulator: StripeSimulator, change: dict[str, Any], field: str
) -> None:
    sent = {"url": "http://127.0.0.1:1/", "secret": "whsec_worker", "types": ["charge.*"], **change}
    refused = await client.send("POST", "/_sandbox/webhooks", json=sent)
    assert refused.status == 400
    assert field in refused.body["error"]
    assert simulator.webhooks.endpoints == [simulator.webhooks]
