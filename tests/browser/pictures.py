"""The README's pictures of the pages: `make pictures`.

They are taken of made-up customers and of the simulated services. Where optipng is at hand it makes them smaller.
"""

import asyncio
import random
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.asyncio import Redis

from sandbox.autumn import AutumnSimulator
from sandbox.redis import embedded_redis
from sandbox.serve import serving
from sandbox.stripe import StripeSimulator
from tests.browser.chromium import running_chromium
from tests.browser.reports import finding, report_of
from tests.browser.tab import Tab, open_tab
from tests.conftest import World, doors
from tests.operator import busy_day, operator_page, sign_in
from worker.scan_page import write_page

DOCS = Path(__file__).parents[2] / "docs"


async def take_scan_report(tab: Tab) -> None:
    """`docs/scan-report.png`."""
    with TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        write_page(report_of([finding(number) for number in range(24)]), page)
        await tab.show(width=1180, height=1240, scale=1.5)
        await tab.open(page.as_uri())
        await tab.click("#findings-search")
        await tab.type("drift")
        await tab.evaluate("scrollTo(0, 0)")
        _save("scan-report.png", await tab.picture())


async def take_operator_page(tab: Tab) -> None:
    """`docs/page-overview.png`, `docs/page-overview-dark.png` and `docs/page-customer.png`."""
    random.seed(1)
    stripe = StripeSimulator(requests_per_second=None, endpoint_requests_per_second=None, search_per_second=None)
    with embedded_redis(aof=False) as server:
        async with Redis.from_url(server.url) as redis, serving(stripe.app()) as stripe_url:
            autumn = AutumnSimulator(updates_per_second=None, stripe_url=stripe_url, stripe_key=stripe.key)
            async with (
                serving(autumn.app()) as autumn_url,
                doors(redis, autumn_url, autumn.key, stripe_url, stripe.key) as resources,
            ):
                await _take_a_day(tab, World(redis, stripe, autumn, resources, autumn_url))


async def _take_a_day(tab: Tab, world: World) -> None:
    await busy_day(world)
    async with operator_page(world) as url:
        await tab.show(width=1180, height=1240, scale=1.3)
        await sign_in(tab, url)
        _save("page-overview.png", await tab.picture())
        await tab.show(width=1180, height=760, scale=1.3, dark=True)
        _save("page-overview-dark.png", await tab.picture())
        world.autumn.switches.clear()
        world.autumn.customers["user_44"] |= {"name": "Ann Example", "email": "ann@example.com"}
        await tab.show(width=1180, height=1080, scale=1.3)
        await tab.evaluate("document.querySelector('input[name=customer]:not([type=hidden])').focus()")
        await tab.type("user_44")
        await tab.press("Enter")
        await tab.has_loaded()
        _save("page-customer.png", await tab.picture())


def _save(name: str, picture: bytes) -> None:
    path = DOCS / name
    path.write_bytes(picture)
    if shutil.which("optipng"):
        subprocess.run(["optipng", "-quiet", "-o2", str(path)], check=True)  # noqa: S607
    print(f"docs/{name}: {path.stat().st_size / 1000:.0f} kB")


async def take_all(devtools: str) -> None:
    """Take all of them."""
    async with open_tab(devtools) as tab:
        await take_scan_report(tab)
    async with open_tab(devtools) as tab:
        await take_operator_page(tab)


def main() -> None:
    """Take all of them, with a Chromium of their own."""
    with running_chromium() as devtools:
        asyncio.run(take_all(devtools))


if __name__ == "__main__":
    main()
