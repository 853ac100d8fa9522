"""Take the screenshots of the documents: `make pictures`.

They show made-up customers and the simulated services. optipng makes them smaller if it is installed.
"""

import asyncio
import random
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.async_api import Browser, Page, ViewportSize
from redis.asyncio import Redis

from sandbox.autumn.server import AutumnSimulator
from sandbox.redis import embedded_redis
from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator
from tests.browser.chromium import open_page, running_chromium
from tests.browser.reports import finding, report_of
from tests.conftest import World, opened_deps
from tests.support.operator import busy_day, operator_page, sign_in
from tests.support.watches import poll
from tests.tools import NoToolError
from worker.reports.html import write_page

DOCS = Path(__file__).parents[2] / "docs"
WIDTH = 1180
SMALL: ViewportSize = {"width": WIDTH, "height": 760}
MIDDLE: ViewportSize = {"width": WIDTH, "height": 1080}


async def take_scan_report(page: Page) -> None:
    """Take `docs/scan-report.png`."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.html"
        write_page(report_of([finding(number) for number in range(24)]), report)
        await page.goto(report.as_uri())
        await page.fill("#findings-search", "drift")
        await page.evaluate("scrollTo(0, 0)")
        _save("scan-report.png", await page.screenshot())


async def take_operator_page(page: Page) -> None:
    """Take `docs/page-overview.png`, `docs/page-overview-dark.png` and `docs/page-customer.png`."""
    random.seed(1)
    stripe = StripeSimulator(requests_per_second=None, endpoint_requests_per_second=None, search_per_second=None)
    with embedded_redis(aof=False) as server:
        async with Redis.from_url(server.url) as redis, serving(stripe.app()) as stripe_url:
            autumn = AutumnSimulator(updates_per_second=None, stripe_url=stripe_url, stripe_key=stripe.key)
            async with (
                serving(autumn.app()) as autumn_url,
                opened_deps(redis, autumn_url, autumn.key, stripe_url, stripe.key) as resources,
            ):
                await _take_a_day(page, World(redis, stripe, autumn, resources, autumn_url))


async def _take_a_day(page: Page, world: World) -> None:
    await busy_day(world)
    edited = world.autumn.customers["user_44"]["stripe_id"]
    world.stripe.edit(edited, metadata={"autumn_send_email_receipts": ""})
    await poll(world)
    async with operator_page(world) as url:
        await sign_in(page, url)
        _save("page-overview.png", await page.screenshot())
        await page.set_viewport_size(SMALL)
        await page.emulate_media(color_scheme="dark")
        _save("page-overview-dark.png", await page.screenshot())
        await page.emulate_media(color_scheme="light")
        world.autumn.switches.clear()
        world.autumn.customers["user_44"] |= {"name": "Ann Example", "email": "ann@example.com"}
        await page.set_viewport_size(MIDDLE)
        async with page.expect_navigation():
            customer = page.locator("input[name=customer]:not([type=hidden])")
            await customer.fill("user_44")
            await customer.press("Enter")
        _save("page-customer.png", await page.screenshot())


def _save(name: str, picture: bytes) -> None:
    path = DOCS / name
    path.write_bytes(picture)
    if shutil.which("optipng"):
        subprocess.run(["optipng", "-quiet", "-o2", str(path)], check=True)  # noqa: S607
    print(f"docs/{name}: {path.stat().st_size / 1000:.0f} kB")


async def take_all(browser: Browser) -> None:
    """Take all screenshots."""
    async with open_page(browser, [], width=WIDTH, height=1240, device_scale_factor=1.5) as page:
        await take_scan_report(page)
    async with open_page(browser, [], width=WIDTH, height=1240, device_scale_factor=1.3) as page:
        await take_operator_page(page)


async def main() -> None:
    """Take all screenshots in a new Chromium."""
    async with running_chromium() as browser:
        await take_all(browser)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except NoToolError as error:
        sys.exit(str(error))
