"""The events of payments and invoices in the simulated Stripe, and what each names as its cause."""

from typing import Any

import pytest

from sandbox.stripe.errors import StripeError
from sandbox.stripe.server import StripeSimulator
from tests.support.stripe_client import Client, Clock

BY_STRIPE = {"id": None, "idempotency_key": None}


@pytest.fixture
def live(clock: Clock) -> StripeSimulator:
    return StripeSimulator(key="sk_live_sandbox", livemode=True, clock=clock)


def ann(simulator: StripeSimulator, **fields: Any) -> str:
    return str(simulator.seed_customer(email="ann@example.com", **fields)["id"])


def types(simulator: StripeSimulator) -> list[str]:
    return [event["type"] for event in simulator.events.made]


def causes(simulator: StripeSimulator) -> list[dict[str, str | None]]:
    return [event["request"] for event in simulator.events.made]


# Payments


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("requires_payment_method", []),
        ("requires_action", ["payment_intent.requires_action"]),
        ("processing", ["payment_intent.processing"]),
        ("succeeded", ["charge.succeeded", "payment_intent.succeeded"]),
    ],
)
async def test_payment_begins_with_events_of_its_state(
    client: Client, simulator: StripeSimulator, status: str, expected: list[str]
) -> None:
    begun = simulator.begin_payment(customer=ann(simulator), amount=700, status=status)
    assert (begun["status"], begun["amount"]) == (status, 700)
    assert (await client.get(f"/v1/payment_intents/{begun['id']}")).body == begun
    assert types(simulator) == ["payment_intent.created", *expected]
    first, last = (simulator.events.made[place]["data"] for place in (0, -1))
    as_begun = {"status": "requires_payment_method", "latest_charge": None, "amount_received": 0}
    assert first == {"object": {**begun, **as_begun}}
    assert last == {"object": begun}


async def test_payment_of_request_names_it(client: Client, simulator: StripeSimulator) -> None:
    sent = {"amount": "500", "currency": "usd"}
    made = await client.post("/v1/payment_intents", "app:1", **sent)
    await client.post("/v1/payment_intents", "app:1", **sent)
    (event,) = simulator.events.made
    assert (event["type"], event["data"]) == ("payment_intent.created", {"object": made.body})
    assert event["request"] == {"id": made.headers["Request-Id"], "idempotency_key": "app:1"}


def test_later_states_are_of_stripe_itself(simulator: StripeSimulator) -> None:
    intent = simulator.seed_payment_intent(customer=ann(simulator))["id"]
    simulator.advance(intent, "requires_action")
    simulator.advance(intent, "processing")
    simulator.advance(intent, "processing")
    simulator.succeed(intent)
    simulator.succeed(intent)
    assert simulator.advance(intent, "processing")["status"] == "succeeded"
    assert types(simulator) == [
        "payment_intent.requires_action",
        "payment_intent.processing",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]
    assert causes(simulator) == [BY_STRIPE] * 4


def test_cause_is_app_dashboard_or_stripe(simulator: StripeSimulator) -> None:
    customer = ann(simulator)
    simulator.begin_payment(customer=customer, by="app")
    simulator.begin_payment(customer=customer, by="app")
    simulator.begin_payment(customer=customer, by="dashboard")
    simulator.begin_payment(customer=customer, by="stripe")
    simulator.edit(customer, name="Anna")
    app, again, dashboard, stripe, edit = causes(simulator)
    assert app["idempotency_key"]
    assert again["idempotency_key"] not in (None, app["idempotency_key"])
    assert dashboard["idempotency_key"] is edit["idempotency_key"] is None
    assert stripe == BY_STRIPE
    assert len({app["id"], again["id"], dashboard["id"], edit["id"], None}) == 5


