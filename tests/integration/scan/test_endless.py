"""Lists that repeat themselves or never end: a scan fails with the reason."""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from jobs.autumn.client import AutumnClient, open_autumn
from jobs.autumn.pages import ListedCustomer
from jobs.errors import SyncError, TryAgain
from jobs.plan.customer import PaymentIntent, StripeCustomer
from jobs.scan.spool import About, Spool
from jobs.scan.spool_file import EMPTY_PAGES_AT_MOST, ListError, ListGuard, SpoolFullError
from jobs.stripe.client import StripeGateway, open_stripe
from sandbox.serve import serving
from tests.conftest import World
from tests.integration.autumn.test_client import FIRST_PAGE
from tests.support.planting import Field
from tests.support.scans import scan, scan_deps_of

Handler = Callable[[web.Request], Awaitable[web.Response]]

SMALL_SPOOL_BYTES = 200 * 1024


@asynccontextmanager
async def serving_lists(handler: Handler) -> AsyncIterator[tuple[AutumnClient, StripeGateway]]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with (
        serving(app) as url,
        open_autumn(base_url=url, secret_key="am_sk_test_x") as autumn,
        open_stripe(api_key="sk_test_x", base_url=url, throttle=lambda _: nullcontext()) as stripe,
    ):
        yield autumn, stripe


def stripe_page(*ids: str, has_more: bool = True) -> dict[str, Any]:
    data = [{"id": each, "livemode": False, "metadata": {}} for each in ids]
    return {"object": "list", "data": data, "has_more": has_more}


async def failure_of(world: World, folder: Path, **deps: Any) -> tuple[SyncError, str, str]:
    """Return the error of a scan, and the code and text of its stored run."""
    changed = replace(scan_deps_of(world, folder), **deps)
    with pytest.raises(SyncError) as raised:
        await scan(changed)
    (run,) = await changed.record.history()
    assert run.state == "failed"
    return raised.value, run.error, run.text


async def test_scan_of_a_circular_stripe_list_fails(world: World, tmp_path: Path) -> None:
    pages = {"": ("cus_4", "cus_3"), "cus_3": ("cus_2", "cus_1"), "cus_1": ("cus_4", "cus_3")}

    async def circle(request: web.Request) -> web.Response:
        return web.json_response(stripe_page(*pages[request.query.get("starting_after", "")]))

    async with serving_lists(circle) as (_, stripe):
        error, code, text = await failure_of(world, tmp_path, stripe=stripe)
    assert isinstance(error, ListError)
    assert (error.service, code) == ("stripe", "list_repeats")
    assert "Stripe's list of customers repeats itself" in text


async def test_scan_of_a_stripe_list_without_a_second_page_fails(world: World, tmp_path: Path) -> None:
    missing = {"type": "invalid_request_error", "code": "resource_missing", "message": "No such customer"}

    async def first_page_only(request: web.Request) -> web.Response:
        if "starting_after" in request.query:
            return web.json_response({"error": missing}, status=404)
        return web.json_response(stripe_page("cus_2", "cus_1"))

    async with serving_lists(first_page_only) as (_, stripe):
        error, code, _ = await failure_of(world, tmp_path, stripe=stripe)
    assert (error.service, code) == ("stripe", "list_repeats")


async def test_scan_of_a_stripe_list_with_one_endless_page_fails(world: World, tmp_path: Path) -> None:
    async def same(_: web.Request) -> web.Response:
        return web.json_response(stripe_page("cus_2", "cus_1"))

    async with serving_lists(same) as (_, stripe):
        error, code, _ = await failure_of(world, tmp_path, stripe=stripe)
    assert isinstance(error, TryAgain)
    assert code == "unexpected_response"
    assert "the list does not go on" in error.message


async def test_scan_of_one_autumn_page_with_new_cursors_fails(world: World, tmp_path: Path) -> None:
    pages_sent = 0

    async def same(_: web.Request) -> web.Response:
        nonlocal pages_sent
        pages_sent += 1
        return web.json_response({**FIRST_PAGE["json"], "next_cursor": f"cursor-{pages_sent}"})

    async with serving_lists(same) as (autumn, _):
        error, code, text = await failure_of(world, tmp_path, autumn=autumn)
    assert (error.service, code) == ("autumn", "list_repeats")
    assert "Autumn's list of customers repeats itself" in text


@pytest.mark.parametrize("pages", [["ab", "cd"], ["abc", "bcd", "cda"], ["ab", "cd", "ad", "cb"]])
async def test_scan_of_a_circular_autumn_list_with_new_cursors_fails(
    world: World, tmp_path: Path, pages: list[str]
) -> None:
    pages_sent = 0

    async def round_and_round(_: web.Request) -> web.Response:
        nonlocal pages_sent
        ids = pages[pages_sent % len(pages)]
        pages_sent += 1
        rows = [{**FIRST_PAGE["json"]["list"][0], "id": each} for each in ids]
        return web.json_response({"list": rows, "next_cursor": f"cursor-{pages_sent}"})

    async with serving_lists(round_and_round) as (autumn, _):
        error, code, text = await failure_of(world, tmp_path, autumn=autumn)
    assert (error.service, code) == ("autumn", "list_repeats")
    assert "Autumn's list of customers repeats itself" in text
    assert pages_sent <= 2 * len(pages) + 1


def test_list_that_shifts_during_the_read_is_accepted(tmp_path: Path) -> None:
    spool = new_spool(tmp_path)
    spool.add_autumn([listed("bob"), listed("ann")], "1")
    spool.add_autumn([listed("ann"), listed("cid")], "2")
    spool.add_autumn([listed("ann"), listed("dan")], "3")
    spool.add_autumn([listed("ann")], None)
    assert spool.position("autumn").is_done
    spool.close()


