"""What the tests of pages share: one Chromium for the whole run, and a tab for each test."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.browser.chromium import running_chromium
from tests.browser.tab import Tab, open_tab


@pytest.fixture(scope="session")
def chromium() -> Iterator[str]:
    """The address of the DevTools of a Chromium."""
    with running_chromium() as address:
        yield address


@pytest.fixture
async def tab(chromium: str) -> AsyncIterator[Tab]:
    """A new tab."""
    async with open_tab(chromium) as tab:
        yield tab
