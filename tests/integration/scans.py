"""What the tests of scans do again and again: scan with a world's doors, and look at what came of it."""

import asyncio
import random
import time
from pathlib import Path
from typing import Any, NamedTuple

from jobs.policy import Policy
from jobs.scan import ScanAsked, ScanDoors, scanning
from jobs.scan_progress import ScanProgress
from jobs.scan_record import ScanRecord
from jobs.scan_report import ScanFinding, ScanRun
from tests.conftest import INBOX, PREFIX, World


class Scanned(NamedTuple):
    """A run and its findings."""

    run: ScanRun
    findings: list[ScanFinding]

    @property
    def found(self) -> set[tuple[str, str, str]]:
        """Customer, kind and field of each finding."""
        return {(each.customer, each.kind, each.field) for each in self.findings}


class AtOnce(random.Random):
    """Chooses the shortest wait there is."""

    def uniform(self, a: float, b: float) -> float:
        """The lower bound."""
        return min(a, b)


async def time_passed(world: World) -> None:
    """Whatever was synced so far was synced long before the next scan."""
    await world.redis.delete(f"{PREFIX}-outcomes")


def scan_doors(
    world: World,
    folder: Path,
    *,
    policy: Policy | None = None,
    max_changed: float = 1.0,
    record: ScanRecord | None = None,
    look_ups_at_most: int = 100,
) -> ScanDoors:
    """A world's doors for a scan that spools into this folder."""
    resources = world.resources
    return ScanDoors(
        redis=world.redis,
        record=record or ScanRecord(world.redis, PREFIX),
        autumn=resources.autumn,
        stripe=resources.stripe,
        limits=resources.limits,
        mode=resources.mode,
        policy=policy or resources.policy,
        inbox=INBOX,
        prefix=PREFIX,
        spool=folder / "scan.sqlite3",
        account="test",
        max_changed=max_changed,
        random=AtOnce(),
        now=time.time,
        look_ups_at_most=look_ups_at_most,
    )


async def scan(doors: ScanDoors, **asked: Any) -> Scanned:
    """Scan to the end."""
    async with scanning(doors, ScanAsked(**asked), ScanProgress()) as report:
        return Scanned(report.this_run, list(report.findings))


async def called(world: World, path: str, calls: int = 1) -> None:
    """Wait until Autumn was called so often."""
    async with asyncio.timeout(10):
        while sum(call.path == path for call in world.autumn.calls) < calls:  # noqa: ASYNC110 - it happens over HTTP
            await asyncio.sleep(0.005)
