"""The history of runs, and the resume of interrupted ones."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from jobs.plan.policy import Policy
from jobs.scan.record import ScanProgress, ScanRecord, ScanRunningError
from jobs.scan.report import Changed
from jobs.scan.run import ScanRequest, scanning
from sandbox.faults import Fault
from tests.conftest import PREFIX, World
from tests.support.planting import PLANTINGS, Field
from tests.support.scans import called, scan, scan_deps_of

OPEN = Policy(receipts="open")


async def test_interrupted_run_of_another_host_is_stored_as_failed(world: World, tmp_path: Path) -> None:
    Field(world.autumn, world.stripe).agreeing("ann")
    record = ScanRecord(world.redis, PREFIX)
    await record.begin()
    await record.renew(ScanProgress(run="elsewhere", started_ms=1, autumn=7))
    await record.release()
    scanned = await scan(scan_deps_of(world, tmp_path))
    last, before = await record.history()
    assert (last.run, last.state) == (scanned.run.run, "done")
    assert (before.run, before.state, before.error, before.autumn_customers) == ("elsewhere", "failed", "cut_short", 7)


@pytest.mark.parametrize(
    ("other", "hours_later", "is_resumed"),
    [
        ({}, 0, True),
        ({}, 5.9, True),
        ({}, 6.1, False),
        ({"account": "another"}, 0, False),
        ({"policy": OPEN}, 0, False),
    ],
)
async def test_interrupted_run_resumes_only_if_recent_and_unchanged(
    world: World, tmp_path: Path, other: dict[str, Any], hours_later: float, is_resumed: bool
) -> None:
    deps = scan_deps_of(world, tmp_path)
    PLANTINGS["name"](Field(world.autumn, world.stripe), "ann")
    world.stripe.switches.add(Fault("hang", route="GET /v1/customers", times=1))
    running = asyncio.create_task(scan(deps))
    await called(world, "/v1/customers.list")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    world.stripe.switches.clear()
    unfinished = await deps.record.unfinished()
    with contextlib.closing(sqlite3.connect(deps.spool)) as spool, spool:
        spool.execute("UPDATE about SET started_ms = started_ms - ?", (hours_later * 3_600_000,))
    scanned = await scan(replace(deps, **other))
    assert unfinished is not None
    assert (scanned.run.run == unfinished.run) is is_resumed
    assert scanned.found == {("ann", "profile-drift", "name")}
    errors = [run.error for run in await deps.record.history()]
    assert errors == ([""] if is_resumed else ["", "cut_short"])


async def phase_of_running_scan(world: World) -> str | None:
    """Return the phase that a second start is refused with; None if no scan runs."""
    with pytest.raises(ScanRunningError) as refused:
        await ScanRecord(world.redis, PREFIX).begin()
    progress = refused.value.progress
    return None if progress is None else progress.phase


async def test_run_with_a_slow_report_is_stored_once(world: World, tmp_path: Path) -> None:
    deps = scan_deps_of(world, tmp_path, record=ScanRecord(world.redis, PREFIX, lease_seconds=600, renew_seconds=0.2))
    async with scanning(deps, ScanRequest(), ScanProgress()), asyncio.timeout(60):
        while await phase_of_running_scan(world) != "reporting":  # noqa: ASYNC110 - it is in Redis
            await asyncio.sleep(0.01)
        assert await deps.record.unfinished() is None
    await scan(deps)
    assert [run.state for run in await deps.record.history()] == ["done", "done"]


async def test_run_killed_during_its_report_is_not_resumed(world: World, tmp_path: Path) -> None:
    stripe_id = Field(world.autumn, world.stripe).agreeing("ann", name="Edited")
    deps = scan_deps_of(world, tmp_path)
    async with scanning(deps, ScanRequest(), ScanProgress()):
        shutil.copytree(tmp_path, tmp_path / "left")
    shutil.copytree(tmp_path / "left", tmp_path, dirs_exist_ok=True)
    world.stripe.customers[stripe_id]["name"] = "Name of ann"
    scanned = await scan(deps)
    assert scanned.findings == []
    assert len({run.run for run in await deps.record.history()}) == 2


async def test_runs_of_a_newer_version_can_be_read(world: World, tmp_path: Path) -> None:
    deps = scan_deps_of(world, tmp_path)
    noted = await scan(deps)
    newer = asdict(noted.run) | {"unknown": 1, "changed": {"new": 1, "fixed": 2, "still_there": 3, "unknown": 4}}
    await world.redis.lpush(f"{PREFIX}:scan:history", json.dumps(newer))  # type: ignore[misc]  # one type for both
    last, _ = await deps.record.history()
    assert last == replace(noted.run, changed=Changed(1, 2, 3))


async def test_stored_runs_are_bounded(world: World, tmp_path: Path) -> None:
    deps = scan_deps_of(world, tmp_path)
    for _ in range(32):
        await scan(deps)
    assert len(await deps.record.history()) == 30


@pytest.mark.parametrize(
    "broken",
    [
        {"autumn_customers": "x"},
        {"stripe_customers": 1.5},
        {"requested": None},
        {"ended_ms": 10**30},
        {"started_ms": -1},
        {"totals": {"orphan": "x"}},
        {"totals": {"orphan": True}},
        {"text": []},
        {"changed": {"new": "x", "fixed": 0, "still_there": 0}},
    ],
)
async def test_invalid_run_in_history_is_left_out(world: World, tmp_path: Path, broken: dict[str, Any]) -> None:
    record = ScanRecord(world.redis, PREFIX)
    whole = (await scan(scan_deps_of(world, tmp_path))).run
    await world.redis.lpush(f"{PREFIX}:scan:history", json.dumps({**asdict(whole), **broken}))  # type: ignore[misc]  # one type for both clients
    assert await record.history() == (whole,)


@pytest.mark.parametrize(
    "broken", [{"autumn": "x"}, {"started_ms": 10**30}, {"phase": 1}, {"troubles": [{"tries": "x"}]}]
)
async def test_invalid_progress_is_left_out(world: World, broken: dict[str, Any]) -> None:
    record = ScanRecord(world.redis, PREFIX)
    noted = asdict(ScanProgress(run="a"))
    await world.redis.set(f"{PREFIX}:scan:run", json.dumps(noted))
    assert await record.unfinished() is not None
    await world.redis.set(f"{PREFIX}:scan:run", json.dumps({**noted, **broken}))
    assert await record.unfinished() is None


async def test_lease_of_wrong_type_does_not_block_a_scan(world: World) -> None:
    await world.redis.rpush(f"{PREFIX}:scan:lease", "x")  # type: ignore[misc]  # one type for both clients
    assert await ScanRecord(world.redis, PREFIX).begin() is None
    with pytest.raises(ScanRunningError):
        await ScanRecord(world.redis, PREFIX).begin()
