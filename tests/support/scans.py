"""Steps of scan tests: scan with a world's dependencies, and read the results."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jobs.plan.policy import Policy
from jobs.scan.record import ScanProgress, ScanRecord
from jobs.scan.report import ScanFinding, ScanRun
from jobs.scan.run import ScanDeps, ScanRequest, scanning
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX, World


class Scanned(NamedTuple):
    """A run and its findings."""

    run: ScanRun
    findings: list[ScanFinding]

    @property
    def found(self) -> set[tuple[str, str, str]]:
        """The customer, kind and field of each finding."""
        return {(each.customer, each.kind, each.field) for each in self.findings}


class AtOnce(random.Random):
    """A random source that always chooses the shortest wait."""

    def uniform(self, a: float, b: float) -> float:
        """The lower bound."""
        return min(a, b)


async def time_passed(world: World) -> None:
    """Make all past syncs much older than the next scan."""
    await world.redis.delete(f"{PREFIX}-outcomes")


def scan_deps_of(
    world: World,
    folder: Path,
    *,
    policy: Policy | None = None,
    max_changed: float = 1.0,
    record: ScanRecord | None = None,
    look_ups_at_most: int = 100,
) -> ScanDeps:
    """Return a world's dependencies for a scan that stores its data in this folder."""
    deps = world.deps
    return ScanDeps(
        redis=world.redis,
        record=record or ScanRecord(world.redis, PREFIX),
        autumn=deps.autumn,
        stripe=deps.stripe,
        limits=deps.limits,
        mode=deps.mode,
        policy=policy or deps.policy,
        inbox=INBOX,
        prefix=PREFIX,
        spool=folder / "scan.sqlite3",
        account="test",
        max_changed=max_changed,
        random=AtOnce(),
        now=time.time,
        look_ups_at_most=look_ups_at_most,
    )


async def scan(deps: ScanDeps, progress: ScanProgress | None = None, **options: Any) -> Scanned:
    """Scan to the end. `progress` counts during the scan."""
    async with scanning(deps, ScanRequest(**options), progress or ScanProgress()) as report:
        return Scanned(report.this_run, list(report.findings))


@asynccontextmanager
async def scan_under_way(
    deps: ScanDeps, progress: ScanProgress | None = None, **options: Any
) -> AsyncIterator[asyncio.Task[Scanned]]:
    """Run a scan beside the block. The scan is stopped at the end of the block, also if the block fails."""
    task = asyncio.create_task(scan(deps, progress, **options))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


@asynccontextmanager
async def between_the_lists(world: World, deps: ScanDeps, **options: Any) -> AsyncIterator[asyncio.Task[Scanned]]:
    """Run a scan that has read Stripe's list. It reads Autumn's list when the block clears Autumn's faults."""
    world.autumn.switches.add(Fault("503", route="customers.list"))
    progress = ScanProgress()
    async with scan_under_way(deps, progress, **options) as running:
        await until(lambda: progress.stripe > 0)
        yield running


async def until(holds: Callable[[], bool]) -> None:
    """Wait until `holds` is true."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - it happens over HTTP
            await asyncio.sleep(0.005)


async def called(world: World, path: str, calls: int = 1) -> None:
    """Wait until Autumn has received `calls` calls to the path."""
    await until(lambda: sum(call.path == path for call in world.autumn.calls) >= calls)
