"""The latency of an event on an idle worker, and the cost of an idle worker.

The services answer at once, so the whole latency is our own, including the sockets.
"""

import asyncio
import random
from statistics import quantiles
from time import perf_counter
from typing import Final

from tests.benchmarks.figures import Measured
from tests.benchmarks.services import Options
from tests.benchmarks.stage import INBOX, NO_LIMITS, PREFIX, Bench, Event, Stage, change, sent_commands, staged

OUTCOMES: Final = f"{PREFIX}-outcomes"
APART_SECONDS: Final = (0.03, 0.13)
"""The random time between two events, so that they have no common rhythm with the worker."""
WAIT_MS: Final = 30_000


async def latency(bench: Bench) -> Measured:
    """Measure latency_ms_p50, latency_ms_p99, redis_commands_idle and idle_cpu_percent."""
    count, idle_seconds, rng = bench.size(500, 40, 5), bench.size(60, 10, 2), random.Random(1)
    async with staged(bench) as stage, stage.worker({**stage.environment(), **NO_LIMITS}) as worker:
        await stage.begin(Options(autumn_seconds=0, stripe_seconds=0))
        took_ms = []
        for number in range(count):
            took_ms.append(1000 * await outcome_seconds(stage, change(f"c-{number}", number)))
            await asyncio.sleep(rng.uniform(*APART_SECONDS))
        await asyncio.sleep(bench.size(10, 6, 0))
        before = worker.cpu_seconds
        async with sent_commands(stage) as sent:
            await asyncio.sleep(idle_seconds)
        idle = (worker.cpu_seconds - before) / idle_seconds
    cuts = quantiles(took_ms, n=100, method="inclusive")
    return Measured(
        {
            "latency_ms_p50": cuts[49],
            "latency_ms_p99": cuts[98],
            "redis_commands_idle": sent.number / idle_seconds,
            "idle_cpu_percent": 100 * idle,
        }
    )


async def outcome_seconds(stage: Stage, event: Event) -> float:
    """Return the seconds from the XADD of an event to its recorded outcome, for which it waits in Redis."""
    newest = await stage.redis.xrevrange(OUTCOMES, count=1)
    since = newest[0][0] if newest else "0"
    began = perf_counter()
    await stage.redis.xadd(INBOX, dict(event.items()))
    if not await stage.redis.xread({OUTCOMES: since}, block=WAIT_MS):
        raise TimeoutError("no outcome")
    return perf_counter() - began
