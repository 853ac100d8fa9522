"""What merging saves: many events on few customers, limits on, against the naive worker's one update for each event."""

from time import perf_counter
from typing import Final

from tests.benchmarks.figures import Measured
from tests.benchmarks.saturation import LIVE, RATE
from tests.benchmarks.services import UPDATE
from tests.benchmarks.stage import Bench, change, staged

EVENTS: Final = 10_000
CUSTOMERS: Final = 100


async def coalescing(bench: Bench) -> Measured:
    """coalescing and coalescing_time. Small enough as it is to be the same in quick."""
    async with staged(bench) as stage:
        await stage.begin(LIVE)
        async with stage.worker(stage.environment(live=True)):
            began = perf_counter()
            await stage.add([change(f"c-{number % CUSTOMERS}", number // CUSTOMERS) for number in range(EVENTS)])
            await stage.all_applied(EVENTS)
            seconds = perf_counter() - began
        updates = (await stage.counts())["calls"][f"autumn {UPDATE}"]
    naive_seconds = EVENTS / RATE
    return Measured(
        {"coalescing": updates / EVENTS, "coalescing_time": seconds / naive_seconds}, {"coalescing_seconds": seconds}
    )