def test_wrong_payment_begins_not_at_all(simulator: StripeSimulator) -> None:
    intent = simulator.seed_payment_intent()["id"]
    with pytest.raises(ValueError, match="canceled"):
        simulator.begin_payment(status="canceled")
    with pytest.raises(ValueError, match="canceled"):
        simulator.advance(intent, "canceled")
    with pytest.raises(ValueError, match="colour"):
        simulator.begin_payment(colour="red")
    with pytest.raises(StripeError, match="No such customer"):
        simulator.begin_payment(customer="cus_none")
    assert (list(simulator.payment_intents), simulator.events.made) == ([intent], [])


async def test_update_of_payment_makes_no_event(client: Client, simulator: StripeSimulator) -> None:
    intent = simulator.seed_payment_intent()["id"]
    await client.post(f"/v1/payment_intents/{intent}", receipt_email="ann@example.com")
    assert simulator.events.made == []


# Receipts


def test_mailed_receipt_has_number_and_event(live: StripeSimulator) -> None:
    begun = live.begin_payment(customer=ann(live), receipt_email="ann@example.com")
    live.succeed(begun["id"])
    (charge,) = live.charges.values()
    assert charge["receipt_number"]
    charged, _, updated = live.events.made[1:]
    assert charged["data"]["object"] == {**charge, "receipt_number": None}
    assert updated["type"] == "charge.updated"
    assert updated["data"] == {"object": charge, "previous_attributes": {"receipt_number": None}}
    assert updated["request"] == BY_STRIPE


def test_receipt_after_success_has_event_of_its_own(live: StripeSimulator) -> None:
    intent = live.seed_payment_intent(status="succeeded")
    numbers = []
    for address in ("ann@example.com", "bob@example.com", ""):
        live.account.payments.update(intent["id"], {"receipt_email": address})
        numbers.append(live.charges[intent["latest_charge"]]["receipt_number"])
    assert numbers[0]
    assert set(numbers) == {numbers[0]}
    assert [event["data"]["previous_attributes"] for event in live.events.made] == [
        {"receipt_email": None, "receipt_number": None},
        {"receipt_email": "ann@example.com"},
    ]


def test_test_mode_mails_nothing_to_customer(simulator: StripeSimulator) -> None:
    simulator.begin_payment(status="succeeded", receipt_email="ann@example.com")
    (charge,) = simulator.charges.values()
    assert charge["receipt_number"] is None
    assert "charge.updated" not in types(simulator)


# Invoices


def test_finalized_invoice_keeps_email_of_that_moment(simulator: StripeSimulator) -> None:
    customer = simulator.seed_customer()["id"]
    without = simulator.finalize_invoice(customer, amount=700)
    simulator.edit(customer, email="ann@example.com")
    with_ = simulator.finalize_invoice(customer)
    assert (without["customer_email"], with_["customer_email"]) == (None, "ann@example.com")
    assert simulator.account.invoices.stored[without["id"]] == without
    (event, *_) = simulator.events.made
    assert (event["type"], event["data"], event["request"]) == ("invoice.finalized", {"object": without}, BY_STRIPE)


def test_invoice_is_paid_by_payment_of_its_own(simulator: StripeSimulator) -> None:
    invoice = simulator.finalize_invoice(ann(simulator), amount=700)["id"]
    (intent,) = simulator.payment_intents.values()
    assert (intent["amount"], intent["status"]) == (700, "requires_payment_method")
    paid = simulator.pay_invoice(invoice)
    assert simulator.pay_invoice(invoice) == paid
    assert (paid["status"], paid["amount_paid"], paid["amount_remaining"]) == ("paid", 700, 0)
    assert simulator.payment_intents[intent["id"]]["status"] == "succeeded"
    assert types(simulator) == [
        "invoice.finalized",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.paid",
    ]
    assert causes(simulator) == [BY_STRIPE] * 5


def test_invoice_needs_existing_customer(simulator: StripeSimulator) -> None:
    with pytest.raises(StripeError, match="No such customer"):
        simulator.finalize_invoice("cus_none")
    assert simulator.events.made == []
