"""The time to effect: from the XADD of a new name until both sides have it, beside the bare calls.

The worker is idle and has fetched the customer before, so it makes two calls. The bare calls are these two, one after
the other, by a plain client in the same minute.
"""

from statistics import median
from time import perf_counter
from typing import Any, Final

from tests.benchmarks.figures import Measured
from tests.benchmarks.latency import outcome_seconds
from tests.benchmarks.services import Options
from tests.benchmarks.stage import NO_LIMITS, Bench, Stage, change, rename, staged

CALLS: Final = Options(autumn_seconds=0.1, stripe_seconds=0.25)
CUSTOMER: Final = "ann"


async def effect(bench: Bench) -> Measured:
    """Measure time_to_effect."""
    count, ratios = bench.size(40, 8, 1), list[float]()
    async with staged(bench) as stage, stage.worker({**stage.environment(), **NO_LIMITS}):
        await stage.begin(CALLS)
        await outcome_seconds(stage, change(CUSTOMER, 1))
        for number in range(count):
            bare = await _bare(stage, f"Bare {number}")
            ratios.append(await outcome_seconds(stage, rename(CUSTOMER, f"Ann {number}")) / bare)
    return Measured({"time_to_effect": median(ratios)})


async def _bare(stage: Stage, name: str) -> float:
    """Return the seconds of both calls for a customer of their own."""
    autumn, stripe = stage.addresses["autumn"], stage.addresses["stripe"]
    calls: list[tuple[str, dict[str, Any]]] = [
        (f"{stripe}/v1/customers/cus_bare", {"data": {"name": name}}),
        (f"{autumn}/v1/customers.update", {"json": {"customer_id": "bare", "name": name}}),
    ]
    began = perf_counter()
    for url, body in calls:
        async with stage.control.post(url, **body) as answer:
            await answer.read()
    return perf_counter() - began
