"""The Stripe client against the simulated Stripe: its requests, and the translation of every error."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
import stripe
from aiohttp import web
from aiohttp.typedefs import Handler

from jobs.errors import Absent, GiveUp, Halt, SyncError, TryAgain
from jobs.plan.customer import NoCustomer, StripeCustomer
from jobs.plan.steps import UpdateStripe
from jobs.stripe.client import StripeGateway, idempotency_key, open_stripe
from jobs.stripe.errors import as_sync_error
from sandbox.faults import Fault, Kind
from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator


def ours() -> None:
    """The lease is held."""


@pytest.fixture
def simulator() -> StripeSimulator:
    return StripeSimulator(requests_per_second=None, endpoint_requests_per_second=None, search_per_second=None)


@asynccontextmanager
async def gateway_to(
    simulator: StripeSimulator, *, timeout_seconds: float = 60.0, admitted: list[str] | None = None
) -> AsyncIterator[StripeGateway]:
    @asynccontextmanager
    async def throttle(endpoint: str) -> AsyncIterator[None]:
        if admitted is not None:
            admitted.append(endpoint)
        yield

    async with (
        serving(simulator.app()) as url,
        open_stripe(api_key=simulator.key, base_url=url, throttle=throttle, timeout_seconds=timeout_seconds) as gateway,
    ):
        yield gateway


async def test_customer_has_the_fields_that_a_sync_compares(simulator: StripeSimulator) -> None:
    seeded = simulator.seed_customer(name="Ann", email="ann@example.com", metadata={"autumn_id": "ann"})
    async with gateway_to(simulator) as gateway:
        customer = await gateway.retrieve(seeded["id"])
    assert isinstance(customer, StripeCustomer)
    assert (customer.id, customer.name, customer.email) == (seeded["id"], "Ann", "ann@example.com")
    assert (customer.mode, customer.metadata) == ("test", {"autumn_id": "ann"})


async def test_missing_and_deleted_customers_differ(simulator: StripeSimulator) -> None:
    deleted = simulator.seed_customer(deleted=True)
    async with gateway_to(simulator) as gateway:
        assert await gateway.retrieve(deleted["id"]) is NoCustomer.DELETED
        assert await gateway.retrieve("cus_missing") is NoCustomer.MISSING


@pytest.mark.parametrize("stripe_id", ["", ".", "..", "search", "../payment_intents?x=", "cus_a/sources"])
async def test_id_that_would_change_the_path_is_missing(simulator: StripeSimulator, stripe_id: str) -> None:
    async with gateway_to(simulator) as gateway:
        assert await gateway.retrieve(stripe_id) is NoCustomer.MISSING
        with pytest.raises(Absent, match="resource_missing"):
            await gateway.update(UpdateStripe(stripe_id, name="Ann"), "autumn:key", ours)
    assert simulator.calls == []


@pytest.mark.parametrize("stripe_id", ["a?x=1", "a#b", "a%2e", "a b", "ann.lee+1@example.com", "..."])
async def test_unusual_id_stays_in_its_place_in_the_path(simulator: StripeSimulator, stripe_id: str) -> None:
    simulator.seed_customer(id=stripe_id)
    async with gateway_to(simulator) as gateway:
        customer = await gateway.retrieve(stripe_id)
    assert isinstance(customer, StripeCustomer)
    assert [(call.endpoint, customer.id) for call in simulator.calls] == [("customers.retrieve", stripe_id)]


async def test_ours_are_found_on_every_page_and_by_search(simulator: StripeSimulator) -> None:
    mine = simulator.seed_customer(email="ann@example.com", metadata={"autumn_id": "ann"})
    for _ in range(120):
        simulator.seed_customer(email="ann@example.com")
    other_address = simulator.seed_customer(email="Ann@example.com", metadata={"autumn_id": "ann"})
    async with gateway_to(simulator) as gateway:
        found, searched = await gateway.find_ours("ann", "ann@example.com")
    assert searched
    assert {customer.id for customer in found} == {mine["id"], other_address["id"]}


async def test_new_customer_is_found_although_the_search_lags(simulator: StripeSimulator) -> None:
    simulator.search_lag_seconds = 3600
    async with gateway_to(simulator) as gateway:
        created = (await gateway.create("ann", 0, ours)).customer
        await gateway.update(UpdateStripe(created.id, email="ann@example.com"), "autumn:1", ours)
        assert await gateway.find_ours("ann", None) == ((), True)
        listed, _ = await gateway.find_ours("ann", "ann@example.com")
    assert [customer.id for customer in listed] == [created.id]


async def test_search_result_is_retrieved(simulator: StripeSimulator) -> None:
    for changed in ({"deleted": True}, {"metadata": {"autumn_id": "bob"}}, {"metadata": {"autumn_id": "ann"}}):
        seeded = simulator.seed_customer(metadata={"autumn_id": "ann"})
        simulator.customers[seeded["id"]] = {**seeded, **changed}
    simulator.search_lag_seconds = 3600
    async with gateway_to(simulator) as gateway:
        found, _ = await gateway.find_ours("ann", None)
    assert [customer.id for customer in found] == [seeded["id"]]


async def test_account_without_search_is_reported(simulator: StripeSimulator) -> None:
    simulator.search_available = False
    mine = simulator.seed_customer(email="ann@example.com", metadata={"autumn_id": "ann"})
    async with gateway_to(simulator) as gateway:
        found, searched = await gateway.find_ours("ann", "ann@example.com")
    assert ([customer.id for customer in found], searched) == ([mine["id"]], False)


async def test_creating_twice_gives_the_same_customer(simulator: StripeSimulator) -> None:
    async with gateway_to(simulator) as gateway:
        first, second = await gateway.create("ann", 0, ours), await gateway.create("ann", 0, ours)
        other = await gateway.create("bob", 0, ours)
    assert first.customer == second.customer
    assert [each.is_repeated for each in (first, second, other)] == [False, True, False]
    assert other.customer.id != first.customer.id
    assert len(simulator.customers) == 2


async def test_stored_failure_repeats_until_the_next_generation(simulator: StripeSimulator) -> None:
    simulator.switches.add(Fault("500", route="POST /v1/customers", times=1))
    async with gateway_to(simulator) as gateway:
        for is_replay in (False, True, True):
            with pytest.raises(TryAgain) as raised:
                await gateway.create("ann", 0, ours)
            assert raised.value.is_replay == is_replay
        created = (await gateway.create("ann", 1, ours)).customer
    assert list(simulator.customers) == [created.id]


async def test_update_writes_only_the_requested_fields(simulator: StripeSimulator) -> None:
    seeded = simulator.seed_customer(name="Ann", email="ann@example.com", metadata={"theirs": "1"})
    async with gateway_to(simulator) as gateway:
        step = UpdateStripe(seeded["id"], email="", metadata=(("autumn_id", "ann"),))
        after = await gateway.update(step, "autumn:1", ours)
    assert (after.name, after.email, after.metadata) == ("Ann", None, {"theirs": "1", "autumn_id": "ann"})
    assert simulator.calls[-1].idempotency_key == "autumn:1"


async def test_each_request_is_throttled_by_its_endpoint(simulator: StripeSimulator) -> None:
    admitted: list[str] = []
    async with gateway_to(simulator, admitted=admitted) as gateway:
        created = (await gateway.create("ann", 0, ours)).customer
        await gateway.update(UpdateStripe(created.id, name="Ann"), "autumn:1", ours)
        await gateway.retrieve(created.id)
        await gateway.find_ours("ann", "ann@example.com")
    assert admitted == [
        "POST /v1/customers",
        "POST /v1/customers/{id}",
        "GET /v1/customers/{id}",
        "GET /v1/customers",
        "GET /v1/customers/search",
        "GET /v1/customers/{id}",
    ]


async def test_nothing_is_written_if_the_lease_is_lost_while_waiting(simulator: StripeSimulator) -> None:
    def lost() -> None:
        raise PermissionError

    async with gateway_to(simulator) as gateway:
        with pytest.raises(PermissionError):
            await gateway.create("ann", 0, lost)
    assert simulator.calls == []


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("429", "rate_limit"),
        ("500", "http_500"),
        ("503", "http_503"),
        ("cut", "connection"),
        ("lost", "connection"),
        ("garbage", "http_200"),
        ("hang", "connection"),
    ],
)
async def test_each_fault_is_retried(simulator: StripeSimulator, kind: Kind, code: str) -> None:
    simulator.switches.add(Fault(kind, seconds=3600))
    async with gateway_to(simulator, timeout_seconds=2 if kind == "hang" else 30) as gateway:
        with pytest.raises(TryAgain) as raised:
            await gateway.create("ann", 0, ours)
        simulator.switches.release()
    assert raised.value.code == code
    assert raised.value.maybe_applied == (kind != "429")
    assert len(simulator.calls) == 1, "the SDK retried by itself"


async def test_wrong_key_and_missing_permission_halt(simulator: StripeSimulator) -> None:
    async with gateway_to(simulator) as gateway:
        simulator.key = "sk_test_other"
        with pytest.raises(Halt, match="STRIPE_API_KEY"):
            await gateway.retrieve("cus_1")
    simulator.key = simulator.restricted_key
    simulator.missing_permissions.add("rak_customer_write")
    async with gateway_to(simulator) as gateway:
        with pytest.raises(Halt, match="rak_customer_write"):
            await gateway.create("ann", 0, ours)


async def test_key_that_may_not_read_the_account_still_names_it(simulator: StripeSimulator) -> None:
    simulator.key = simulator.restricted_key
    simulator.missing_permissions.add("rak_accounts_kyc_id_numbers_read")
    async with gateway_to(simulator) as gateway:
        assert await gateway.account_id() == simulator.account.id
        simulator.names_account = False
        with pytest.raises(Halt, match="rak_accounts_kyc_id_numbers_read"):
            await gateway.account_id()


async def test_refused_value_and_missing_customer_differ(simulator: StripeSimulator) -> None:
    seeded = simulator.seed_customer()
    async with gateway_to(simulator) as gateway:
        with pytest.raises(GiveUp):
            await gateway.update(UpdateStripe(seeded["id"], name="x" * 300), "autumn:1", ours)
        with pytest.raises(Absent):
            await gateway.update(UpdateStripe("cus_missing", name="x"), "autumn:2", ours)


@pytest.mark.parametrize(
    ("step", "param"),
    [
        (UpdateStripe("", name="x" * 300), "name"),
        (UpdateStripe("", email="x" * 600), "email"),
        (UpdateStripe("", metadata=(("plan", "x" * 600),)), "metadata[plan]"),
    ],
)
async def test_refusal_names_the_parameter(simulator: StripeSimulator, step: UpdateStripe, param: str) -> None:
    seeded = simulator.seed_customer()
    async with gateway_to(simulator) as gateway:
        with pytest.raises(GiveUp) as raised:
            await gateway.update(replace(step, stripe_id=seeded["id"]), "autumn:1", ours)
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("name", "param"),
    [
        ("email", "email"),
        ("metadata[plan]", "metadata[plan]"),
        ("payment_method_data[billing_details][email]", "payment_method_data[billing_details][email]"),
        (None, None),
        ("", None),
        ("line one\nline two", None),
        ("ann@example.com", None),
        ("x" * 200, None),
    ],
)
def test_only_a_short_parameter_name_is_kept(name: str | None, param: str | None) -> None:
    refused = stripe.InvalidRequestError("x", name, "email_invalid")  # type: ignore[no-untyped-call] # the SDK has no types
    error = as_sync_error(refused)
    assert isinstance(error, GiveUp)
    assert (error.code, error.param) == ("email_invalid", param)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (stripe.IdempotencyError("used", http_status=400), TryAgain),
        (stripe.APIError("oops", http_status=409), TryAgain),
        (aiohttp.ClientPayloadError("cut short"), TryAgain),
        (TimeoutError(), TryAgain),
        (stripe.StripeError("new kind"), TryAgain),
    ],
)
def test_errors_that_no_simulator_plays(error: Exception, expected: type[SyncError]) -> None:
    assert isinstance(as_sync_error(error), expected)


def test_key_depends_only_on_customer_entries_and_step() -> None:
    keys = [
        idempotency_key("ann", ["1-0", "2-0"], "update-1"),
        idempotency_key("bob", ["1-0", "2-0"], "update-1"),
        idempotency_key("ann", ["1-0"], "update-1"),
        idempotency_key("ann", ["1-0", "2-0"], "update-2"),
    ]
    assert len(set(keys)) == 4
    assert keys[0] == idempotency_key("ann", ["1-0", "2-0"], "update-1")
    assert all(re.fullmatch(r"autumn:customer-sync:[a-z0-9-]+:[0-9a-f]{40}", key) for key in keys)


def test_key_of_a_hundred_entries_is_short_enough_for_stripe() -> None:
    entries = [f"{number}-{number}" for number in range(10**15, 10**15 + 100)]
    step = f"receipt-unset-{10**9}-{10**18}"

    assert len(idempotency_key("a" * 500, entries, step)) < 255


async def test_fifty_calls_at_a_time_share_their_connections(simulator: StripeSimulator) -> None:
    seeded = simulator.seed_customer()
    connections: set[int] = set()

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        connections.add(id(request.transport))
        return await handler(request)

    app = simulator.app()
    app.middlewares.insert(0, count)

    @asynccontextmanager
    async def throttle(_: str) -> AsyncIterator[None]:
        yield

    async with serving(app) as url, open_stripe(api_key=simulator.key, base_url=url, throttle=throttle) as gateway:
        for _ in range(4):
            await asyncio.gather(*(gateway.retrieve(seeded["id"]) for _ in range(50)))
    assert len(connections) <= 50
