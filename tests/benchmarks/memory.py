"""The memory that waiting and applied events take, in Redis and in the worker."""

import asyncio
from typing import Final

from tests.benchmarks.figures import Measured
from tests.benchmarks.services import Options
from tests.benchmarks.stage import INBOX, NO_LIMITS, PREFIX, Bench, Stage, change, staged, wait_until

EVENTS_OF_A_CUSTOMER: Final = 100
"""The events of each customer. A million events then fill as many mailboxes as may wait outside the inbox, where they
take more memory."""
AT_A_TIME: Final = 5_000
MERGED: Final = 4
"""Events of a customer that come together while the worker's memory is measured, as in a busy account."""
SAMPLE: Final = 20
STANDSTILL: Final = {"AUTUMN_UPDATES_PER_SECOND": "0.001"}
SETTLED_SECONDS: Final = 1.0
PAGE_MB: Final = 4096 / 2**20


async def backlog(bench: Bench) -> Measured:
    """Measure backlog_bytes_per_event, the worse of two cases.

    All events in the inbox, as without a worker; or all in mailboxes, moved by a worker that completes nothing.
    """
    count = bench.size(1_000_000, 100_000, 5_000)
    async with staged(bench) as stage:
        before = await _used_bytes(stage)
        payload = await _fill(stage, count, count // EVENTS_OF_A_CUSTOMER)
        in_inbox = (await _used_bytes(stage) - before - payload) / count
        async with stage.worker({**stage.environment(), **STANDSTILL}):

            async def is_taken_in() -> bool:
                return not await stage.redis.xlen(INBOX)

            await wait_until(is_taken_in)
        in_mailboxes = (await _used_bytes(stage) - before - payload) / count
    return Measured(
        {"backlog_bytes_per_event": max(in_inbox, in_mailboxes)},
        {"inbox_bytes_per_event": in_inbox, "mailbox_bytes_per_event": in_mailboxes},
    )


async def _fill(stage: Stage, count: int, customers: int) -> int:
    """Add the events. Return the bytes of their values."""
    payload = 0
    for first in range(0, count, AT_A_TIME):
        events = [change(f"c-{number % customers}", number) for number in range(first, first + AT_A_TIME)]
        payload += sum(len(value) for event in events for value in event.values())
        await stage.add(events)
    return payload


async def _used_bytes(stage: Stage) -> int:
    """Return Redis' memory, without the buffers of its file and its clients."""
    info: dict[str, int] = await stage.redis.info("memory")
    return info["used_memory"] - info["mem_aof_buffer"] - info["mem_clients_normal"]


async def growth(bench: Bench) -> Measured:
    """Measure rss_mb_idle, rss_growth_mb, and the bytes that a customer and an event leave in Redis."""
    count = bench.size(200_000, 10_000, 500)
    at_a_time = min(count, AT_A_TIME)
    async with staged(bench) as stage, stage.worker({**stage.environment(), **NO_LIMITS}) as worker:
        await stage.begin(Options())
        await asyncio.sleep(SETTLED_SECONDS)
        idle_mb = worker.rss_mb
        for first in range(0, count, at_a_time):
            await stage.add([change(f"c-{number // MERGED}", number) for number in range(first, first + at_a_time)])
            await stage.all_applied(first + at_a_time)
        # At least one page, because a figure of 0 would look as if it had not been measured.
        grown_mb = max(worker.rss_mb - idle_mb, PAGE_MB)
        kept = {
            "record_bytes_per_customer": await _record_bytes(stage),
            "note_bytes_per_event": await _note_bytes(stage),
        }
    return Measured({"rss_mb_idle": idle_mb, "rss_growth_mb": grown_mb}, kept)


async def _record_bytes(stage: Stage) -> float:
    """Return the bytes of a customer's keys that live for weeks, and of the outcomes that live for a day."""
    keys = [f"{PREFIX}:{kind}:c-{number}" for kind in ("customer", "remembered") for number in range(SAMPLE)]
    sizes = [await stage.redis.memory_usage(key) or 0 for key in keys]
    return sum(sizes) / SAMPLE


async def _note_bytes(stage: Stage) -> float:
    """Return the bytes of an event's keys, which identify a repeated event."""
    size, notes = 0, 0
    async for key in stage.redis.scan_iter(f"{PREFIX}:events:*"):
        size += await stage.redis.memory_usage(key, samples=0) or 0
        notes += await stage.redis.hlen(key)  # type: ignore[misc]  # redis-py types two clients as one
    return size / notes
