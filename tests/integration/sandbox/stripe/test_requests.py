"""Idempotency keys, limits and faults of the simulated Stripe."""

import asyncio

import aiohttp
import pytest

from sandbox.faults import Fault, Kind
from sandbox.stripe.server import StripeSimulator
from tests.support.stripe_client import Client, Clock

DAY_SECONDS = 24 * 3600


# Idempotency keys


async def test_same_key_replays_the_first_outcome(client: Client, simulator: StripeSimulator) -> None:
    first = await client.post("/v1/customers", "autumn:1", email="ann@example.com")
    again = await client.post("/v1/customers", "autumn:1", email="ann@example.com")
    assert again.body == first.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Original-Request"] == first.headers["Request-Id"] != again.headers["Request-Id"]
    assert len(simulator.customers) == 1
    assert [call.replayed for call in simulator.calls] == [False, True]


async def test_replay_shows_the_past_and_changes_nothing(client: Client, simulator: StripeSimulator) -> None:
    path = f"/v1/customers/{simulator.seed_customer()['id']}"
    await client.post(path, "autumn:a", name="A")
    await client.post(path, "autumn:b", name="B")
    assert (await client.post(path, "autumn:a", name="A")).body["name"] == "A"
    assert (await client.get(path)).body["name"] == "B"


async def test_key_is_forgotten_after_a_day(client: Client, simulator: StripeSimulator, clock: Clock) -> None:
    await client.post("/v1/customers", "autumn:1")
    clock.now += DAY_SECONDS - 1
    await client.post("/v1/customers", "autumn:1")
    assert len(simulator.customers) == 1
    clock.now += 1
    await client.post("/v1/customers", "autumn:1")
    assert len(simulator.customers) == 2


async def test_same_key_with_other_parameters_or_path_is_refused(client: Client, simulator: StripeSimulator) -> None:
    path = f"/v1/customers/{simulator.seed_customer()['id']}"
    await client.post(path, "autumn:1", name="A")
    other_parameters = await client.post(path, "autumn:1", name="B")
    other_path = await client.post("/v1/customers", "autumn:1", name="A")
    for answer in (other_parameters, other_path):
        assert (answer.status, answer.error["type"]) == (400, "idempotency_error")
    assert "same parameters" in other_parameters.error["message"]
    assert "same endpoint" in other_path.error["message"]


async def test_key_of_a_running_request_is_in_use(client: Client, simulator: StripeSimulator) -> None:
    simulator.switches.latency_seconds = 1.0
    answers = await asyncio.gather(*(client.post("/v1/customers", "autumn:1") for _ in range(2)))
    assert sorted(answer.status for answer in answers) == [200, 409]
    refused = max(answers, key=lambda answer: answer.status)
    assert refused.error["code"] == "idempotency_key_in_use"
    assert len(simulator.customers) == 1


async def test_500_is_stored_and_replayed(client: Client, simulator: StripeSimulator) -> None:
    simulator.switches.add(Fault("500", times=1))
    assert (await client.post("/v1/customers", "autumn:1")).status == 500
    again = await client.post("/v1/customers", "autumn:1")
    assert (again.status, again.headers["Idempotent-Replayed"]) == (500, "true")
    assert (await client.post("/v1/customers", "autumn:2")).status == 200


async def test_404_is_stored_because_the_lookup_is_part_of_execution(
    client: Client, simulator: StripeSimulator
) -> None:
    assert (await client.post("/v1/customers/cus_late", "autumn:1")).error["code"] == "resource_missing"
    simulator.seed_customer(id="cus_late")
    assert (await client.post("/v1/customers/cus_late", "autumn:1")).status == 404
    assert (await client.post("/v1/customers/cus_late", "autumn:2")).status == 200


@pytest.mark.parametrize("kind", ["429", "503"])
async def test_429_and_503_are_not_stored(client: Client, simulator: StripeSimulator, kind: Kind) -> None:
    simulator.switches.add(Fault(kind, times=1))
    assert (await client.post("/v1/customers", "autumn:1")).status == int(kind)
    assert (await client.post("/v1/customers", "autumn:1")).status == 200


async def test_failed_validation_is_not_stored(client: Client) -> None:
    assert (await client.post("/v1/customers", "autumn:1", colour="red")).error["code"] == "parameter_unknown"
    assert (await client.post("/v1/customers", "autumn:1", name="A")).status == 200


async def test_key_has_at_most_255_characters(client: Client) -> None:
    assert (await client.post("/v1/customers", "k" * 255)).status == 200
    assert (await client.post("/v1/customers", "k" * 256)).status == 400


# Limits


