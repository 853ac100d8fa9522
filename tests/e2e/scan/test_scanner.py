"""The scanner of the Procfile runs a due scan once, however long no scanner ran."""

import signal
import time
from collections.abc import AsyncIterator
from functools import partial

import pytest
from redis.asyncio import Redis

from jobs.scan.record import ScanRecord
from jobs.scan.report import ScanRun
from sandbox.everything import Sandbox
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX
from tests.support.planting import PLANTINGS, Field
from tests.support.processes import command_of, ended, wait_until, worker
from tests.support.unlimited import unlimited_sandbox

DAY_MS = 86_400_000


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    """Run Redis and both services without rate limits, with drift in one customer of ten."""
    async with unlimited_sandbox() as everything:
        field = Field(everything.autumn, everything.stripe)
        PLANTINGS["name"](field, "wrong")
        for index in range(9):
            field.agreeing(f"right_{index}")
        yield everything


@pytest.fixture
async def record(box: Sandbox) -> AsyncIterator[ScanRecord]:
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        yield ScanRecord(redis, PREFIX)


async def has_runs(record: ScanRecord, runs: int) -> bool:
    return len(await record.history()) >= runs


async def scanned_at(record: ScanRecord, started_ms: int) -> None:
    """Record that the last scan started at this time."""
    run = ScanRun("before", "done", started_ms, started_ms + 1000, 1, 1)
    await record.end(run, fingerprints=b"", serves_schedule=True)


async def test_missed_scan_runs_at_once_and_worker_repairs(box: Sandbox, record: ScanRecord) -> None:
    await scanned_at(record, int(time.time() * 1000) - 2 * DAY_MS)
    async with worker(box.environment, "scanner"), worker(box.environment):
        await wait_until(partial(has_runs, record, 2), what="a run")
        await wait_until(lambda: _is_repaired(box), what="the repair")
    run = (await record.history())[0]
    assert (run.state, run.totals, run.requested) == ("done", {"profile-drift": 1}, 1)
    assert await record.watermark_ms() == run.started_ms


async def _is_repaired(box: Sandbox) -> bool:
    stripe_id = box.autumn.customers["wrong"]["stripe_id"]
    return bool(box.stripe.customers[stripe_id]["name"] == "Name of wrong")


async def test_two_scanners_make_one_scan(box: Sandbox, record: ScanRecord) -> None:
    async with worker(box.environment, "scanner") as one, worker(box.environment, "scanner") as other:
        await wait_until(partial(has_runs, record, 1), what="a run")
        for process in (one, other):
            process.process.send_signal(signal.SIGTERM)
            await process.process.wait()
    assert len(await record.history()) == 1
    assert sum(call.path == "/v1/customers.list" for call in box.autumn.calls) == 1


async def test_no_scan_runs_before_it_is_due(box: Sandbox, record: ScanRecord) -> None:
    await scanned_at(record, int(time.time() * 1000) - 1000)
    rarely = {"SCAN_SCHEDULE": "0 0 1 1 *", "LOG_LEVEL": "DEBUG"}
    async with worker(box.environment | rarely, "scanner") as running:
        await running.says("scan_not_due")
    assert [call for call in box.autumn.calls if call.path == "/v1/customers.list"] == []


async def test_stopped_scan_is_resumed_by_the_next_scanner(box: Sandbox, record: ScanRecord) -> None:
    box.stripe.switches.add(Fault("hang", route="GET /v1/customers", times=1, seconds=60))
    async with worker(box.environment, "scanner") as running:
        await wait_until(lambda: _was_listed(box), what="the first page")
        running.process.send_signal(signal.SIGTERM)
        assert await running.process.wait() == 0
    unfinished = await record.unfinished()
    assert await record.history() == ()
    assert unfinished is not None
    async with worker(box.environment, "scanner"):
        await wait_until(partial(has_runs, record, 1), what="a run")
    (run,) = await record.history()
    assert (run.run, run.state) == (unfinished.run, "done")
    assert sum(call.path == "/v1/customers.list" for call in box.autumn.calls) == 1


async def _was_listed(box: Sandbox) -> bool:
    return any(call.path == "/v1/customers.list" for call in box.autumn.calls)


async def test_failed_scan_is_recorded_and_stays_due(box: Sandbox, record: ScanRecord) -> None:
    box.autumn.key = "am_sk_test_another"
    async with worker(box.environment, "scanner") as running:
        await wait_until(partial(has_runs, record, 1), what="a run")
        await running.says("Replace AUTUMN_SECRET_KEY")
    (run,) = await record.history()
    assert (run.state, run.error) == ("failed", "invalid_secret_key")
    assert await record.watermark_ms() is None


async def test_scheduled_scan_refuses_too_many_changes(box: Sandbox, record: ScanRecord) -> None:
    async with worker(box.environment | {"SCAN_MAX_CHANGED": "0.05"}, "scanner") as running:
        await wait_until(partial(has_runs, record, 1), what="a run")
        await running.says("scan with --apply --force")
    (run,) = await record.history()
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        assert (run.state, run.requested, await redis.xlen(INBOX)) == ("refused", 0, 0)


async def test_unscannable_autumn_version_ends_scanner_with_error(box: Sandbox) -> None:
    code, output = await ended(box.environment | {"AUTUMN_API_VERSION": "2.2.0"}, *command_of("scanner"))
    assert code == 78
    assert "AUTUMN_API_VERSION" in output
