"""The fixture that the attacks share: a worker with a port, which must be unharmed at the end."""

from collections.abc import AsyncIterator

import pytest

from tests.support.busy import assert_untroubled, attacked_box
from tests.support.watching import Watched, watched


@pytest.fixture
async def watched_worker() -> AsyncIterator[Watched]:
    """Run a worker with a password for its page. At the end, assert that it lives and logged no traceback."""
    async with attacked_box() as box:
        async with watched({**box.environment, "OPERATOR_PASSWORD": "correct horse battery"}) as one:
            yield one
            assert (await one.answer("/healthz"))[0] == 200
        assert_untroubled(one.running.log)
