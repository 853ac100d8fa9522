"""The dashboard of the simulated Stripe: its page, and the edits that it makes."""

import re
from html import unescape
from typing import Any

import pytest

from sandbox.stripe.server import StripeSimulator
from tests.support.stripe_client import Answer, Client

PATH = "/_sandbox/dashboard"


def ann(simulator: StripeSimulator, **fields: Any) -> str:
    return str(
        simulator.seed_customer(**{"name": "Ann", "metadata": {"autumn_id": "ann", "plan": "pro"}, **fields})["id"]
    )


async def page(client: Client) -> str:
    answer = await client.send("GET", PATH, headers={"Authorization": ""})
    assert answer.status == 200
    return str(answer.body)


async def send(client: Client, path: str, **form: str) -> Answer:
    return await client.send("POST", f"{PATH}/customers/{path}", data=form, allow_redirects=False)


async def test_page_lists_customers_with_their_payments(client: Client, simulator: StripeSimulator) -> None:
    customer, gone = ann(simulator, name='<b>"Ann\'s"</b>'), simulator.seed_customer(deleted=True)["id"]
    simulator.begin_payment(customer=customer, status="processing", receipt_email="ann@example.com")
    shown = await page(client)
    assert gone not in shown
    assert "<b>" not in shown
    assert dict(re.findall(r"name='([^']+)' value='([^']*)'", shown)).keys() == {"name", "email", "metadata[autumn_id]"}
    for text in (customer, '<b>"Ann\'s"</b>', "plan=pro", "processing, ann@example.com"):
        assert text in unescape(shown)
    assert "script" not in shown


async def test_saved_form_edits_like_a_person(client: Client, simulator: StripeSimulator) -> None:
    customer = ann(simulator, email="ann@example.com")
    saved = await send(client, customer, name="Anna", email="", **{"metadata[autumn_id]": "bob"})
    assert (saved.status, saved.headers["Location"]) == (303, PATH)
    edited = simulator.customers[customer]
    assert (edited["name"], edited["email"]) == ("Anna", None)
    assert edited["metadata"] == {"autumn_id": "bob", "plan": "pro"}
    (event,) = simulator.events.made
    assert event["type"] == "customer.updated"
    assert event["request"]["id"]
    assert event["request"]["idempotency_key"] is None


async def test_unchanged_form_makes_no_event(client: Client, simulator: StripeSimulator) -> None:
    customer = ann(simulator)
    await send(client, customer, name="Ann", email="", **{"metadata[autumn_id]": "ann"})
    assert simulator.events.made == []


async def test_customer_is_deleted(client: Client, simulator: StripeSimulator) -> None:
    customer = ann(simulator)
    assert (await send(client, f"{customer}/delete")).status == 303
    assert simulator.customers[customer]["deleted"]
    assert [event["type"] for event in simulator.events.made] == ["customer.deleted"]


async def test_payment_begins(client: Client, simulator: StripeSimulator) -> None:
    customer = ann(simulator)
    assert (await send(client, f"{customer}/payments")).status == 303
    more = {"amount": "700", "status": "succeeded", "receipt_email": "ann@example.com", "expand[]": "latest_charge"}
    assert (await send(client, f"{customer}/payments", **more)).status == 303
    begun = [
        (intent["amount"], intent["status"], intent["receipt_email"]) for intent in simulator.payment_intents.values()
    ]
    assert begun == [(1000, "requires_payment_method", None), (700, "succeeded", "ann@example.com")]
    assert {intent["customer"] for intent in simulator.payment_intents.values()} == {customer}
    assert {event["request"]["idempotency_key"] for event in simulator.events.made} == {None}
    assert all(event["request"]["id"] for event in simulator.events.made)


@pytest.mark.parametrize(
    ("path", "form", "status", "message"),
    [
        ("{}", {"email": "no address"}, 400, "Invalid email address"),
        ("{}", {"colour": "red"}, 400, "unknown parameter: colour"),
        ("{}", {"customer_id": "cus_other"}, 400, "unknown parameter: customer_id"),
        ("cus_none", {"name": "Ann"}, 404, "No such customer"),
        ("cus_none/delete", {}, 404, "No such customer"),
        ("cus_none/payments", {}, 400, "No such customer"),
        ("{}/payments", {"status": "canceled"}, 400, "Invalid status"),
        ("{}/payments", {"amount": "much"}, 400, "Invalid integer"),
        ("{}/payments", {"expand[]": "id"}, 400, "cannot be expanded"),
    ],
)
async def test_wrong_form_is_refused(
    client: Client, simulator: StripeSimulator, path: str, form: dict[str, str], status: int, message: str
) -> None:
    customer = ann(simulator)
    refused = await send(client, path.format(customer), **form)
    assert refused.status == status
    assert message in refused.body
    assert (simulator.events.made, simulator.payment_intents) == ([], {})
