"""Headless Chromium, driven by Playwright. Tests and pages of ours do not belong here."""

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

from playwright.async_api import Browser, ConsoleMessage, Page, Response, async_playwright

from tests.tools import CHROMIUM

OFF_BY_PLAYWRIGHT: Final = (
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "TcpPortRandomizationWin",
    "ThirdPartyStoragePartitioning",
    "msEdgeUpdateLaunchServicesPreferredVersion",
    "msForceBrowserSignIn",
)
"""The features that Playwright turns off. Chromium reads only the last list, so our list repeats them."""
OFF_BY_US: Final = ("SpareRendererForSitePerProcess", "WebUIOmniboxAimPopup", "WebUIOmniboxPopup")
"""Features that start processes for each window and are not needed by a page. They took half of a page's time."""
DISABLE_FEATURES: Final = "--disable-features="
SWITCHES: Final = (
    "--disable-background-networking",
    "--disable-component-update",
    DISABLE_FEATURES + ",".join((*OFF_BY_PLAYWRIGHT, *OFF_BY_US)),
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--font-render-hinting=none",
    "--no-first-run",
)
WAIT_MS: Final = 60_000
"""The longest that Playwright waits for an expectation. It only guards against hanging, so it suits a busy machine."""


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Browser]:
    """Run the system's Chromium during the block. Raises: NoToolError."""
    program = CHROMIUM.find()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            args=SWITCHES,
            # Chromium's sandbox refuses to run as root; it opens only our own pages.
            chromium_sandbox=os.geteuid() != 0,
            timeout=WAIT_MS,
        )
        async with browser:
            yield browser


@asynccontextmanager
async def open_page(
    browser: Browser, problems: list[str], *, width: int = 1200, height: int = 900, **options: Any
) -> AsyncIterator[Page]:
    """Open a page without cookies and without animations, of the given size in CSS pixels.

    Script errors, blocked loads and policy violations are appended to `problems`, but not a 503 that the browser loads
    again by itself: a page answers so on a busy machine. `options` go to Playwright's `new_context`.
    """
    context = await browser.new_context(
        viewport={"width": width, "height": height}, reduced_motion="reduce", color_scheme="light", **options
    )
    async with context:
        context.set_default_timeout(WAIT_MS)
        page = await context.new_page()

        reloading: set[str] = set()

        def note_reload(response: Response) -> None:
            if response.status == 503 and "refresh" in response.headers:
                reloading.add(response.url)

        def note(message: ConsoleMessage) -> None:
            url = message.location.get("url", "")
            is_of_a_reload = "status of 503" in message.text and url in reloading
            if message.type in {"error", "warning"} and not is_of_a_reload:
                problems.append(f"{message.text} {url}")

        page.on("response", note_reload)
        page.on("console", note)
        page.on("pageerror", lambda error: problems.append(str(error)))
        yield page


async def overflowing(page: Page, widths: Iterable[int]) -> dict[int, int]:
    """Return the page's width for each window width that it overflows, in CSS pixels."""
    wide = {}
    for width in widths:
        await page.set_viewport_size({"width": width, "height": 800})
        needed: int = await page.evaluate("document.documentElement.scrollWidth")
        if needed > width:
            wide[width] = needed
    return wide


async def accessible(page: Page) -> list[tuple[str, str]]:
    """Return role and name of each node in Chromium's accessibility tree."""
    session = await page.context.new_cdp_session(page)
    nodes = (await session.send("Accessibility.getFullAXTree"))["nodes"]
    await session.detach()
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")]
