"""The cost of an event: our worker, the naive one and the bare calls, one after the other over the same services.

Only one of them runs at a time, and each figure is the median over the repetitions. All repetitions change the same
customers, so our worker has fetched each of them before.
"""

import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
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
from tests.benchmarks.stage import NO_LIMITS, Bench, Event, Stage, change, rename, staged, wait_until, worker_command

NAIVE: Final = "tests.benchmarks.naive.WorkerSettings"
JOB_MS: Final = 86_400_000
WRITTEN_OF: Final = 4
"""One event in this number ends as a write to Stripe."""


@dataclass(frozen=True)
class Repetition:
    """The time of one repetition, in seconds for each event."""

    seconds: float
    cpu_seconds: float


async def cost(bench: Bench) -> Measured:
    """Measure cpu_ratio_naive, throughput_vs_bare, both calls_per_event, and connections."""
    count, repetitions = bench.size(3000, 400, 80), bench.size(7, 3, 1)
    async with staged(bench) as stage, AsyncExitStack() as stack:
        environment = {**stage.environment(), **NO_LIMITS}
        ours = await stack.enter_async_context(stage.worker(environment))
        bare_command = [sys.executable, "-m", "tests.benchmarks.bare"]
        bare = await stack.enter_async_context(stage.launcher.started(bare_command, environment))
        naive = await stack.enter_async_context(stage.launcher.started(worker_command(NAIVE), environment))
        await naive.says("Starting worker")
        for program in (ours, naive, bare):
            program.stand_still()
        taken: dict[str, list[Repetition]] = {"ours": [], "naive": [], "bare": []}
        connections, calls = 0, list[float]()
        for repetition in range(repetitions + 1):
            async with _worked_on(stage, count):
                taken["ours"].append(await _ours(stage, ours, _changes("ours", repetition, count)))
                counts = await stage.counts()
                connections = max([connections, *counts["connections"].values()])
                calls.append(sum(counts["calls"].values()) / count)
            async with _worked_on(stage, count):
                taken["naive"].append(await _naive(stage, naive, repetition, count))
            async with _worked_on(stage, count):
                taken["bare"].append(await _bare(bare, repetition, count))
        await stage.begin(Options())
        await _ours(stage, ours, [rename(f"ours-{number}", f"Ann {number}") for number in range(count)])
        named = sum((await stage.counts())["calls"].values()) / count
    measured = _compared(taken)
    figures = {"calls_per_event": median(calls[1:]), "calls_per_event_name": named, "connections": connections}
    return Measured({**measured.figures, **figures}, {**measured.beside, "calls_per_event_first": calls[0]})


def _compared(taken: Mapping[str, Sequence[Repetition]]) -> Measured:
    """Return the figures of the programs beside each other.

    The first repetition is a warm-up: it opens the connections, fills the caches, and fetches each customer.
    """
    warm = {name: all_repetitions[1:] for name, all_repetitions in taken.items()}
    cpu_ms = {
        name: 1000 * median(repetition.cpu_seconds for repetition in repetitions) for name, repetitions in warm.items()
    }
    rates = {name: median(1 / repetition.seconds for repetition in repetitions) for name, repetitions in warm.items()}
    cpu = [naive.cpu_seconds / ours.cpu_seconds for ours, naive in zip(warm["ours"], warm["naive"], strict=True)]
    speed = [bare.seconds / ours.seconds for ours, bare in zip(warm["ours"], warm["bare"], strict=True)]
    return Measured(
        {"cpu_ratio_naive": median(cpu), "throughput_vs_bare": median(speed)},
        {f"cpu_ms_per_event_{name}": value for name, value in cpu_ms.items()}
        | {f"events_per_second_{name}": value for name, value in rates.items()},
    )


@asynccontextmanager
async def _worked_on(stage: Stage, count: int) -> AsyncIterator[None]:
    """Reset the services for a repetition. Raises RuntimeError if calls are missing, as from a failing worker."""
    await stage.begin(Options())
    yield
    calls = (await stage.counts())["calls"]
    expected = {f"autumn {UPDATE}": count, "stripe POST /v1/customers/{id}": count // WRITTEN_OF}
    if any(calls.get(name, 0) < least for name, least in expected.items()):
        raise RuntimeError(f"measured {calls}, but expected {expected}")


def _changes(program: str, repetition: int, count: int) -> list[Event]:
    """Return the events of a repetition. The receipts are turned on and off in turns."""
    return [change(f"{program}-{number}", number, receipts=repetition % 2 == 0) for number in range(count)]


async def _ours(stage: Stage, program: Program, events: Sequence[Event]) -> Repetition:
    before, count = await stage.applied(), len(events)
    await stage.add(events)
    cpu, began = program.cpu_seconds, perf_counter()
    with program.running():
        await stage.all_applied(before + count)
        return Repetition((perf_counter() - began) / count, (program.cpu_seconds - cpu) / count)


async def _naive(stage: Stage, program: Program, repetition: int, count: int) -> Repetition:
    async with stage.redis.pipeline(transaction=False) as pipe:
        for number, event in enumerate(_changes("naive", repetition, count)):
            _enqueue(pipe, f"{repetition}-{number}", event)
        await pipe.execute()
    cpu, began = program.cpu_seconds, perf_counter()

    async def is_done() -> bool:
        return not await stage.redis.zcard(QUEUE)

    with program.running():
        await wait_until(is_done)
        return Repetition((perf_counter() - began) / count, (program.cpu_seconds - cpu) / count)


def _enqueue(pipe: Pipeline, job_id: str, event: Mapping[str, str]) -> None:
    """Enqueue as arq's enqueue_job does, which would take three of our round trips for each job."""
    job = serialize_job("sync", (event["customer_id"], event["changes"]), {}, None, 1)
    pipe.psetex(job_key_prefix + job_id, JOB_MS, job)
    pipe.zadd(QUEUE, {job_id: 1})


async def _bare(program: Program, repetition: int, count: int) -> Repetition:
    assert program.process.stdin is not None
    with program.running():
        program.process.stdin.write(f"{count}\n".encode())
        answers: list[str] = []

        async def has_answered() -> bool:
            answers[:] = program.log.read_text().splitlines()
            return len(answers) > repetition

        await wait_until(has_answered)
    seconds, cpu_seconds = json.loads(answers[repetition])
    return Repetition(seconds / count, cpu_seconds / count)
