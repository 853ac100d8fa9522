"""A receiver of notifications for each test."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.conftest import PREFIX
from tests.support.receiver import Receiver, receiving


@pytest.fixture(autouse=True)
def _no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def receiver(redis: Redis) -> AsyncIterator[Receiver]:
    # A watermark, so that no scan is overdue.
    await redis.set(f"{PREFIX}:scan:watermark", int(time.time() * 1000))
    async with receiving() as one:
        yield one
