"""Chromium without a window, driven by Playwright. No test and no page of ours belongs in here."""

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

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
"""The features that Playwright turns off. Chromium heeds only the last list of them, so ours repeats these."""
OFF_BY_US: Final = ("SpareRendererForSitePerProcess", "WebUIOmniboxAimPopup", "WebUIOmniboxPopup")
"""Features that start processes for each window and show nothing of a page: they took half of a page's time."""
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
"""The longest that Playwright waits for an expectation of a test: a guard against hanging, also on a busy machine."""


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Browser]:
    """The system's Chromium for the length of the block. Raises: NoToolError."""
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
    """A page without anybody's cookies, of so many CSS pixels and without motion.

    `problems` gets what goes wrong in it: errors of scripts, refused loads and broken policies. `options` are those of
    Playwright's `new_context`.
    """
    context = await browser.new_context(
        viewport={"width": width, "height": height}, reduced_motion="reduce", color_scheme="light", **options
    )
    async with context:
        context.set_default_timeout(WAIT_MS)
        page = await context.new_page()

        def note(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                problems.append(f"{message.text} {message.location.get('url', '')}")

        page.on("console", note)
        page.on("pageerror", lambda error: problems.append(str(error)))
        yield page


async def sticking_out(page: Page, widths: Iterable[int]) -> dict[int, int]:
    """Return how wide the page is at each of these window widths that it does not fit into, in CSS pixels."""
    wide = {}
    for width in widths:
        await page.set_viewport_size({"width": width, "height": 800})
        needed: int = await page.evaluate("document.documentElement.scrollWidth")
        if needed > width:
            wide[width] = needed
    return wide


async def accessible(page: Page) -> list[tuple[str, str]]:
    """Return role and name of each node that Chromium shows to screen readers, as its own tree has them."""
    session = await page.context.new_cdp_session(page)
    nodes = (await session.send("Accessibility.getFullAXTree"))["nodes"]
    await session.detach()
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node.get("ignored")]
