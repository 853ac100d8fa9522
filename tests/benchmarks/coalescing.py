"""The savings of merging: many events on few customers, with limits, against a naive worker."""

from time import perf_counter
from typing import Final

from tests.benchmarks.figures import Measured
from tests.benchmarks.saturation import LIVE, RATE
from tests.benchmarks.services import UPDATE
from tests.benchmarks.stage import Bench, change, staged

EVENTS_OF_A_CUSTOMER: Final = 100


async def coalescing(bench: Bench) -> Measured:
    """Measure coalescing and coalescing_time. The full size is small enough for the quick form."""
    customers = bench.size(100, 100, 10)
    count = customers * EVENTS_OF_A_CUSTOMER
    async with staged(bench) as stage:
        await stage.begin(LIVE)
        async with stage.worker(stage.environment(live=True)):
            began = perf_counter()
            await stage.add([change(f"c-{number % customers}", number // customers) for number in range(count)])
            await stage.all_applied(count)
            seconds = perf_counter() - began
        updates = (await stage.counts())["calls"][f"autumn {UPDATE}"]
    naive_seconds = count / RATE
    return Measured(
        {"coalescing": updates / count, "coalescing_time": seconds / naive_seconds}, {"coalescing_seconds": seconds}
    )
