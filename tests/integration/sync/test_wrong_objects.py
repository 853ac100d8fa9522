"""An answer about another object than the requested one is not used: the request is retried."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from jobs.errors import OthersFound, TryAgain
from jobs.plan.customer import StripeCustomer
from jobs.plan.steps import SetReceiptEmail, UpdateStripe
from jobs.stripe.client import StripeGateway, open_stripe
from jobs.sync.job import EXPIRE_ATTEMPTS
from sandbox.faults import Fault
from sandbox.serve import serving
from tests.conftest import World, read_dead
from tests.integration.autumn.test_client import FIRST_PAGE, answering, autumn_of, failed
from tests.support.steps import change, time_passes

Json = dict[str, Any]
STEP = SetReceiptEmail("pi_1", "ann@example.com", turn=0, mails_at_once=False)


def customer(customer_id: str, autumn_id: str = "ann") -> Json:
    return {"id": customer_id, "email": "ann@example.com", "livemode": False, "metadata": {"autumn_id": autumn_id}}


def payment(intent_id: str, of: str | None = "cus_1") -> Json:
    return {"id": intent_id, "customer": of, "status": "succeeded", "metadata": {}}


def page(*data: Json, has_more: bool = False) -> Json:
    return {"object": "list", "data": list(data), "has_more": has_more}


@asynccontextmanager
async def stripe_answering(*answers: Json) -> AsyncIterator[StripeGateway]:
    """Serve these answers in turn, and then repeat the last one."""
    left = list(answers)

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(left.pop(0) if len(left) > 1 else left[0])

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with (
        serving(app) as url,
        open_stripe(api_key="sk_test_x", base_url=url, throttle=lambda _: nullcontext(), timeout_seconds=10) as gateway,
    ):
        yield gateway


Call = Callable[[StripeGateway], Awaitable[object]]


@pytest.mark.parametrize(
    ("answer", "call"),
    [
        (customer("cus_2"), lambda stripe: stripe.retrieve("cus_1")),
        ({"id": "cus_2", "deleted": True}, lambda stripe: stripe.retrieve("cus_1")),
        (customer("cus_2"), lambda stripe: stripe.update(UpdateStripe("cus_1", name="Ann"), "key", lambda: None)),
        (customer("cus_1", "bob"), lambda stripe: stripe.create("ann", 0, lambda: None)),
        ({**customer("cus_1"), "metadata": {}}, lambda stripe: stripe.create("ann", 0, lambda: None)),
        (payment("pi_2"), lambda stripe: stripe.payment("pi_1")),
        (payment("pi_2"), lambda stripe: stripe.write_receipt(STEP, "key", lambda: None)),
        (page(payment("pi_1"), payment("pi_2", "cus_2")), lambda stripe: stripe.payments("cus_1", with_charges=False)),
        (page(payment("pi_1", None)), lambda stripe: stripe.payments("cus_1", with_charges=False)),
        (page(has_more=True), lambda stripe: stripe.payments("cus_1", with_charges=False)),
        (page(customer("cus_1"), has_more=True), lambda stripe: stripe.find_ours("ann", "ann@example.com")),
        (page(has_more=True), lambda stripe: stripe.find_ours("ann", "ann@example.com")),
        (page(customer("cus_2"), customer("cus_1")), lambda stripe: stripe.customer_page("cus_1")),
        (page(has_more=True), lambda stripe: stripe.customer_page("")),
        (page(payment("pi_1")), lambda stripe: stripe.payment_page("pi_1", with_charges=False)),
        (page(has_more=True), lambda stripe: stripe.payment_page("", with_charges=False)),
    ],
)
async def test_answer_about_another_object_is_retried(answer: Json, call: Call) -> None:
    async with stripe_answering(answer) as stripe:
        with pytest.raises(TryAgain, match=r"cus_|pi_|autumn_id|list") as raised:
            await call(stripe)
    assert raised.value.code == "unexpected_response"


@pytest.mark.parametrize("email", ["ann@example.com", None])
async def test_list_of_other_customers_does_not_mean_none(email: str | None) -> None:
    others = {**customer("cus_2", "bob"), "email": "bob@example.com"}
    async with stripe_answering(*([page(others)] if email else []), page(others), others) as stripe:
        with pytest.raises(TryAgain, match=r"requested") as raised:
            await stripe.find_ours("ann", email)
    assert raised.value.code == "unexpected_response"


async def test_search_may_ignore_case_and_lag() -> None:
    was_ours, now = customer("cus_2", "ann"), customer("cus_2", "bob")
    async with stripe_answering(page(was_ours, customer("cus_3", "ANN")), now, customer("cus_3", "ANN")) as stripe:
        assert await stripe.find_ours("ann", None) == ((), True)


@pytest.mark.parametrize("email", ["ann@example.com", None])
async def test_deleted_search_hit_is_no_customer(email: str | None) -> None:
    hit, deleted = {**customer("cus_2"), "metadata": {}}, {"id": "cus_2", "object": "customer", "deleted": True}
    async with stripe_answering(*([page()] if email else []), page(hit), deleted) as stripe:
        assert await stripe.find_ours("ann", email) == ((), True)


@pytest.mark.parametrize("is_first", [True, False])
async def test_our_customer_is_found_among_hits_of_other_owners(is_first: bool) -> None:
    hits = [customer("cus_1"), customer("cus_2", "bob")]
    hits = hits if is_first else hits[::-1]
    async with stripe_answering(page(*hits), *hits) as stripe:
        found, searched = await stripe.find_ours("ann", None)
    assert ([each.id for each in found], searched) == (["cus_1"], True)


async def test_hits_of_other_owners_only_are_retried_and_named() -> None:
    hit = customer("cus_2", "bob")
    async with stripe_answering(page(hit), hit) as stripe:
        with pytest.raises(OthersFound, match=r"cus_2.* link ann in Autumn") as raised:
            await stripe.find_ours("ann", None)
    assert raised.value.code == "unexpected_response"


@pytest.mark.parametrize("address", ["ann@xn--mnchen-3ya.example", "Ann@MÜNCHEN.example", "other@example.com", None])
async def test_our_customer_is_found_with_any_spelling_of_address(address: str | None) -> None:
    ours = {**customer("cus_1"), "email": address}
    async with stripe_answering(page(ours), page()) as stripe:
        found, _ = await stripe.find_ours("ann", "ann@münchen.example")
    assert [each.id for each in found] == ["cus_1"]


async def test_unclaimed_customer_with_punycode_address_blocks_no_search() -> None:
    unclaimed = {**customer("cus_1"), "email": "ann@xn--mnchen-3ya.example", "metadata": {}}
    async with stripe_answering(page(unclaimed), page()) as stripe:
        assert await stripe.find_ours("ann", "ann@münchen.example") == ((), True)


async def test_customer_listed_twice_counts_once() -> None:
    listed = [page(customer("cus_2"), customer("cus_1"), has_more=True), page(customer("cus_2"), customer("cus_0"))]
    async with stripe_answering(*listed, page()) as stripe:
        found, _ = await stripe.find_ours("ann", "ann@example.com")
    assert [each.id for each in found] == ["cus_2", "cus_1", "cus_0"]
    async with stripe_answering(page(customer("cus_1"), customer("cus_1"))) as stripe:
        rows, _ = await stripe.customer_page("")
    assert [each.id for each in rows] == ["cus_1"]
    async with stripe_answering(page(payment("pi_1"), payment("pi_1"))) as stripe:
        payments = await stripe.payments("cus_1", with_charges=False)
        listed_payments, _ = await stripe.payment_page("", with_charges=False)
    assert [each.id for each in payments.intents] == [each.id for _, each in listed_payments] == ["pi_1"]


async def test_expanded_customer_of_payment_is_recognised_by_id() -> None:
    async with stripe_answering(page({**payment("pi_1"), "customer": {"id": "cus_1"}})) as stripe:
        assert len((await stripe.payments("cus_1", with_charges=False)).intents) == 1


async def test_requested_customer_is_accepted() -> None:
    async with stripe_answering(customer("cus_1")) as stripe:
        assert isinstance(await stripe.retrieve("cus_1"), StripeCustomer)
        assert (await stripe.create("ann", 0, lambda: None)).customer.id == "cus_1"


@pytest.mark.parametrize(
    ("answer", "cursor"),
    [
        ({**FIRST_PAGE["json"], "next_cursor": "cursor-1"}, "cursor-1"),
        ({"list": [], "next_cursor": "cursor-2"}, "cursor-1"),
    ],
)
async def test_autumn_list_that_does_not_advance_is_retried(answer: Json, cursor: str) -> None:
    async with autumn_of(answering({"status": 200, "headers": {}, "json": answer})) as (_, client):
        error = await failed(client.list_page(cursor))
    assert error.code == "unexpected_response"
    assert "list" in error.message


async def test_last_page_of_autumn_may_be_empty() -> None:
    last = {"status": 200, "headers": {}, "text": json.dumps({"list": [], "next_cursor": None})}
    async with autumn_of(answering(last)) as (_, client):
        assert (await client.list_page("cursor-1")).list == []


async def test_search_with_only_other_owners_ends_as_dead_letter(world: World) -> None:
    ours, bob = (world.stripe.seed_customer(metadata={"autumn_id": owner}) for owner in ("ann", "bob"))
    world.autumn.seed("ann", email=None)
    world.stripe.switches.add(Fault("other", route="GET /v1/customers/search"))
    hurried = replace(world, deps=replace(world.deps, retry_for_seconds=0.0))
    await change(world, "ann", name="Ann")
    for _ in range(EXPIRE_ATTEMPTS + 1):
        await hurried.run()
        await time_passes(world)
    (letter,) = await read_dead(world.redis)
    assert letter["reason"] == "unexpected_response"
    assert f"answered only with others: {bob['id']}" in letter["message"]
    world.stripe.switches.clear()
    await change(world, "ann", name="Ann")
    await world.run()
    assert world.autumn.customers["ann"]["stripe_id"] == ours["id"]
    assert list(world.stripe.customers) == [ours["id"], bob["id"]]
