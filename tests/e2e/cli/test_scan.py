"""`customer-sync scan`: its output, its files and its exit codes."""

import asyncio
import csv
import json
import re
import signal
import stat
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from jobs.scan.record import ScanProgress, ScanRecord
from sandbox.faults import Fault
from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX, PREFIX, World
from tests.e2e.cli.test_app import Terminal
from tests.support.planting import PLANTINGS, Field
from tests.support.processes import wait_until
from tests.support.pseudo_terminal import CONTROL, on_a_terminal
from tests.support.scans import called, time_passed

BAR = re.compile(r"^listing.* 10 customers, [\d,]+/s, 0 findings \d:\d\d:\d\d\s*$", re.MULTILINE)
"""The duration is unknown before the first scan ends, so the bar shows the elapsed time."""
CLEAN, FAILED, DRIFT, USAGE, SETTINGS, INTERRUPTED = 0, 1, 2, 64, 78, 130


class Scans(Terminal):
    """A terminal whose environment names both services."""

    def __init__(self, redis_url: str, folder: Path, world: World) -> None:
        super().__init__(redis_url, folder)
        self.environment |= {
            "AUTUMN_API_URL": world.autumn_url,
            "AUTUMN_SECRET_KEY": world.autumn.key,
            "STRIPE_API_BASE": world.autumn.stripe.url,
            "STRIPE_API_KEY": world.stripe.key,
            "SCAN_SPOOL": str(folder / "spool"),
        }


@pytest.fixture
async def scans(world: World, redis_server: EmbeddedRedis, tmp_path: Path) -> Scans:
    return Scans(redis_server.url, tmp_path, world)


@pytest.fixture
def field(world: World) -> Field:
    """Plant nine customers without drift."""
    field = Field(world.autumn, world.stripe)
    for index in range(9):
        field.agreeing(f"right_{index}")
    return field


async def test_scan_without_drift_exits_0(scans: Scans, field: Field) -> None:
    code, output, errors = await scans.run("scan")
    assert (code, errors) == (CLEAN, "")
    assert "compared: 9 customers of Autumn, 9 of Stripe" in output
    assert "findings: 0" in output
    assert field.stripe.writes == []


async def test_drift_shows_both_values_and_exits_2(scans: Scans, field: Field, redis: Redis) -> None:
    PLANTINGS["name"](field, "ann")
    code, output, errors = await scans.run("scan")
    assert (code, errors) == (DRIFT, "")
    line = next(line for line in output.splitlines() if line.startswith("profile-drift"))
    assert all(text in line for text in ("ann", "name", "Name of ann", "Edited by hand", "write name to cus_"))
    assert "a sync would repair 1 customer: pass --apply to request it" in output
    assert await redis.xlen(INBOX) == 0


async def test_unprintable_name_is_no_failure(scans: Scans, field: Field) -> None:
    field.agreeing("ann", name="Иван")
    code, output, errors = await scans.run("scan", PYTHONIOENCODING="ascii")
    assert (code, errors) == (DRIFT, "")
    assert "????" in output


async def test_apply_requests_reconciles_and_next_scan_is_clean(scans: Scans, field: Field, world: World) -> None:
    PLANTINGS["email"](field, "ann")
    code, output, _ = await scans.run("scan", "--apply")
    assert code == DRIFT
    assert "requested 1 reconcile" in output
    await world.run()
    await time_passed(world)
    code, output, _ = await scans.run("scan")
    assert code == CLEAN
    assert "since the last scan: 0 new, 1 fixed, 0 still there" in output


async def test_unrepairable_finding_counts_as_drift(scans: Scans, field: Field, world: World) -> None:
    PLANTINGS["ambiguous"](field, "ann")
    code, output, _ = await scans.run("scan", "--apply")
    assert code == DRIFT
    assert "requested" not in output
    assert await world.redis.xlen(INBOX) == 0


async def test_customer_of_another_processor_is_no_drift(scans: Scans, field: Field, redis: Redis) -> None:
    PLANTINGS["billed_elsewhere"](field, "ann")
    code, output, _ = await scans.run("scan", "--apply")
    assert (code, await redis.xlen(INBOX)) == (CLEAN, 0)
    assert "findings: 1 (billed-elsewhere 1)" in output


async def test_too_many_changes_exit_1_with_both_numbers(scans: Scans, field: Field) -> None:
    for index in range(3):
        PLANTINGS["name"](field, f"wrong_{index}")
    code, output, errors = await scans.run("scan", "--apply")
    assert code == FAILED
    assert "findings: 3 (profile-drift 3)" in output
    assert errors.startswith("3 of 12 customers would change, and SCAN_MAX_CHANGED is 0.2")
    assert (await scans.run("scan", "--apply", "--force"))[0] == DRIFT