async def test_total_limit_refuses_with_a_reason_but_no_wait(
    client: Client, simulator: StripeSimulator, clock: Clock
) -> None:
    simulator.requests_per_second = 2
    statuses = [(await client.get("/v1/customers")).status, (await client.get("/v1/account")).status]
    refused = await client.get("/v1/payment_intents")
    assert statuses == [200, 200]
    assert (refused.status, refused.error["code"]) == (429, "rate_limit")
    assert refused.headers["Stripe-Rate-Limited-Reason"] == "global-rate"
    assert "Retry-After" not in refused.headers
    clock.now += 1
    assert (await client.get("/v1/payment_intents")).status == 200


async def test_limit_of_an_endpoint_counts_all_ids_together(client: Client, simulator: StripeSimulator) -> None:
    simulator.endpoint_requests_per_second = 2
    paths = [f"/v1/customers/{simulator.seed_customer()['id']}" for _ in range(3)]
    answers = [await client.get(path) for path in paths]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[-1].headers["Stripe-Rate-Limited-Reason"] == "endpoint-rate"
    assert (await client.post(paths[0], name="A")).status == 200


async def test_search_has_its_own_limit(client: Client, simulator: StripeSimulator) -> None:
    simulator.search_per_second = 1
    statuses = [(await client.get("/v1/customers/search", query="email:'a'")).status for _ in range(2)]
    assert statuses == [200, 429]


async def test_simultaneous_writes_to_one_object_meet_its_lock(client: Client, simulator: StripeSimulator) -> None:
    path = f"/v1/customers/{simulator.seed_customer()['id']}"
    simulator.switches.latency_seconds = 1.0
    answers = await asyncio.gather(client.post(path, name="A"), client.post(path, name="B"), client.get(path))
    assert answers[2].status == 200
    refused = [answer for answer in answers if answer.status != 200]
    assert [(answer.status, answer.error["code"]) for answer in refused] == [(429, "lock_timeout")]


# Faults


async def test_write_with_lost_answer_was_applied_and_replays(client: Client, simulator: StripeSimulator) -> None:
    simulator.switches.add(Fault("lost", times=1))
    with pytest.raises(aiohttp.ClientError):
        await client.post("/v1/customers", "autumn:1", name="A")
    assert [customer["name"] for customer in simulator.customers.values()] == ["A"]
    again = await client.post("/v1/customers", "autumn:1", name="A")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.body["id"] in simulator.customers
    assert [call.status for call in simulator.calls] == [None, 200]


async def test_cut_request_was_not_applied(client: Client, simulator: StripeSimulator) -> None:
    simulator.switches.add(Fault("cut", times=1))
    with pytest.raises(aiohttp.ClientError):
        await client.post("/v1/customers", "autumn:1")
    assert not simulator.customers


async def test_garbage_is_not_json_and_was_not_applied(client: Client, simulator: StripeSimulator) -> None:
    simulator.switches.add(Fault("garbage", times=1))
    answer = await client.post("/v1/customers")
    assert isinstance(answer.body, str)
    assert "Request-Id" in answer.headers
    assert not simulator.customers


async def test_hanging_request_may_be_applied_after_its_client_gave_up(
    client: Client, simulator: StripeSimulator
) -> None:
    simulator.switches.add(Fault("hang", times=1, seconds=3600))
    posting = asyncio.create_task(client.post("/v1/customers"))
    while not simulator.calls:
        await client.send("GET", "/_sandbox")
    posting.cancel()
    await asyncio.wait({posting})
    simulator.switches.release()
    async with asyncio.timeout(10):
        while not simulator.customers:
            await client.send("GET", "/_sandbox")
    assert posting.cancelled()
    assert [call.status for call in simulator.calls] == [None]


async def test_fault_affects_only_its_route(client: Client, simulator: StripeSimulator) -> None:
    simulator.switches.add(Fault("503", route="POST /v1/customers"))
    assert (await client.get("/v1/customers")).status == 200
    assert (await client.post("/v1/customers")).error["type"] == "api_error"


async def test_answer_about_another_object_hides_the_write(client: Client, simulator: StripeSimulator) -> None:
    path, other = f"/v1/customers/{simulator.seed_customer()['id']}", simulator.seed_customer()["id"]
    simulator.switches.add(Fault("other", times=3))
    assert (await client.post(path, "autumn:1", name="A")).body["id"] == other
    assert (await client.get(path)).body["id"] == other
    assert {each["id"] for each in (await client.get("/v1/customers")).body["data"]} == set(simulator.customers)
    assert (await client.get(path)).body["name"] == "A"
    assert (await client.post(path, "autumn:1", name="A")).body["id"] != other
