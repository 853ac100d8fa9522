"""Every part of the benchmark, in order. Each part has its own stage, measures alone, and adds its keys."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from tests.benchmarks.coalescing import coalescing
from tests.benchmarks.cost import cost
from tests.benchmarks.effect import effect
from tests.benchmarks.figures import Measured
from tests.benchmarks.latency import latency
from tests.benchmarks.memory import backlog, growth
from tests.benchmarks.processes import launching
from tests.benchmarks.round_trips import round_trips
from tests.benchmarks.saturation import saturation
from tests.benchmarks.scan_cost import scan
from tests.benchmarks.stage import Bench, Form
from tests.benchmarks.startup import startup

Part = Callable[[Bench], Awaitable[Measured]]

STEPS: Final[tuple[tuple[Part, ...], ...]] = (
    (cost,),
    (latency,),
    (effect,),
    (round_trips,),
    (startup,),
    (scan,),
    (*(partial(saturation, workers=workers) for workers in (1, 2, 4)), coalescing, backlog, growth),
)
"""The parts of one step only wait or fill memory, so the quick form runs them at the same time."""


async def measure(*, form: Form, folder: Path, tell: Callable[[str], None]) -> Measured:
    """Run every part and return all results. `tell` receives the name of the running part."""
    figures: dict[str, float] = {}
    beside: dict[str, float] = {}
    async with launching(folder) as launcher:
        bench = Bench(launcher, form)
        for parts in _at_a_time(form):
            tell(", ".join(_name(part) for part in parts))
            for measured in await asyncio.gather(*(part(bench) for part in parts)):
                figures |= measured.figures
                beside |= measured.beside
    return Measured(figures, beside)


def _at_a_time(form: Form) -> Sequence[Sequence[Part]]:
    """Return the parts in order, grouped if the form runs them at the same time."""
    every = [part for step in STEPS for part in step]
    return {Form.FULL: [[part] for part in every], Form.QUICK: STEPS, Form.CHECK: [every]}[form]


def _name(part: Part) -> str:
    if isinstance(part, partial):
        return f"{part.func.__name__} {' '.join(str(value) for value in part.keywords.values())}"
    return getattr(part, "__name__", "")
