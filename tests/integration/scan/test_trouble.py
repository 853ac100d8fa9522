"""A scan while things change, lists lag, services fail, and other scans run."""

import asyncio
import os
from pathlib import Path

import pytest

from jobs.enqueue import send
from jobs.errors import Halt, TryAgain
from jobs.events import new_update
from jobs.scan.listing import PATIENCE_SECONDS
from jobs.scan.record import ScanLostError, ScanProgress, ScanRecord, ScanRunningError
from jobs.scan.run import ScanRequest, scanning
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX, World
from tests.support.planting import PLANTINGS, Field
from tests.support.scans import (
    between_the_lists,
    called,
    scan,
    scan_deps_of,
    scan_under_way,
    time_passed,
    until,
)
from tests.support.steps import change


async def test_customers_with_waiting_events_are_left_out(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    for customer in ("settled", "in_inbox", "waits", "called", "quiet"):
        PLANTINGS["name"](field, customer)
    await change(world, "called", metadata={"a": 1})
    await world.mailbox.move()
    await world.mailbox.dispatch(1)
    await change(world, "waits", metadata={"a": 1})
    await world.mailbox.move()
    await change(world, "in_inbox", metadata={"a": 1})
    scanned = await scan(scan_deps_of(world, tmp_path), apply=True)
    assert {each.customer for each in scanned.findings} == {"settled", "quiet"}
    assert (scanned.run.left_out, scanned.run.requested, scanned.run.totals) == (3, 2, {"profile-drift": 2})


async def test_event_during_a_scan_is_no_drift(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    for customer in ("changes", "rests"):
        field.agreeing(customer)
    async with between_the_lists(world, scan_deps_of(world, tmp_path), apply=True) as running:
        await change(world, "changes", name="New name")
        await world.run()
        world.autumn.switches.clear()
        scanned = await running
    assert scanned.findings == []
    assert (scanned.run.left_out, scanned.run.requested) == (1, 0)


async def test_sync_fetches_again_after_an_edit_during_a_scan(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    stripe_id = field.agreeing("ann")
    async with between_the_lists(world, scan_deps_of(world, tmp_path), apply=True) as running:
        for side in (world.autumn.customers["ann"], world.stripe.customers[stripe_id]):
            side["name"] = "Edited on both sides"
        world.autumn.switches.clear()
        scanned = await running
    assert scanned.found == {("ann", "profile-drift", "name")}
    await world.run()
    assert [call for call in world.stripe.calls if call.method == "POST"] == []
    assert world.stripe.customers[stripe_id]["name"] == "Edited on both sides"


async def test_lagging_list_causes_a_finding_but_no_write(world: World, tmp_path: Path) -> None:
    stripe_id = Field(world.autumn, world.stripe).agreeing("ann")
    world.autumn.hold_lists()
    await change(world, "ann", name="New name", email="new@example.com")
    await world.run()
    writes = len(world.stripe.writes)
    await time_passed(world)
    scanned = await scan(scan_deps_of(world, tmp_path), apply=True)
    assert {each.field for each in scanned.findings} == {"name", "email"}
    assert scanned.run.requested == 1
    await world.run()
    await time_passed(world)
    assert len(world.stripe.writes) == writes
    assert world.stripe.customers[stripe_id]["name"] == "New name"
    world.autumn.organisation.replica = None
    assert (await scan(scan_deps_of(world, tmp_path))).findings == []


async def test_deletion_of_the_cursor_customer_does_not_stop_the_list(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    for index in range(250):
        field.agreeing(f"user_{index}")
    listed = [customer for customer in reversed(world.stripe.customers)][:100]
    async with scan_under_way(scan_deps_of(world, tmp_path)) as running:
        async with asyncio.timeout(60):
            while not world.stripe.calls or world.stripe.calls[0].status is None:  # noqa: ASYNC110 - it happens over HTTP
                await asyncio.sleep(0)
        for stripe_id in listed[-3:]:
            world.stripe.account.customers.delete(stripe_id, {})
        scanned = await running
    assert scanned.found == {(f"user_{index}", "gone", "stripe_id") for index in (150, 151, 152)}
    assert sum(call.path == "/v1/customers" for call in world.stripe.calls) == 3 + 3
    assert scanned.run.stripe_customers == 250 - 3


@pytest.mark.parametrize("kind", ["429", "500", "503", "cut", "garbage"])
async def test_page_with_a_passing_failure_is_retried(world: World, tmp_path: Path, kind: str) -> None:
    Field(world.autumn, world.stripe).agreeing("ann")
    world.autumn.switches.add(Fault(kind, times=1))  # type: ignore[arg-type]  # of the parameters above
    world.stripe.switches.add(Fault(kind, times=1))  # type: ignore[arg-type]
    scanned = await scan(scan_deps_of(world, tmp_path))
    assert (scanned.run.state, scanned.findings) == ("done", [])


async def test_failing_service_is_shown_until_it_answers(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    for index in range(5):
        field.agreeing(f"user_{index}")
    world.autumn.largest_page = 1
    world.stripe.switches.add(Fault("503", route="GET /v1/customers"))
    progress = ScanProgress()

    async with scan_under_way(scan_deps_of(world, tmp_path), progress) as running:
        await until(lambda: progress.autumn == 5 and bool(progress.troubles))
        (trouble,) = progress.troubles
        assert trouble.service == "stripe"
        assert 0 < trouble.gives_up_in_seconds <= PATIENCE_SECONDS
        seen = trouble.tries
        await until(lambda: trouble.tries > seen)
        world.stripe.switches.clear()
        await running
    assert progress.troubles == []


async def test_failed_run_is_stored_and_the_next_starts_afresh(world: World, tmp_path: Path) -> None:
    Field(world.autumn, world.stripe).agreeing("ann")
    deps = scan_deps_of(world, tmp_path)
    world.stripe.key = "sk_test_another"
    with pytest.raises(Halt):
        await scan(deps, apply=True)
    assert os.listdir(tmp_path) == []
    world.stripe.key = "sk_test_sandbox"
    await scan(deps)
    states = [(run.state, run.error) for run in await deps.record.history()]
    assert states == [("done", ""), ("failed", "invalid_key")]
    assert await deps.record.watermark_ms() is None


async def test_unreadable_answer_fails_the_run_after_few_tries(world: World, tmp_path: Path) -> None:
    world.autumn.switches.add(Fault("garbage"))
    with pytest.raises(TryAgain, match="unexpected_response"):
        await scan(scan_deps_of(world, tmp_path))


async def test_second_scan_is_refused_with_progress_of_the_first(world: World, tmp_path: Path) -> None:
    Field(world.autumn, world.stripe).agreeing("ann")
    record = ScanRecord(world.redis, PREFIX, lease_seconds=600, renew_seconds=0.5)
    async with between_the_lists(world, scan_deps_of(world, tmp_path, record=record)) as running:
        async with asyncio.timeout(60):
            while (seen := await record.unfinished()) is None or not seen.stripe:  # noqa: ASYNC110 - it is in Redis
                await asyncio.sleep(0.01)
        with pytest.raises(ScanRunningError) as refused:
            await scan(scan_deps_of(world, tmp_path))
        world.autumn.switches.clear()
        progress, scanned = refused.value.progress, await running
    assert progress is not None
    assert (progress.run, progress.phase, progress.autumn, progress.stripe) == (scanned.run.run, "listing", 0, 1)
    assert await record.unfinished() is None
    assert (await scan(scan_deps_of(world, tmp_path))).run.state == "done"


async def test_run_without_a_writable_spool_fails(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    deps = scan_deps_of(world, tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        await scan(deps)
    (run,) = await deps.record.history()
    assert (run.state, run.error) == ("failed", "FileExistsError")
    assert run.text.startswith("FileExistsError at jobs/scan/spool")
    assert str(tmp_path) not in run.text


async def test_broken_spool_is_replaced(world: World, tmp_path: Path) -> None:
    PLANTINGS["name"](Field(world.autumn, world.stripe), "ann")
    (tmp_path / "scan.sqlite3").write_text("no database" * 1000)
    assert (await scan(scan_deps_of(world, tmp_path))).found == {("ann", "profile-drift", "name")}


async def test_scan_without_its_lease_ends_and_stores_nothing(world: World, tmp_path: Path) -> None:
    Field(world.autumn, world.stripe).agreeing("ann")
    deps = scan_deps_of(world, tmp_path, record=ScanRecord(world.redis, PREFIX, lease_seconds=0.2))
    world.stripe.switches.add(Fault("hang", route="GET /v1/customers", seconds=3))
    async with scan_under_way(deps) as running:
        await called(world, "/v1/customers.list")
        await world.redis.set(f"{PREFIX}:scan:lease", "another")
        with pytest.raises(ScanLostError):
            await running
    assert await deps.record.history() == ()
    assert await world.redis.get(f"{PREFIX}:scan:lease") == b"another"


async def test_spool_is_private_and_deleted_after_the_scan(world: World, tmp_path: Path) -> None:
    Field(world.autumn, world.stripe).agreeing("ann")
    async with scanning(scan_deps_of(world, tmp_path / "spool"), ScanRequest(), ScanProgress()):
        for name in os.listdir(tmp_path / "spool"):
            assert os.stat(tmp_path / "spool" / name).st_mode & 0o077 == 0
        assert os.stat(tmp_path / "spool").st_mode & 0o077 == 0
        assert len(os.listdir(tmp_path / "spool")) >= 1
    assert os.listdir(tmp_path / "spool") == []


async def test_reconcile_of_an_app_counts_as_waiting_event(world: World, tmp_path: Path) -> None:
    PLANTINGS["name"](Field(world.autumn, world.stripe), "ann")
    await send(world.redis, new_update(customer_id="ann", type="customer.reconcile"), stream=INBOX)
    assert (await scan(scan_deps_of(world, tmp_path))).run.left_out == 1
