"""Payment intents of the simulated Stripe and the receipts it would mail."""

from sandbox.stripe import StripeSimulator
from sandbox.stripe_payments import Mail
from tests.integration.stripe_simulator.client import Client

# Receipts


async def test_an_address_mails_when_the_payment_succeeds(client: Client, simulator: StripeSimulator) -> None:
    intent = simulator.seed_payment_intent()["id"]
    await client.post(f"/v1/payment_intents/{intent}", receipt_email="ann@example.com")
    assert not simulator.mails
    simulator.succeed(intent)
    simulator.succeed(intent)
    assert simulator.mails == [Mail(intent, "ann@example.com")]


async def test_an_address_that_was_taken_back_mails_nothing(client: Client, simulator: StripeSimulator) -> None:
    intent = simulator.seed_payment_intent(receipt_email="ann@example.com")["id"]
    cleared = await client.post(f"/v1/payment_intents/{intent}", receipt_email="")
    assert cleared.body["receipt_email"] is None
    simulator.succeed(intent)
    assert not simulator.mails


async def test_an_address_after_the_success_mails_at_once_and_again_when_it_changes(
    client: Client, simulator: StripeSimulator
) -> None:
    intent = simulator.seed_payment_intent(status="succeeded")["id"]
    for address in ("ann@example.com", "ann@example.com", "bob@example.com"):
        await client.post(f"/v1/payment_intents/{intent}", receipt_email=address)
    assert [mail.address for mail in simulator.mails] == ["ann@example.com", "bob@example.com"]


async def test_an_address_that_is_cleared_after_the_success_mails_nothing(
    client: Client, simulator: StripeSimulator
) -> None:
    intent = simulator.seed_payment_intent(status="succeeded", receipt_email="ann@example.com")["id"]
    cleared = await client.post(f"/v1/payment_intents/{intent}", receipt_email="")
    assert cleared.body["receipt_email"] is None
    assert not simulator.mails


async def test_an_address_that_is_set_again_after_it_was_cleared_mails_again(
    client: Client, simulator: StripeSimulator
) -> None:
    intent = simulator.seed_payment_intent(status="succeeded")["id"]
    for address in ("ann@example.com", "", "ann@example.com"):
        await client.post(f"/v1/payment_intents/{intent}", receipt_email=address)
    assert simulator.mails == [Mail(intent, "ann@example.com")] * 2


async def test_another_change_to_a_paid_intent_with_an_address_mails_nothing(
    client: Client, simulator: StripeSimulator
) -> None:
    intent = simulator.seed_payment_intent(status="succeeded", receipt_email="ann@example.com")["id"]
    await client.post(f"/v1/payment_intents/{intent}", description="Two chairs", **{"metadata[a]": "1"})
    assert not simulator.mails


# Payment intents


async def test_metadata_of_a_payment_intent_merges_and_an_empty_value_unsets(
    client: Client, simulator: StripeSimulator
) -> None:
    path = f"/v1/payment_intents/{simulator.seed_payment_intent(metadata={'a': '1', 'b': '2'})['id']}"
    merged = await client.post(path, **{"metadata[a]": "", "metadata[c]": "3"})
    assert merged.body["metadata"] == {"b": "2", "c": "3"} == (await client.get(path)).body["metadata"]
    assert (await client.post(path, metadata="")).body["metadata"] == {}


async def test_a_payment_intent_belongs_to_a_customer_who_exists(client: Client, simulator: StripeSimulator) -> None:
    ann = simulator.seed_customer()["id"]
    made = await client.post("/v1/payment_intents", amount="500", currency="usd", customer=ann)
    listed = await client.get("/v1/payment_intents", customer=ann)
    assert [each["id"] for each in listed.body["data"]] == [made.body["id"]]
    refused = await client.post("/v1/payment_intents", amount="500", currency="usd", customer="cus_none")
    assert (refused.status, refused.error["param"]) == (400, "customer")
    assert (await client.post("/v1/payment_intents", currency="usd")).error["code"] == "parameter_missing"