def test_endless_empty_pages_fail() -> None:
    guard = ListGuard("stripe", "Stripe's list of payments", rows_at_most=10)
    for page in range(EMPTY_PAGES_AT_MOST):
        guard.check([], f"{page + 1}", came_from=f"{page}", rows=0, known=len)
    with pytest.raises(ListError) as raised:
        guard.check([], "more", came_from="last", rows=0, known=len)
    assert raised.value.code == "list_repeats"


def listed(customer_id: str, stripe_id: str | None = None) -> ListedCustomer:
    row = {**FIRST_PAGE["json"]["list"][0], "id": customer_id, "stripe_id": stripe_id}
    return ListedCustomer.model_validate_json(json.dumps(row))


def stripe_customer(customer_id: str, owner: str) -> StripeCustomer:
    return StripeCustomer(customer_id, None, None, "test", {"autumn_id": owner})


def new_spool(folder: Path, **bounds: int) -> Spool:
    spool = Spool(folder / "spool", **bounds)
    spool.begin(About("run", "identity", 0))
    return spool


def test_customer_listed_twice_is_compared_once(tmp_path: Path) -> None:
    spool = new_spool(tmp_path)
    spool.add_autumn([listed("ann", "cus_1"), listed("bob")], "next")
    spool.add_autumn([listed("ann", "cus_1")], None)
    spool.add_stripe([stripe_customer("cus_1", "ann"), stripe_customer("cus_2", "bob")], "cus_2")
    spool.add_stripe([stripe_customer("cus_1", "ann"), stripe_customer("cus_3", "eve")], None)
    paid = PaymentIntent("pi_1", "succeeded", None)
    spool.add_payments([("cus_1", paid)], "pi_1")
    spool.add_payments([("cus_1", paid), ("cus_1", replace(paid, id="pi_0"))], None)
    spool.index()
    spool.join()
    rows = spool.joined(0, 10, in_doubt=None, payments=True)
    assert [(each.autumn.id, [one.id for one in each.ours]) for each in rows] == [
        ("ann", ["cus_1"]),
        ("bob", ["cus_2"]),
    ]
    assert [each.id for each in rows[0].payments or ()] == ["pi_1", "pi_0"]
    assert (spool.count("autumn"), spool.count("stripe")) == (2, 3)
    spool.close()


def test_spool_limits_the_rows_of_a_list(tmp_path: Path) -> None:
    spool = new_spool(tmp_path, rows_at_most=3)
    spool.add_autumn([listed("ann"), listed("bob")], "next")
    with pytest.raises(ListError, match=r"Autumn's list of customers has more than 3 rows") as raised:
        spool.add_autumn([listed("cid"), listed("dan")], "after")
    assert raised.value.code == "list_too_long"
    assert spool.position("autumn").rows == 2
    spool.close()


def long_page(number: int) -> list[ListedCustomer]:
    return [listed(f"{number}-{each}-{'x' * 200}") for each in range(100)]


def test_spool_limits_the_size_of_its_file(tmp_path: Path) -> None:
    spool = new_spool(tmp_path, bytes_at_most=SMALL_SPOOL_BYTES)

    def fill() -> None:
        for number in range(100):
            spool.add_autumn(long_page(number), f"after {number}")

    with pytest.raises(SpoolFullError, match=r"its limit is 0.2 MiB, and [\d,.]+ MiB are free in SCAN_SPOOL") as raised:
        fill()
    assert (raised.value.service, raised.value.code) == ("scan", "spool_full")
    position = spool.position("autumn")
    assert position.rows == spool.count("autumn") == position.pages * 100
    assert (tmp_path / "spool").stat().st_size <= SMALL_SPOOL_BYTES
    spool.close()


def test_index_without_room_raises_spool_full(tmp_path: Path) -> None:
    spool = new_spool(tmp_path, bytes_at_most=SMALL_SPOOL_BYTES)
    for number in range(4):
        spool.add_autumn(long_page(number), f"after {number}")
    with pytest.raises(SpoolFullError):
        spool.index()
    assert spool.count("autumn") == 400
    spool.close()


async def test_scan_with_a_full_spool_fails_with_the_reason(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    for number in range(500):
        field.agreeing(f"user_{number}_{'x' * 100}")
    error, code, text = await failure_of(world, tmp_path, spool_bytes_at_most=SMALL_SPOOL_BYTES)
    assert isinstance(error, SpoolFullError)
    assert (code, text) == ("spool_full", error.message)
    assert "SCAN_SPOOL" in text
    assert os.listdir(tmp_path) == []


def test_reopened_spool_knows_its_last_cursor(tmp_path: Path) -> None:
    spool = new_spool(tmp_path)
    spool.add_autumn([listed("ann")], "cursor-1")
    spool.close()
    spool = Spool(tmp_path / "spool")
    with pytest.raises(ListError):
        spool.add_autumn([listed("bob")], "cursor-1")
    spool.close()


async def test_report_counts_a_customer_listed_twice_once(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    stripe_id = field.agreeing("ann")
    ann = world.stripe.customers[stripe_id]
    pages = [[ann, stripe_page("cus_2")["data"][0]], [ann, stripe_page("cus_3")["data"][0]]]

    async def overlapping(request: web.Request) -> web.Response:
        is_first = "starting_after" not in request.query
        data = [] if request.path.endswith("search") else pages[0 if is_first else 1]
        return web.json_response({"object": "list", "data": data, "has_more": bool(data) and is_first})

    async with serving_lists(overlapping) as (_, stripe):
        scanned = await scan(replace(scan_deps_of(world, tmp_path), stripe=stripe))
    assert scanned.findings == []
    assert (scanned.run.autumn_customers, scanned.run.stripe_customers) == (1, 3)
