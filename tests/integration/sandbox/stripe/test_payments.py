"""Payment intents of the simulated Stripe and the receipts that it would mail."""

import pytest

from sandbox.stripe.payments import Mail
from sandbox.stripe.server import StripeSimulator
from tests.support.stripe_client import Client, Clock

# Receipts


async def test_address_mails_when_the_payment_succeeds(client: Client, simulator: StripeSimulator) -> None:
    intent = simulator.seed_payment_intent()["id"]
    await client.post(f"/v1/payment_intents/{intent}", receipt_email="ann@example.com")
    assert not simulator.mails
    simulator.succeed(intent)
    simulator.succeed(intent)
    assert simulator.mails == [Mail(intent, "ann@example.com")]


async def test_address_taken_back_in_time_mails_nothing(client: Client, simulator: StripeSimulator) -> None:
    intent = simulator.seed_payment_intent(receipt_email="ann@example.com")["id"]
    cleared = await client.post(f"/v1/payment_intents/{intent}", receipt_email="")
    assert cleared.body["receipt_email"] is None
    simulator.succeed(intent)
    assert not simulator.mails


async def test_address_after_success_mails_at_once_and_on_each_change(
    client: Client, simulator: StripeSimulator
) -> None:
    intent = simulator.seed_payment_intent(status="succeeded")["id"]
    for address in ("ann@example.com", "ann@example.com", "bob@example.com"):
        await client.post(f"/v1/payment_intents/{intent}", receipt_email=address)
    assert [mail.address for mail in simulator.mails] == ["ann@example.com", "bob@example.com"]


async def test_address_cleared_after_success_mails_nothing(client: Client, simulator: StripeSimulator) -> None:
    intent = simulator.seed_payment_intent(status="succeeded", receipt_email="ann@example.com")["id"]
    cleared = await client.post(f"/v1/payment_intents/{intent}", receipt_email="")
    assert cleared.body["receipt_email"] is None
    assert not simulator.mails


async def test_address_set_again_after_it_was_cleared_mails_again(client: Client, simulator: StripeSimulator) -> None:
    intent = simulator.seed_payment_intent(status="succeeded")["id"]
    for address in ("ann@example.com", "", "ann@example.com"):
        await client.post(f"/v1/payment_intents/{intent}", receipt_email=address)
    assert simulator.mails == [Mail(intent, "ann@example.com")] * 2


async def test_other_change_of_a_paid_intent_mails_nothing(client: Client, simulator: StripeSimulator) -> None:
    intent = simulator.seed_payment_intent(status="succeeded", receipt_email="ann@example.com")["id"]
    await client.post(f"/v1/payment_intents/{intent}", description="Two chairs", **{"metadata[a]": "1"})
    assert not simulator.mails


# Payment intents


async def test_metadata_of_a_payment_intent_merges_and_empty_values_unset(
    client: Client, simulator: StripeSimulator
) -> None:
    path = f"/v1/payment_intents/{simulator.seed_payment_intent(metadata={'a': '1', 'b': '2'})['id']}"
    merged = await client.post(path, **{"metadata[a]": "", "metadata[c]": "3"})
    assert merged.body["metadata"] == {"b": "2", "c": "3"} == (await client.get(path)).body["metadata"]
    assert (await client.post(path, metadata="")).body["metadata"] == {}


async def test_payment_intent_needs_an_existing_customer(client: Client, simulator: StripeSimulator) -> None:
    ann = simulator.seed_customer()["id"]
    made = await client.post("/v1/payment_intents", amount="500", currency="usd", customer=ann)
    listed = await client.get("/v1/payment_intents", customer=ann)
    assert [each["id"] for each in listed.body["data"]] == [made.body["id"]]
    refused = await client.post("/v1/payment_intents", amount="500", currency="usd", customer="cus_none")
    assert (refused.status, refused.error["param"]) == (400, "customer")
    assert (await client.post("/v1/payment_intents", currency="usd")).error["code"] == "parameter_missing"


# Charges


async def test_success_creates_a_charge_of_that_moment(
    client: Client, simulator: StripeSimulator, clock: Clock
) -> None:
    ann = simulator.seed_customer()["id"]
    intent = simulator.seed_payment_intent(customer=ann, amount=700, receipt_email="ann@example.com")["id"]
    assert not simulator.charges
    clock.now += 60.5
    simulator.succeed(intent)
    simulator.succeed(intent)
    (charge,) = simulator.charges.values()
    expected = {
        "amount": 700,
        "created": int(clock.now),
        "customer": ann,
        "paid": True,
        "payment_intent": intent,
        "receipt_email": "ann@example.com",
        "status": "succeeded",
    }
    assert {name: charge[name] for name in expected} == expected
    retrieved = (await client.get(f"/v1/payment_intents/{intent}")).body
    assert (retrieved["latest_charge"], retrieved["amount_received"]) == (charge["id"], 700)


