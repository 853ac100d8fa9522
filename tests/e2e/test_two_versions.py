"""Two versions of the worker at once, as during a rolling deploy, with apps newer than one of them."""

import itertools
import signal
from collections.abc import AsyncIterator
from functools import partial

import pytest
from redis.asyncio import Redis

from jobs.queue.record import read_totals
from sandbox.everything import Sandbox
from tests.conftest import INBOX, PREFIX
from tests.support.processes import Running, wait_until, worker
from tests.support.unlimited import FAST, unlimited_sandbox

CUSTOMERS = [f"user_{number}" for number in range(40)]
ROUNDS = 5
"""The fewest changes of each customer while both workers run. More follow until both have synced some."""


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with unlimited_sandbox() as everything:
        everything.environment.update(FAST)
        for customer in CUSTOMERS:
            linked = everything.stripe.seed_customer(metadata={"autumn_id": customer})
            everything.autumn.seed(customer, stripe_id=linked["id"])
        yield everything


async def send_changes(redis: Redis, name: str) -> None:
    """Send a change of every customer, with a field that only the later version knows."""
    for customer in CUSTOMERS:
        await redis.xadd(INBOX, {"customer_id": customer, "changes": f'{{"name": "{name}"}}', "urgency": "high"})


def logged(event: str, *workers: Running) -> bool:
    """Return whether each of the workers has logged the event."""
    return all(any(f'"{event}"' in line for line in each.log) for each in workers)


async def test_field_unknown_to_one_version_stops_neither(box: Sandbox) -> None:
    later = ["arq", "tests.e2e.newer.worker.WorkerSettings"]
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        async with worker(box.environment) as old, worker(box.environment, command=later) as new:
            for number in itertools.count():
                await send_changes(redis, f"Name {number}")
                await wait_until(partial(_all_are, box, f"Name {number}"))
                if number + 1 >= ROUNDS and logged("unknown_fields_ignored", old) and logged("sync_settled", old, new):
                    break
            await wait_until(lambda: _all_settled(redis))
            old.process.send_signal(signal.SIGTERM)
            assert await old.process.wait() == 0
            await send_changes(redis, "Name after the deploy")
            await wait_until(partial(_all_are, box, "Name after the deploy"))
        totals = await read_totals(redis, PREFIX)
    assert any('"unknown_fields_ignored"' in line and '"urgency"' in line for line in old.log)
    assert not logged("unknown_fields_ignored", new)
    assert totals.get("dead", 0) == 0
    assert 0 < totals["unknown_fields"] < totals["received"]


async def _all_are(box: Sandbox, name: str) -> bool:
    stripes = box.stripe.customers
    return all(each["name"] == name == stripes[each["stripe_id"]]["name"] for each in box.autumn.customers.values())


async def _all_settled(redis: Redis) -> bool:
    return not await redis.zcard(f"{PREFIX}:waiting") and not await redis.zcard(f"{PREFIX}:dispatched")
