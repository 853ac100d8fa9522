"""A worker with traces enabled, the two services that it syncs, and the changes that are sent to it."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from sandbox.everything import Sandbox
from tests.support.collector import Collector, Span
from tests.support.processes import Running, wait_until
from tests.support.unlimited import FAST, unlimited_sandbox

TRACE, APP_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OTHER_TRACE, OTHER_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT, OTHER = f"00-{TRACE}-{APP_SPAN}-01", f"00-{OTHER_TRACE}-{OTHER_SPAN}-01"
STOP_SECONDS = 20
"""The SDK waits for half a minute."""


@asynccontextmanager
async def services() -> AsyncIterator[Sandbox]:
    """Redis and both services, without limits, with a few linked customers."""
    async with unlimited_sandbox(aof=False) as outside:
        outside.environment.update(FAST)
        for customer in ("ann", *(f"user_{number}" for number in range(10))):
            linked = outside.stripe.seed_customer(metadata={"autumn_id": customer})
            outside.autumn.seed(customer, stripe_id=linked["id"])
        yield outside


def traced(box: Sandbox, url: str, **more: str) -> dict[str, str]:
    """Return the environment of a worker that soon sends its spans to `url`."""
    return {**box.environment, "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "50", **more}


async def change(redis: Redis, customer: str = "ann", traceparent: str | None = None, **changes: str) -> str:
    """Send a change of a customer as an app does. Return the event's id."""
    changed = changes or {"name": "Ann"}
    return await send(redis, new_update(customer_id=customer, changes=changed, traceparent=traceparent))


async def ends(redis: Redis, *events: str, status: str = "applied") -> None:
    """Wait until each of the events has this outcome."""
    for event in events:
        outcome = await outcome_of(redis, event, wait_seconds=100)
        assert outcome is not None
        assert outcome.status == status


async def stop(running: Running) -> None:
    """Stop the worker, and check that it ends well before the SDK of OpenTelemetry would give up its exporter."""
    running.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(STOP_SECONDS):
        assert await running.process.wait() == 0


async def sync_in(collector: Collector) -> Span:
    """Return the only sync for which a span came."""

    async def has_come() -> bool:
        return bool(collector.syncs())

    await wait_until(has_come, what="a span of a sync")
    (sync,) = collector.syncs()
    return sync


def log_lines(running: Running, event: str) -> list[str]:
    """Return the lines of an event in the worker's log."""
    return [line for line in running.log if f'"{event}"' in line]
