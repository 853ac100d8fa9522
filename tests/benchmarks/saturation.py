"""Whether the workers use all of the configured rate, and never more, with a backlog of different customers.

The services refuse calls above the real limits. One refusal makes the figure 0.
"""

from contextlib import AsyncExitStack
from typing import Final

from tests.benchmarks.figures import Measured
from tests.benchmarks.services import Options
from tests.benchmarks.stage import Bench, change, staged, wait_until

RATE: Final = 20
"""The default of AUTUMN_UPDATES_PER_SECOND."""
LIVE: Final = Options(
    live=True,
    autumn_seconds=0.1,
    stripe_seconds=0.08,
    updates_per_second=25,
    stripe_per_second=100,
    endpoint_per_second=25,
)
"""The limits of Autumn and of Stripe's live mode."""
WARM_SECONDS: Final = 2.0


async def saturation(bench: Bench, workers: int) -> Measured:
    """Measure saturation_1, saturation_2 or saturation_4. The figure is 0 if a service refused a call."""
    seconds = bench.size(30, 8, 1)
    async with staged(bench) as stage, AsyncExitStack() as stack:
        await stage.begin(LIVE)
        count = int(RATE * (seconds + WARM_SECONDS + 5))
        await stage.add([change(f"c-{number}", 1) for number in range(count)])
        for _ in range(bench.size(workers, workers, min(workers, 2))):
            await stack.enter_async_context(stage.worker(stage.environment(live=True)))

        async def is_over() -> bool:
            times = (await stage.counts())["update_times"]
            return bool(times) and times[-1] - times[0] >= seconds + WARM_SECONDS

        await wait_until(is_over)
        counts = await stage.counts()
    refused = sum(counts["refused"].values())
    begin = counts["update_times"][0] + WARM_SECONDS
    within = [at for at in counts["update_times"] if begin <= at < begin + seconds]
    achieved = 0.0 if refused else len(within) / seconds / RATE
    return Measured(
        {f"saturation_{workers}": achieved},
        {f"busiest_second_{workers}": _most(within), f"refused_{workers}": refused},
    )


def _most(times: list[float]) -> int:
    """Return the most updates in any second."""
    return max((sum(first <= at < first + 1 for at in times) for first in times), default=0)
