"""A worker in the middle of a sync. It loses the lease if its event loop is blocked for long."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from sandbox.everything import Sandbox
from tests.conftest import PREFIX
from tests.support.processes import wait_until
from tests.support.unlimited import unlimited_sandbox
from tests.support.watching import Watched, watched

CUSTOMERS = 4
LATENCY_SECONDS = 2.0
SIGNS_OF_TROUBLE = ("Traceback", "lease_lost", "loop_failed", "Error handling", "exception", "never retrieved")


@asynccontextmanager
async def attacked_box() -> AsyncIterator[Sandbox]:
    """Redis and both simulators, without limits, and some customers."""
    async with unlimited_sandbox() as everything:
        for number in range(CUSTOMERS):
            everything.autumn.seed(f"user_{number}")
        yield everything


@asynccontextmanager
async def busy_worker(
    environment: Mapping[str, str] | None = None, *, latency_seconds: float = LATENCY_SECONDS
) -> AsyncIterator[Watched]:
    """Run a worker whose syncs hold leases during the block. Autumn takes `latency_seconds` for each answer.

    Afterwards every sync was applied, no lease was lost, the worker lives, and its log has no traceback.
    """
    async with attacked_box() as box, Redis.from_url(box.environment["REDIS_URL"]) as redis:
        async with watched({**box.environment, **(environment or {})}) as one:
            box.autumn.switches.latency_seconds = latency_seconds
            events = [
                await send(redis, new_update(customer_id=f"user_{number}", changes={"name": "Name"}))
                for number in range(CUSTOMERS)
            ]

            async def holds_leases() -> bool:
                return len([key async for key in redis.scan_iter(f"{PREFIX}:lease:*")]) == CUSTOMERS

            await wait_until(holds_leases, what="a lease of each customer")
            yield one
            box.autumn.switches.latency_seconds = 0.0
            outcomes = await asyncio.gather(*(outcome_of(redis, event, wait_seconds=100) for event in events))
            assert [outcome.status for outcome in outcomes if outcome is not None] == ["applied"] * CUSTOMERS
            assert (await one.answer("/healthz"))[0] == 200
            assert one.running.process.returncode is None
        assert_untroubled(one.running.log)


def assert_untroubled(log: Sequence[str]) -> None:
    """Assert that no line of the log is about an unexpected error or a lost lease."""
    lines = [line for line in log if any(sign in line for sign in SIGNS_OF_TROUBLE)]
    assert not lines, "".join(lines)