async def test_report_files_are_readable_by_owner_only(scans: Scans, field: Field, tmp_path: Path) -> None:
    field.agreeing("ann", name="=HYPERLINK(1)")
    code, _, errors = await scans.run("scan", "--json", "scan.json", "--csv", "scan.csv", "--html", "scan.html")
    assert (code, errors) == (DRIFT, "")
    report = json.loads((tmp_path / "scan.json").read_text())
    (finding,) = report["findings"]
    assert (finding["customer"], finding["autumn"], finding["stripe"]) == ("ann", "Name of ann", "=HYPERLINK(1)")
    assert report["run"]["totals"] == {"profile-drift": 1}
    (row,) = csv.DictReader((tmp_path / "scan.csv").read_text().splitlines())
    assert (row["customer"], row["stripe"]) == ("ann", "'=HYPERLINK(1)")
    for name in ("scan.json", "scan.csv", "scan.html"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert list((tmp_path / "spool").iterdir()) == []


async def test_only_some_kinds_and_only_new_customers(scans: Scans, field: Field) -> None:
    PLANTINGS["name"](field, "ann")
    PLANTINGS["orphan"](field, "lost")
    assert "findings: 1 (orphan 1)" in (await scans.run("scan", "--only", "orphan", "--since", "1h"))[1]
    assert (await scans.run("scan", "--only", "gone"))[0] == CLEAN


async def test_one_customer_is_scanned_without_listing(scans: Scans, field: Field, world: World) -> None:
    PLANTINGS["name"](field, "ann")
    assert (await scans.run("scan", "--customer", "right_1"))[0] == CLEAN
    code, output, _ = await scans.run("scan", "--customer", "ann", "--apply")
    assert code == DRIFT
    assert "requested 1 reconcile" in output
    assert {call.path for call in world.autumn.calls} == {"/v1/customers.get"}
    code, _, errors = await scans.run("scan", "--customer", "nobody")
    assert code == FAILED
    assert "customer_not_found" in errors


async def test_findings_of_one_customer_are_written_to_files(scans: Scans, field: Field, tmp_path: Path) -> None:
    PLANTINGS["both"](field, "ann")
    words = ("--json", "ann.json", "--csv", "ann.csv", "--html", "ann.html")
    code, _, errors = await scans.run("scan", "--customer", "ann", *words)
    assert (code, errors) == (DRIFT, "")
    report = json.loads((tmp_path / "ann.json").read_text())
    assert report["run"]["totals"] == {"profile-drift": 2}
    assert [finding["field"] for finding in report["findings"]] == ["name", "email"]
    assert len((tmp_path / "ann.csv").read_text().splitlines()) == 3
    assert "customer ann" in (tmp_path / "ann.html").read_text()


async def test_refused_key_exits_1_and_records_a_failed_run(scans: Scans, field: Field, redis: Redis) -> None:
    code, _, errors = await scans.run("scan", STRIPE_API_KEY="sk_test_another")
    assert code == FAILED
    assert "STRIPE_API_KEY" in errors
    (run,) = await ScanRecord(redis, PREFIX).history()
    assert run.state == "failed"
    assert (await scans.run("scan", REDIS_URL="redis://127.0.0.1:1/0"))[0] == FAILED
    assert field.stripe.writes == []


async def test_second_scan_is_refused_with_progress_of_the_first(scans: Scans, field: Field, redis: Redis) -> None:
    # The second scan is another process, which may begin late on a busy machine.
    record = ScanRecord(redis, PREFIX, lease_seconds=600.0)
    await record.begin()
    await record.renew(ScanProgress(run="1", started_ms=1_700_000_000_000, autumn=4000, stripe=700))
    code, _, errors = await scans.run("scan")
    assert code == FAILED
    assert errors.startswith(
        "another scan has been running since 2023-11-14T22:13:20+00:00: listing, 4,000 customers of Autumn"
    )
    assert field.autumn.calls == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--only", "everything"], "'everything' is unknown"),
        (["--since", "yesterday"], "'yesterday' is not a time"),
        (["--since", "99999999d"], "'99999999d' is not a time"),
        (["--since", "2999-01-01"], "'2999-01-01' is in the future"),
        (["--since", "1d", "--customer", "ann"], "cannot be used with --since"),
        (["--json", "missing/scan.json"], "--json: missing is not a writable folder"),
        (["--html", "."], "--html: . is a folder"),
        (["--aply"], "--aply"),
        (["history", "--aply"], "--aply"),
    ],
)
async def test_wrong_option_fails_before_start_and_is_not_drift(
    scans: Scans, field: Field, words: list[str], says: str
) -> None:
    code, _, errors = await scans.run("scan", *words)
    assert code == USAGE
    assert says in errors
    assert field.autumn.calls == []


