"""The cost of an event: our worker, the naive one and the bare calls, one after the other over the same services.

Each stands still while another is measured, and each figure is the median over the turns.
"""

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Final

from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from redis.asyncio.client import Pipeline

from tests.benchmarks.figures import Measured
from tests.benchmarks.naive import QUEUE
from tests.benchmarks.processes import Program
from tests.benchmarks.services import UPDATE, Options
from tests.benchmarks.stage import NO_LIMITS, Bench, Event, Stage, change, staged, wait_until, worker_command

NAIVE: Final = "tests.benchmarks.naive.WorkerSettings"
JOB_MS: Final = 86_400_000
WRITTEN_OF: Final = 4
"""Of so many events one ends as a write to Stripe."""


@dataclass(frozen=True)
class Turn:
    """The processor time of one turn, in seconds for each event."""

    seconds: float
    cpu_seconds: float


async def cost(bench: Bench) -> Measured:
    """cpu_ratio_naive, throughput_vs_bare and connections."""
    count, turns = bench.size(3000, 400, 80), bench.size(7, 3, 1)
    async with staged(bench) as stage, AsyncExitStack() as stack:
        environment = {**stage.environment(), **NO_LIMITS}
        ours = await stack.enter_async_context(stage.worker(environment))
        bare_command = [sys.executable, "-m", "tests.benchmarks.bare"]
        bare = await stack.enter_async_context(stage.launcher.started(bare_command, environment))
        naive = await stack.enter_async_context(stage.launcher.started(worker_command(NAIVE), environment))
        await naive.says("Starting worker")
        for program in (ours, naive, bare):
            program.stand_still()
        taken: dict[str, list[Turn]] = {"ours": [], "naive": [], "bare": []}
        connections = 0
        for turn in range(turns + 1):
            async with _worked_on(stage, count):
                taken["ours"].append(await _ours(stage, ours, turn, count))
                opened = (await stage.counts())["connections"]
                connections = max(connections, opened.get("autumn", 0), opened.get("stripe", 0))
            async with _worked_on(stage, count):
                taken["naive"].append(await _naive(stage, naive, turn, count))
            async with _worked_on(stage, count):
                taken["bare"].append(await _bare(bare, turn, count))
    # The first turn warms up: it opens the connections and fills what is cached.
    warm = {name: all_turns[1:] for name, all_turns in taken.items()}
    cpu_ms = {name: 1000 * median(turn.cpu_seconds for turn in turns) for name, turns in warm.items()}
    rates = {name: median(1 / turn.seconds for turn in turns) for name, turns in warm.items()}
    cpu = [naive.cpu_seconds / ours.cpu_seconds for ours, naive in zip(warm["ours"], warm["naive"], strict=True)]
    speed = [bare.seconds / ours.seconds for ours, bare in zip(warm["ours"], warm["bare"], strict=True)]
    return Measured(
        {"cpu_ratio_naive": median(cpu), "throughput_vs_bare": median(speed), "connections": connections},
        {f"cpu_ms_per_event_{name}": value for name, value in cpu_ms.items()}
        | {f"events_per_second_{name}": value for name, value in rates.items()},
    )


@asynccontextmanager
async def _worked_on(stage: Stage, count: int) -> AsyncIterator[None]:
    """Reset the services for a turn. Raises RuntimeError if the turn left out calls, as a failing worker does."""
    await stage.begin(Options())
    yield
    calls = (await stage.counts())["calls"]
    expected = {f"autumn {UPDATE}": count, "stripe GET /v1/customers/{id}": count}
    expected["stripe POST /v1/customers/{id}"] = count // WRITTEN_OF
    if any(calls.get(name, 0) < least for name, least in expected.items()):
        raise RuntimeError(f"measured {calls} where {expected} were expected")


def _customers(turn: int, count: int) -> list[Event]:
    return [change(f"c-{turn}-{number}", number) for number in range(count)]


async def _ours(stage: Stage, program: Program, turn: int, count: int) -> Turn:
    before = await stage.applied()
    await stage.add(_customers(turn, count))
    cpu, began = program.cpu_seconds, perf_counter()
    with program.running():
        await stage.all_applied(before + count)
        return Turn((perf_counter() - began) / count, (program.cpu_seconds - cpu) / count)


async def _naive(stage: Stage, program: Program, turn: int, count: int) -> Turn:
    async with stage.redis.pipeline(transaction=False) as pipe:
        for number, event in enumerate(_customers(turn, count)):
            _enqueue(pipe, f"{turn}-{number}", event)
        await pipe.execute()
    cpu, began = program.cpu_seconds, perf_counter()

    async def is_done() -> bool:
        return not await stage.redis.zcard(QUEUE)

    with program.running():
        await wait_until(is_done)
        return Turn((perf_counter() - began) / count, (program.cpu_seconds - cpu) / count)


def _enqueue(pipe: Pipeline, job_id: str, event: Mapping[str, str]) -> None:
    """As arq's enqueue_job does, which would take three round trips of ours for each."""
    job = serialize_job("sync", (event["customer_id"], event["changes"]), {}, None, 1)
    pipe.psetex(job_key_prefix + job_id, JOB_MS, job)
    pipe.zadd(QUEUE, {job_id: 1})


async def _bare(program: Program, turn: int, count: int) -> Turn:
    assert program.process.stdin is not None
    with program.running():
        program.process.stdin.write(f"{count}\n".encode())
        answers: list[str] = []

        async def has_answered() -> bool:
            answers[:] = program.log.read_text().splitlines()
            return len(answers) > turn

        await wait_until(has_answered)
    seconds, cpu_seconds = json.loads(answers[turn])
    return Turn(seconds / count, cpu_seconds / count)