async def test_charge_names_the_address_of_its_last_receipt(client: Client, simulator: StripeSimulator) -> None:
    intent = simulator.seed_payment_intent(status="succeeded")
    addresses = []
    for address in ("ann@example.com", "bob@example.com", ""):
        await client.post(f"/v1/payment_intents/{intent['id']}", receipt_email=address)
        addresses.append(simulator.charges[intent["latest_charge"]]["receipt_email"])
    assert addresses == ["ann@example.com", "bob@example.com", "bob@example.com"]


def test_seeded_payment_is_paid_at_its_creation(simulator: StripeSimulator) -> None:
    intent = simulator.seed_payment_intent(status="succeeded", created=1_700_000_000, amount=700)
    charge = simulator.charges[intent["latest_charge"]]
    assert (charge["created"], intent["amount_received"]) == (1_700_000_000, 700)
    assert not simulator.mails


def test_seeded_payment_may_be_paid_later_with_a_known_charge(simulator: StripeSimulator) -> None:
    simulator.seed_payment_intent(
        status="succeeded", created=1_700_000_000, succeeded_at=1_700_000_090.9, latest_charge="ch_known"
    )
    assert simulator.charges["ch_known"]["created"] == 1_700_000_090


def test_only_a_paid_payment_may_have_a_moment_of_success(simulator: StripeSimulator) -> None:
    with pytest.raises(ValueError, match="succeeded_at"):
        simulator.seed_payment_intent(succeeded_at=1_700_000_000)
    assert not simulator.payment_intents


async def test_charge_replaces_its_id_only_if_expanded(client: Client, simulator: StripeSimulator) -> None:
    paid, open_ = (simulator.seed_payment_intent(status=status) for status in ("succeeded", "processing"))
    charge = simulator.charges[paid["latest_charge"]]
    path = f"/v1/payment_intents/{paid['id']}"
    retrieved = await client.get(path, **{"expand[]": "latest_charge"})
    updated = await client.post(path, **{"expand[]": "latest_charge", "metadata[a]": "1"})
    listed = await client.get("/v1/payment_intents", **{"expand[]": "data.latest_charge"})
    by_id = {each["id"]: each["latest_charge"] for each in listed.body["data"]}
    assert retrieved.body["latest_charge"] == updated.body["latest_charge"] == charge
    assert by_id == {paid["id"]: charge, open_["id"]: None}
    assert (await client.get(path)).body["latest_charge"] == charge["id"]


async def test_charge_of_a_failed_try_stays_an_id(client: Client, simulator: StripeSimulator) -> None:
    path = f"/v1/payment_intents/{simulator.seed_payment_intent(latest_charge='ch_failed')['id']}"
    assert (await client.get(path, **{"expand[]": "latest_charge"})).body["latest_charge"] == "ch_failed"


@pytest.mark.parametrize(
    ("method", "path", "property_"),
    [
        ("GET", "/v1/payment_intents", "latest_charge"),
        ("GET", "/v1/payment_intents/{intent}", "data.latest_charge"),
        ("GET", "/v1/payment_intents/{intent}", "metadata"),
        ("POST", "/v1/payment_intents/{intent}", "amount"),
        ("POST", "/v1/customers", "name"),
        ("GET", "/v1/customers", "test_clock"),
        ("GET", "/v1/account", "id"),
    ],
)
async def test_field_that_cannot_be_expanded_is_refused(
    client: Client, simulator: StripeSimulator, method: str, path: str, property_: str
) -> None:
    path = path.format(intent=simulator.seed_payment_intent()["id"])
    sent = {"expand[0]": property_}
    refused = await (client.get(path, **sent) if method == "GET" else client.post(path, "autumn:1", **sent))
    assert refused.status == 400
    assert refused.error["message"] == f"This property cannot be expanded ({property_})."
    assert not simulator.customers


async def test_fields_that_autumn_expands_on_a_customer_are_accepted(client: Client) -> None:
    wanted = ("test_clock", "invoice_settings.default_payment_method", "discount.source.coupon.applies_to")
    made = await client.post("/v1/customers", **{f"expand[{place}]": what for place, what in enumerate(wanted)})
    listed = await client.get("/v1/customers", **{"expand[]": "data.test_clock"})
    assert listed.body["data"] == [made.body]
