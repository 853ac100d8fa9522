"""The scan command ends with the reason if a list repeats itself, and its spool stays small."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sandbox.redis import EmbeddedRedis
from sandbox.serve import serving
from tests.conftest import World
from tests.e2e.cli.test_scan import CLEAN, FAILED, Scans
from tests.integration.autumn.test_client import FIRST_PAGE
from tests.support.planting import Field

Json = dict[str, Any]
SPOOL_BYTES = 1024 * 1024
PAGES_ASKED_FOR = 20
CIRCLE = {"": ("cus_4", "cus_3"), "cus_3": ("cus_2", "cus_1"), "cus_1": ("cus_4", "cus_3")}
REPEATS = "list of customers repeats itself and does not end"
STANDS_STILL = "the list does not go on"


def stripe_page(*ids: str) -> Json:
    data = [{"id": each, "livemode": False, "metadata": {}} for each in ids]
    return {"object": "list", "data": data, "has_more": True}


def autumn_page(cursor: str) -> Json:
    return {**FIRST_PAGE["json"], "next_cursor": cursor}


class Lists:
    """A service that answers each list request with `page(cursor, number of the request)`."""

    def __init__(self, page: Callable[[str, int], Json]) -> None:
        self.requests = 0
        self._page = page

    async def answer(self, request: web.Request) -> web.Response:
        """Answer with a page, or with an empty search result."""
        if request.path.endswith("search"):
            return web.json_response({"object": "search_result", "data": [], "has_more": False})
        self.requests += 1
        of_autumn = await request.json() if request.method == "POST" else {}
        cursor = of_autumn.get("start_cursor") or request.query.get("starting_after", "")
        return web.json_response(self._page(cursor, self.requests))


@asynccontextmanager
async def listed_by(lists: Lists) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", lists.answer)
    async with serving(app) as url:
        yield url


@pytest.fixture
async def scans(world: World, redis_server: EmbeddedRedis, tmp_path: Path) -> Scans:
    Field(world.autumn, world.stripe).agreeing("ann")
    return Scans(redis_server.url, tmp_path, world)


@pytest.mark.parametrize(
    ("service", "page", "reason"),
    [
        ("STRIPE_API_BASE", lambda _, __: stripe_page("cus_2", "cus_1"), STANDS_STILL),
        ("STRIPE_API_BASE", lambda cursor, _: stripe_page(*CIRCLE[cursor]), f"Stripe's {REPEATS}"),
        ("AUTUMN_API_URL", lambda _, __: autumn_page("cursor"), STANDS_STILL),
        ("AUTUMN_API_URL", lambda _, requests: autumn_page(f"cursor-{requests % 3}"), f"Autumn's {REPEATS}"),
        ("AUTUMN_API_URL", lambda _, requests: autumn_page(f"cursor-{requests}"), f"Autumn's {REPEATS}"),
    ],
    ids=["stripe: one page", "stripe: a circle", "autumn: one cursor", "autumn: a circle", "autumn: new cursors"],
)
async def test_scan_of_a_repeating_list_ends_with_the_reason(
    scans: Scans, tmp_path: Path, service: str, page: Callable[[str, int], Json], reason: str
) -> None:
    lists = Lists(page)
    async with listed_by(lists) as url:
        code, output, errors = await scans.run("scan", **{service: url})
    assert (code, output) == (FAILED, "")
    assert reason in errors
    assert "Traceback" not in errors
    assert lists.requests <= PAGES_ASKED_FOR
    assert sum(file.stat().st_size for file in (tmp_path / "spool").rglob("*") if file.is_file()) < SPOOL_BYTES
    assert "failed" in (await scans.run("scan", "history"))[1]


async def test_customer_that_overlapping_pages_list_twice_counts_once(scans: Scans, world: World) -> None:
    (ann,) = world.stripe.customers.values()

    def overlapping(cursor: str, _: int) -> Json:
        new = stripe_page("cus_3" if cursor else "cus_2")["data"]
        return {"object": "list", "data": [ann, *new], "has_more": not cursor}

    async with listed_by(Lists(overlapping)) as url:
        code, output, errors = await scans.run("scan", STRIPE_API_BASE=url)
    assert (code, errors) == (CLEAN, "")
    assert "compared: 1 customer of Autumn, 3 of Stripe" in output
