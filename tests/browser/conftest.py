"""Fixtures for tests of pages: one Chromium for the whole run, and a page for each test.

Playwright is bound to the event loop that started it, so these tests and their fixtures share the session's loop.
"""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from redis.asyncio import Redis

from sandbox.redis import EmbeddedRedis
from tests.browser.chromium import WAIT_MS, open_page, running_chromium
from tests.conftest import World, opened_world

expect.set_options(timeout=WAIT_MS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Run one Chromium for this process, from the first test that needs it to the end of the session."""
    async with running_chromium() as browser:
        yield browser


@pytest.fixture
def problems() -> Iterator[list[str]]:
    """Collect script errors, blocked loads and policy violations of the test's pages; the test fails if any is left."""
    found: list[str] = []
    yield found
    assert found == []


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium: Browser, problems: list[str]) -> AsyncIterator[Page]:
    """A new page, in a context of its own."""
    async with open_page(chromium, problems) as page:
        yield page


@pytest_asyncio.fixture(loop_scope="session")
async def redis(redis_server: EmbeddedRedis) -> AsyncIterator[Redis]:
    """A client of an empty Redis, in the session's loop."""
    async with Redis.from_url(redis_server.url) as client:
        await client.flushall()
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def world(redis: Redis) -> AsyncIterator[World]:
    """Both simulators and a job's dependencies, in the session's loop."""
    async with opened_world(redis) as opened:
        yield opened
