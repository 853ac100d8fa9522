"""The time from the start of a worker to the end of its first job, without the import of its libraries."""

import sys
from statistics import median
from time import perf_counter
from typing import Final

from tests.benchmarks.figures import Measured
from tests.benchmarks.services import Options
from tests.benchmarks.stage import Bench, Stage, change, staged, worker_command

IMPORTS: Final = [sys.executable, "-c", "import stripe, arq, aiohttp"]


async def startup(bench: Bench) -> Measured:
    """Measure startup_s. Both sides alternate, and the first repetition warms up the files."""
    repetitions = bench.size(8, 3, 1)
    async with staged(bench) as stage:
        await stage.begin(Options())
        beyond = []
        for repetition in range(repetitions):
            imports = await _imports(stage)
            beyond.append(await _first_job(stage, repetition) - imports)
    return Measured({"startup_s": median(beyond[1:] or beyond)})


async def _imports(stage: Stage) -> float:
    began = perf_counter()
    async with stage.launcher.started(IMPORTS, {}) as program:
        await program.process.wait()
    return perf_counter() - began


async def _first_job(stage: Stage, repetition: int) -> float:
    await stage.add([change(f"c-{repetition}", 1)])
    began = perf_counter()
    async with stage.launcher.started(worker_command(), stage.environment()):
        await stage.all_applied(repetition + 1)
        return perf_counter() - began