async def test_wrong_setting_is_named(scans: Scans) -> None:
    code, _, errors = await scans.run("scan", SCAN_SHARE="0", SCAN_SCHEDULE="at night", SCAN_MAX_CHANGED="2")
    assert code == SETTINGS
    assert [line.split(":")[0] for line in errors.splitlines()] == ["SCAN_SCHEDULE", "SCAN_SHARE", "SCAN_MAX_CHANGED"]


async def test_unscannable_autumn_version_fails_before_start(scans: Scans, field: Field) -> None:
    code, _, errors = await scans.run("scan", AUTUMN_API_VERSION="2.2.0")
    assert code == SETTINGS
    assert errors == "AUTUMN_API_VERSION: 2.2.0 has no lists with cursors, which a scan needs: set 2.3.0\n"
    assert field.autumn.calls == []


@pytest.mark.parametrize("version", ["2.4.0", "2.5"])
async def test_later_version_of_autumn_is_scanned_with_its_page_size(scans: Scans, field: Field, version: str) -> None:
    field.autumn.newest_version, field.autumn.largest_page = "2.5", 4
    code, output, errors = await scans.run("scan", "--since", "1h", AUTUMN_API_VERSION=version)
    assert (code, errors) == (CLEAN, "")
    assert "compared: 9 customers of Autumn" in output


async def test_version_that_autumn_does_not_know_is_named(scans: Scans, field: Field) -> None:
    code, _, errors = await scans.run("scan", AUTUMN_API_VERSION="2.4.0")
    assert code == FAILED
    assert "Set AUTUMN_API_VERSION" in errors
    assert field.stripe.writes == []


async def test_last_runs_are_listed(scans: Scans, field: Field) -> None:
    assert await scans.run("scan", "history") == (0, "No scan has run yet.\n", "")
    PLANTINGS["name"](field, "ann")
    await scans.run("scan")
    await scans.run("scan", "--only", "name")
    await scans.run("scan", "--only", "orphan")
    code, output, _ = await scans.run("scan", "history")
    assert code == 0
    assert len(output.splitlines()) == 4
    assert "only orphan" in output.splitlines()[2]
    newest, whole = (json.loads(line) for line in (await scans.run("scan", "history", "--json"))[1].splitlines())
    assert (newest["scope"], whole["scope"], whole["totals"]) == ("only orphan", "", {"profile-drift": 1})


async def test_terminal_shows_a_progress_bar(scans: Scans, field: Field, world: World, tmp_path: Path) -> None:
    PLANTINGS["name"](field, "ann")
    world.stripe.switches.add(Fault("hang", route="GET /v1/customers", times=1))
    environment = scans.environment | {"COLUMNS": "160"}
    async with on_a_terminal("scan", folder=tmp_path, environment=environment) as terminal:

        async def shows_the_bar() -> bool:
            assert terminal.process.returncode is None, terminal.text
            drawn = CONTROL.sub("", terminal.text).replace("\r", "\n")
            return BAR.search(drawn) is not None and bool(world.stripe.switches.fired)

        await wait_until(shows_the_bar, what="the bar")
        world.stripe.switches.release()
        assert await terminal.process.wait() == DRIFT


@pytest.mark.usefixtures("field")
async def test_failed_page_is_reported_while_it_is_retried(scans: Scans, world: World, tmp_path: Path) -> None:
    world.stripe.switches.add(Fault("503", route="GET /v1/customers"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "scan", "--json", "scan.json"),
        cwd=tmp_path,
        env=scans.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(120):
            while not (line := await process.stderr.readline()).startswith(b"scan: Stripe fails ("):
                assert line, "it ended without a word"
    finally:
        world.stripe.switches.clear()
    output, _ = await process.communicate()
    assert re.search(rb" (1 try|\d+ tries), trying for \d+ s more\n$", line)
    assert process.returncode == CLEAN
    assert output.startswith(b"compared: 9 customers of Autumn")
    assert json.loads((tmp_path / "scan.json").read_text())["findings"] == []


async def test_scan_stopped_by_ctrl_c_resumes_on_next_start(
    scans: Scans, field: Field, world: World, redis: Redis, tmp_path: Path
) -> None:
    world.stripe.switches.add(Fault("hang", route="GET /v1/customers", times=1))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "scan"),
        cwd=tmp_path,
        env=scans.environment,
        stderr=asyncio.subprocess.PIPE,
    )
    await called(world, "/v1/customers.list")
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    world.stripe.switches.clear()
    assert process.returncode == INTERRUPTED
    assert errors.startswith(b"Stopped. If the scan was still listing, the same command resumes it")
    assert (await scans.run("scan"))[0] == CLEAN
    assert [run.state for run in await ScanRecord(redis, PREFIX).history()] == ["done"]
    assert field.stripe.writes == []
