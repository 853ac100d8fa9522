"""The time of a scan against the bare lists, and its memory: the figures of tests.benchmarks.scan, as a part."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

from tests.benchmarks import scan as scans
from tests.benchmarks.figures import Measured
from tests.benchmarks.stage import Bench

PAGE_SECONDS: Final = 0.02


async def scan(bench: Bench) -> Measured:
    """Measure scan_vs_list and scan_rss_mb."""
    customers, rounds = bench.size(100_000, 20_000, 2_000), bench.size(3, 1, 1)
    return await asyncio.to_thread(_measure, customers, rounds, bench.launcher.folder)


def _measure(customers: int, rounds: int, folder: Path) -> Measured:
    with ExitStack() as running:
        bench = scans.Bench(running, customers, PAGE_SECONDS, folder)
        taken = [(bench.bare(), bench.scan()[0]) for _ in range(rounds)]
    ratio = median(ours.seconds / bare.seconds for bare, ours in taken)
    return Measured({"scan_vs_list": ratio, "scan_rss_mb": max(ours.most_mb for _, ours in taken)})
