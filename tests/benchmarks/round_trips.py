"""Redis round trips and commands for an event of a known customer, if each event is for another one, so that nothing
merges.

All of them count: moving events, dispatch, arq's queue, the limits and settling. A script is one command.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from tests.benchmarks.figures import Measured
from tests.benchmarks.proxy import counting
from tests.benchmarks.services import Options
from tests.benchmarks.stage import NO_LIMITS, Bench, Stage, change, sent_commands, staged

OURS: Final = frozenset({"cmdstat_info"})


@dataclass(frozen=True)
class Talk:
    """The round trips and commands of an event."""

    waits: float
    commands: float
    within_scripts_too: float


async def round_trips(bench: Bench) -> Measured:
    """Measure redis_round_trips_per_event and redis_commands_per_event, and the ratio of four workers to one."""
    one, four = await _talk(bench, 1), await _talk(bench, bench.size(4, 4, 2))
    return Measured(
        {
            "redis_round_trips_per_event": one.waits,
            "redis_round_trips_ratio_4": four.waits / one.waits,
            "redis_commands_per_event": one.commands,
        },
        {
            "redis_round_trips_4": four.waits,
            "redis_commands_per_event_4": four.commands,
            "redis_commands_within_scripts_too": one.within_scripts_too,
        },
    )


async def _talk(bench: Bench, workers: int) -> Talk:
    count = bench.size(4000, 500, 40)
    async with staged(bench) as stage, AsyncExitStack() as stack:
        url, waits = await stack.enter_async_context(counting(stage.server.port))
        environment = {**stage.environment(redis_url=url), **NO_LIMITS}
        for _ in range(workers):
            await stack.enter_async_context(stage.worker(environment))
        await stage.begin(Options(autumn_seconds=0.02, stripe_seconds=0.02))
        # The worker fetches each customer once.
        await stage.add([change(f"c-{number}", number) for number in range(count)])
        await stage.all_applied(count)
        waited, within = waits.count, await _commands(stage)
        async with sent_commands(stage) as sent:
            await stage.add([change(f"c-{number}", number, receipts=False) for number in range(count)])
            await stage.all_applied(2 * count)
        worked, within = waits.count - waited, await _commands(stage) - within
        return Talk(worked / count, sent.number / count, within / count)


async def _commands(stage: Stage) -> int:
    """Return the number of commands that Redis has run so far, including those within scripts."""
    stats: dict[str, dict[str, int]] = await stage.redis.info("commandstats")
    return sum(each["calls"] for name, each in stats.items() if name not in OURS)
