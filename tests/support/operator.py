"""The operator's page over the simulated services, and the data of a busy day."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from math import sin

from aiohttp import web
from playwright.async_api import Page
from structlog.testing import capture_logs

from config.loading import load_settings
from jobs.queue.status import read_overview
from jobs.scan.record import ScanRecord
from sandbox.serve import serving
from tests.browser.reports import finding, report_of
from tests.conftest import INBOX, PREFIX, World
from tests.support.steps import autumn_goes_down, change, seed
from worker.status.history import MINUTE_MS, History
from worker.status.shared_state import SharedStateReader
from worker.web.access import ANSWER_SECONDS
from worker.web.pages import pages_of

PASSWORD = "correct horse battery"
HOSTILE = "<img src=x onerror=\"document.title='gone'\">\u202e\x00'&"


@asynccontextmanager
async def operator_page(world: World, *, read_seconds: float = ANSWER_SECONDS) -> AsyncIterator[str]:
    """Yield the address of the page. PASSWORD opens it."""
    async with page_with_token(world, PASSWORD, read_seconds=read_seconds) as (url, _):
        yield url


@asynccontextmanager
async def page_with_token(
    world: World, password: str | None, *, read_seconds: float = ANSWER_SECONDS
) -> AsyncIterator[tuple[str, str]]:
    """Yield the address of the page and the token that opens it. Without a password the page is read-only.

    The page waits for Redis up to `read_seconds`: longer than a worker's, because a busy machine delays Redis.
    """
    settings = load_settings(
        REDIS_URL="redis://127.0.0.1",
        AUTUMN_SECRET_KEY=world.autumn.key,
        STRIPE_API_KEY=world.stripe.key,
        OPERATOR_PASSWORD=password,
    )
    shared = SharedStateReader(
        world.redis, prefix=PREFIX, inbox=INBOX, scan_schedule=settings.scan_schedule, read_seconds=read_seconds
    )
    app = web.Application()
    with capture_logs() as logs:
        pages_of(settings, world.redis, world.deps, shared.read_cached, read_seconds=read_seconds)(app)
    (token,) = [each["url"].partition("?token=")[2] for each in logs] or [""]
    async with serving(app) as url:
        yield url, token


async def sign_in(page: Page, url: str) -> None:
    """Open the page and enter the password by keyboard."""
    await page.goto(url)
    await page.focus("[name=password]")
    await page.keyboard.insert_text(PASSWORD)
    async with page.expect_navigation():
        await page.keyboard.press("Enter")


async def bury(world: World, customer: str, name: str = "Ann") -> None:
    """Dead-letter a change of a customer that Autumn does not know."""
    await change(world, customer, name=name)
    await world.run()


async def busy_day(world: World) -> None:
    """Some customers in sync, some dead letters, a scan, six hours of history, and an Autumn that is just down."""
    seed(world, "ann", *(f"user_{number}" for number in range(40, 48)))
    for number in range(40, 48):
        await change(world, f"user_{number}", name=f"Customer {number}", send_email_receipts=True)
    await world.run()
    for customer in ("user_7", "user_19", "org_3"):
        await bury(world, customer)
    record = ScanRecord(world.redis, PREFIX)
    report = report_of([finding(number) for number in range(24)], runs=5)
    for run in (*reversed(report.before), report.this_run):
        await record.end(run)
    await note_hours(world)
    await autumn_goes_down(world)
    for number in (40, 41, 42):
        await change(world, f"user_{number}", name="Somebody else")
    await world.mailbox.move()


async def note_hours(world: World, minutes: int = 360) -> None:
    """Record minutes of history that look like a day."""
    overview = await read_overview(world.redis, PREFIX, INBOX)
    history, applied = History(world.redis, PREFIX), 1000
    for ago in range(minutes, -1, -1):
        busy = 1 + sin(ago / 45) + sin(ago / 7) / 3
        applied += int(busy * 60) + 20
        now_ms = overview.now_ms - ago * MINUTE_MS
        oldest_ms = now_ms - int(busy * 4000) - 1000 * max(0, 40 - abs(ago - 150)) * 3
        totals = {"received": applied + 5, "applied": applied, "dead": applied // 2500}
        then = replace(overview, now_ms=now_ms, oldest_sent_ms=oldest_ms, totals=totals)
        calls = {"autumn-updates": int(busy * 340) + 60, "stripe": int(busy * 250) + 100}
        await history.note(then, calls)
