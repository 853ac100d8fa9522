"""The simulated Stripe's log of the writes that it executed."""

import aiohttp
import pytest

from sandbox.faults import Fault, Kind
from sandbox.stripe.server import StripeSimulator
from sandbox.stripe.writes import Write
from tests.support.stripe_client import Client, Clock

NOBODY = "/v1/customers/cus_none"


async def test_update_is_logged_with_only_the_changed_fields(
    client: Client, simulator: StripeSimulator, clock: Clock
) -> None:
    ann = simulator.seed_customer(name="Ann", email="ann@example.com", metadata={"a": "1", "b": "2", "c": "3"})["id"]
    answer = await client.post(
        f"/v1/customers/{ann}",
        "autumn:customer-sync:update-3:digest",
        name="Ann B.",
        email="ann@example.com",
        **{"metadata[a]": "1", "metadata[b]": "", "metadata[c]": "4", "metadata[d]": "5"},
    )
    assert simulator.writes == [
        Write(
            at=clock.now,
            request_id=answer.headers["Request-Id"],
            endpoint="customers.update",
            object_id=ann,
            idempotency_key="autumn:customer-sync:update-3:digest",
            changed={
                "name": ("Ann", "Ann B."),
                "metadata.b": ("2", None),
                "metadata.c": ("3", "4"),
                "metadata.d": (None, "5"),
            },
        )
    ]


async def test_create_is_logged_with_all_its_fields(client: Client, simulator: StripeSimulator) -> None:
    ann = await client.post(
        "/v1/customers", name="Ann", email="ann@example.com", phone="", **{"metadata[autumn_id]": "ann"}
    )
    payment = await client.post("/v1/payment_intents", amount="500", currency="usd", customer=ann.body["id"])
    assert [(write.endpoint, write.object_id, write.changed) for write in simulator.writes] == [
        (
            "customers.create",
            ann.body["id"],
            {"name": (None, "Ann"), "email": (None, "ann@example.com"), "metadata.autumn_id": (None, "ann")},
        ),
        (
            "payment_intents.create",
            payment.body["id"],
            {"amount": (None, 500), "currency": (None, "usd"), "customer": (None, ann.body["id"])},
        ),
    ]


async def test_delete_is_logged(client: Client, simulator: StripeSimulator) -> None:
    ann = simulator.seed_customer(name="Ann", metadata={"a": "1"})["id"]
    await client.send("DELETE", f"/v1/customers/{ann}")
    (write,) = simulator.writes
    assert (write.endpoint, write.object_id, write.idempotency_key) == ("customers.delete", ann, None)
    assert write.changed == {"deleted": (None, True)}


async def test_receipt_address_of_a_payment_is_logged(client: Client, simulator: StripeSimulator) -> None:
    intent = simulator.seed_payment_intent(status="succeeded")["id"]
    sent = {"receipt_email": "ann@example.com", "metadata[receipt]": "sent", "expand[]": "latest_charge"}
    await client.post(f"/v1/payment_intents/{intent}", **sent)
    (write,) = simulator.writes
    assert (write.endpoint, write.object_id) == ("payment_intents.update", intent)
    assert write.changed == {"receipt_email": (None, "ann@example.com"), "metadata.receipt": (None, "sent")}


async def test_write_that_changed_nothing_is_logged(client: Client, simulator: StripeSimulator) -> None:
    path = f"/v1/customers/{simulator.seed_customer(name='Ann', metadata={'a': '1'})['id']}"
    await client.post(path, name="Ann", **{"metadata[a]": "1", "metadata[b]": ""})
    await client.post(path)
    assert [write.changed for write in simulator.writes] == [{}, {}]


async def test_replay_is_logged_once_under_its_first_request(client: Client, simulator: StripeSimulator) -> None:
    first = await client.post("/v1/customers", "autumn:1", name="Ann")
    await client.post("/v1/customers", "autumn:1", name="Ann")
    assert [write.request_id for write in simulator.writes] == [first.headers["Request-Id"]]


async def test_write_with_lost_answer_is_logged(client: Client, simulator: StripeSimulator) -> None:
    simulator.switches.add(Fault("lost", times=1))
    with pytest.raises(aiohttp.ClientError):
        await client.post("/v1/customers", "autumn:1", name="Ann")
    await client.post("/v1/customers", "autumn:1", name="Ann")
    assert [write.changed for write in simulator.writes] == [{"name": (None, "Ann")}]


@pytest.mark.parametrize("kind", ["429", "500", "503", "cut", "garbage"])
async def test_write_that_a_fault_prevented_is_not_logged(
    client: Client, simulator: StripeSimulator, kind: Kind
) -> None:
    simulator.switches.add(Fault(kind, times=1))
    try:
        await client.post("/v1/customers", "autumn:1", name="Ann")
    except aiohttp.ClientError:
        assert kind == "cut"
    assert not simulator.writes


async def test_refused_write_is_not_logged(client: Client, simulator: StripeSimulator) -> None:
    gone = f"/v1/customers/{simulator.seed_customer(deleted=True)['id']}"
    too_much = {f"metadata[{number}]": "v" for number in range(51)}
    statuses = [
        (await client.post("/v1/customers", colour="red")).status,
        (await client.post("/v1/customers", **too_much)).status,
        (await client.post("/v1/customers", **{"expand[]": "name"})).status,
        (await client.post("/v1/payment_intents", amount="1", currency="usd", customer="cus_none")).status,
        (await client.post(NOBODY, name="Ann")).status,
        (await client.send("DELETE", NOBODY)).status,
        (await client.post(gone, name="Ann")).status,
        (await client.send("DELETE", gone)).status,
        (await client.send("POST", "/v1/customers", headers={"Authorization": "Bearer sk_test_other"})).status,
    ]
    simulator.requests_per_second = 0
    statuses.append((await client.post("/v1/customers")).status)
    assert statuses == [400, 400, 400, 400, 404, 404, 404, 404, 401, 429]
    assert not simulator.writes


async def test_reads_seeds_and_successes_are_not_writes(client: Client, simulator: StripeSimulator) -> None:
    ann = simulator.seed_customer()["id"]
    simulator.succeed(simulator.seed_payment_intent(customer=ann, receipt_email="ann@example.com")["id"])
    for path in (f"/v1/customers/{ann}", "/v1/customers", "/v1/payment_intents", "/v1/account"):
        assert (await client.get(path)).status == 200
    assert not simulator.writes


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("autumn:customer-sync:update-3:digest", "update-3"),
        ("autumn:customer-sync:create-0:digest:more", "create-0"),
        ("autumn:customer:digest", "customer"),
        ("autumn:1", "1"),
        ("stripe-node-retry-b1946ac9", "Autumn itself"),
        ("Autumn:customer-sync:update-3:digest", "somebody else"),
        ("4a6f1c", "somebody else"),
        (None, "somebody else"),
    ],
)
async def test_key_of_a_write_tells_its_purpose(
    client: Client, simulator: StripeSimulator, key: str | None, why: str
) -> None:
    await client.post("/v1/customers", key)
    assert [write.why for write in simulator.writes] == [why]
