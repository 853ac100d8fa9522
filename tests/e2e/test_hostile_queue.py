"""A client that can write to Redis can request syncs and send events, and cannot run code in the worker."""

import os
import pickle
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from sandbox.everything import Sandbox, sandbox
from tests.conftest import PREFIX
from tests.support.processes import wait_until, worker


class Bomb:
    """An object that creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._file),)


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        everything.autumn.seed("ann")
        yield everything


async def test_pickled_job_is_discarded_without_being_unpickled(box: Sandbox, tmp_path: Path) -> None:
    made = tmp_path / "made"
    job = pickle.dumps({"t": 0, "f": "sync_customer", "a": (Bomb(made),), "k": {}, "et": 0})
    async with worker(box.environment), Redis.from_url(box.environment["REDIS_URL"]) as redis:
        await redis.set("arq:job:bomb", job)
        await redis.zadd(f"{PREFIX}:queue", {"bomb": time.time() * 1000})
        await wait_until(partial(_gone, redis))
        event = await send(redis, new_update(customer_id="ann", changes={"name": "Ann"}))
        outcome = await outcome_of(redis, event, wait_seconds=100)
    assert outcome is not None
    assert outcome.status == "applied"
    assert not made.exists()
    pickle.loads(job)  # noqa: S301 - it would have worked
    assert made.exists()


async def _gone(redis: Redis) -> bool:
    return not await redis.exists("arq:job:bomb")
