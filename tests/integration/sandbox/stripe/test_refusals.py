"""Values that the simulated Stripe refuses or stores in another form, and its settings over HTTP."""

import re

import pytest

from sandbox.stripe.server import StripeSimulator
from tests.support.stripe_client import Client

# Refusals

NO_ADDRESSES = [
    "foo@com",
    "a@b",
    "odatakeryu",
    "ann@",
    "@example.com",
    "ann@@example.com",
    "ann@example.",
    "ann@.com",
    "ann@example..com",
    "ann @example.com",
    " ann@example.com",
]


@pytest.mark.parametrize("address", NO_ADDRESSES)
async def test_malformed_email_is_named(client: Client, simulator: StripeSimulator, address: str) -> None:
    customer = simulator.seed_customer(email="ann@example.com")
    payment = simulator.seed_payment_intent()
    for path, param in (
        ("/v1/customers", "email"),
        (f"/v1/customers/{customer['id']}", "email"),
        (f"/v1/payment_intents/{payment['id']}", "receipt_email"),
    ):
        refused = await client.post(path, **{param: address, "metadata[a]": "1"})
        assert refused.status == 400
        assert refused.error == {
            "message": f"Invalid email address: {address}",
            "type": "invalid_request_error",
            "code": "email_invalid",
            "param": param,
            "doc_url": "https://stripe.com/docs/error-codes/email-invalid",
        }
    assert list(simulator.customers.values()) == [customer]
    assert simulator.payment_intents[payment["id"]] == payment


async def test_seed_plants_values_that_stripe_refuses(client: Client, simulator: StripeSimulator) -> None:
    customer = simulator.seed_customer(email="foo@com", name="n" * 300)["id"]
    path = f"/v1/customers/{customer}"
    assert (await client.get(path)).body["email"] == "foo@com"
    assert (await client.post(path, **{"metadata[a]": "1"})).body["email"] == "foo@com"


@pytest.mark.parametrize(
    ("sent", "param", "message"),
    [
        ({"name": "n" * 257}, "name", "must be at most 256 characters"),
        ({"email": "a" * 501 + "@example.com"}, "email", "must be at most 512 characters"),
        ({"metadata[" + "k" * 41 + "]": "v"}, f"metadata[{'k' * 41}]", "up to 40 characters, .* is 41 characters"),
        ({"metadata[plan]": "v" * 501}, "metadata[plan]", "up to 500 characters, .* is 501 characters"),
        ({f"metadata[{number}]": "v" for number in range(51)}, "metadata", "up to 50 keys"),
    ],
)
async def test_too_long_value_is_named(
    client: Client, simulator: StripeSimulator, sent: dict[str, str], param: str, message: str
) -> None:
    path = f"/v1/customers/{simulator.seed_customer()['id']}"
    refused = await client.post(path, **sent)
    assert (refused.status, refused.error["param"]) == (400, param)
    assert refused.error["code"]
    assert re.search(message, refused.error["message"])


async def test_metadata_keys_count_with_the_existing_ones(client: Client, simulator: StripeSimulator) -> None:
    path = f"/v1/customers/{simulator.seed_customer(metadata={str(number): 'v' for number in range(50)})['id']}"
    assert (await client.post(path, **{"metadata[more]": "v"})).error["param"] == "metadata"
    assert (await client.post(path, **{"metadata[more]": "v", "metadata[0]": ""})).status == 200


# Normalized values


async def test_normalized_name_and_email_are_stored_and_answered(client: Client, simulator: StripeSimulator) -> None:
    simulator.normalizes = True
    made = await client.post("/v1/customers", "autumn:1", name=" Ann ", email=" Ann@Example.com ")
    assert (made.body["name"], made.body["email"]) == ("Ann", "ann@example.com")
    path = f"/v1/customers/{made.body['id']}"
    assert (await client.get(path)).body == made.body
    assert (await client.post(path, name="Ann ", email="ANN@example.com")).body == made.body
    assert (await client.post("/v1/customers", "autumn:1", name=" Ann ", email=" Ann@Example.com ")).body == made.body
    assert [event["type"] for event in simulator.webhooks.events] == ["customer.created"]
    assert simulator.edit(made.body["id"], name=" Anna ")["name"] == "Anna"


async def test_values_are_stored_as_sent_by_default(client: Client) -> None:
    made = await client.post("/v1/customers", name=" Ann ", email="Ann@Example.com")
    assert (made.body["name"], made.body["email"]) == (" Ann ", "Ann@Example.com")


# Settings


async def test_settings_are_changed_over_http(client: Client, simulator: StripeSimulator) -> None:
    settings = (await client.send("GET", "/_sandbox/settings", headers={"Authorization": ""})).body
    assert settings == {
        "delay_seconds": [0.0, 0.0],
        "twice": 0.0,
        "without_change": False,
        "normalizes": False,
        "list_delay_seconds": [0.0, 0.0],
        "ids_in_order": True,
        "withheld": 0.0,
        "shifts": 0.0,
        "repeats": 0.0,
    }
    changed = {
        "delay_seconds": [0.5, 3.0],
        "twice": 0.25,
        "without_change": True,
        "normalizes": True,
        "list_delay_seconds": [1.0, 20.0],
        "ids_in_order": False,
        "withheld": 0.01,
        "shifts": 0.5,
        "repeats": 0.125,
    }
    assert (await client.send("POST", "/_sandbox/settings", json=changed)).body == changed
    assert (simulator.webhooks.delay_seconds, simulator.webhooks.twice) == ((0.5, 3.0), 0.25)
    assert simulator.webhooks.without_change
    assert simulator.normalizes
    events = simulator.events
    assert (events.list_delay_seconds, events.ids_in_order) == ((1.0, 20.0), False)
    assert (events.withheld, events.shifts, events.repeats) == (0.01, 0.5, 0.125)
    held = (await client.send("POST", "/_sandbox/settings", json={"delay_seconds": None})).body
    assert held == {**changed, "delay_seconds": None}
    still = (await client.send("POST", "/_sandbox/settings", json={"twice": 0})).body
    assert still == {**held, "twice": 0.0}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("[]", "JSON object"),
        ('{"delay": [0, 1]}', "delay"),
        ('{"delay_seconds": 1}', "delay_seconds"),
        ('{"delay_seconds": [3, 1]}', "delay_seconds"),
        ('{"delay_seconds": [0, "1"]}', "delay_seconds"),
        ('{"delay_seconds": [0, 1], "twice": 2}', "twice"),
        ('{"twice": 1, "without_change": 1}', "without_change"),
        ('{"twice": 1, "normalizes": null}', "normalizes"),
        ('{"twice": 1, "list_delay_seconds": null}', "list_delay_seconds"),
        ('{"twice": 1, "withheld": 1.5}', "withheld"),
        ('{"twice": 1, "ids_in_order": 0}', "ids_in_order"),
    ],
)
async def test_wrong_setting_is_named_and_nothing_changes(
    client: Client, simulator: StripeSimulator, body: str, field: str
) -> None:
    refused = await client.send("POST", "/_sandbox/settings", data=body)
    assert refused.status == 400
    assert field in refused.body["error"]
    assert (simulator.webhooks.delay_seconds, simulator.webhooks.twice) == ((0.0, 0.0), 0.0)
