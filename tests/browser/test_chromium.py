"""Start options and isolation of the Chromium that the tests of pages share."""

from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
from playwright.async_api import Browser, Page

from tests.browser.chromium import DISABLE_FEATURES, OFF_BY_US, open_page

pytestmark = pytest.mark.asyncio(loop_scope="session")


def command_lines() -> Iterator[list[str]]:
    """Yield the command line of each child. Processes of other tests may end at any moment."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            yield process.cmdline()


@pytest.mark.usefixtures("chromium")
async def test_features_that_playwright_turns_off_stay_off() -> None:
    # A process that Chromium just forked still has its command line.
    (line,) = {tuple(line) for line in command_lines() if "--remote-debugging-pipe" in line}
    lists = [set(each.removeprefix(DISABLE_FEATURES).split(",")) for each in line if each.startswith(DISABLE_FEATURES)]
    by_playwright, heeded = lists
    assert by_playwright - heeded == set(), "add these to OFF_BY_PLAYWRIGHT"
    assert heeded - by_playwright == set(OFF_BY_US)


async def test_tests_share_no_page_state(chromium: Browser, page: Page, problems: list[str]) -> None:
    await page.context.add_cookies([{"name": "left", "value": "1", "url": "http://127.0.0.1"}])
    await page.context.grant_permissions(["geolocation"])
    await page.emulate_media(color_scheme="dark")
    await page.set_viewport_size({"width": 320, "height": 800})
    async with open_page(chromium, problems) as other:
        assert await other.context.cookies() == []
        query = "navigator.permissions.query({ name: 'geolocation' }).then((answer) => answer.state)"
        assert await other.evaluate(query) != "granted"
        assert await other.evaluate("matchMedia('(prefers-color-scheme: light)').matches")
        assert await other.evaluate("innerWidth") == 1200
