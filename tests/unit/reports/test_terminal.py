"""Progress lines of a scan if its standard error is not a terminal."""

import asyncio

import pytest

from jobs.scan.record import ScanProgress, Trouble, read_progress
from worker.reports.terminal import running_text, watching

FAR = "listing, 3,000 customers of Autumn and 700 of Stripe read, 0 findings so far"


async def wait_printed(capsys: pytest.CaptureFixture[str], *lines: str) -> None:
    """Wait until each line is on standard error, and assert that standard output is empty."""
    seen = ""
    async with asyncio.timeout(10):
        while not all(f"{line}\n" in seen for line in lines):
            output, errors = capsys.readouterr()
            assert output == ""
            seen += errors
            await asyncio.sleep(0.01)


async def test_progress_is_printed_now_and_then_as_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ScanProgress(autumn=3000, stripe=700)
    async with watching(progress, report_seconds=0.01):
        await wait_printed(capsys, f"scan: {FAR}")
        progress.phase, progress.looked_up, progress.findings = "comparing", 12, 1
        await wait_printed(
            capsys,
            f"scan: {FAR.replace('listing', 'comparing').replace('0 findings', '1 findings')}, 12 fetched one by one",
        )
        progress.phase, progress.requested, progress.payments = "requesting", 4, 50
        await wait_printed(
            capsys,
            "scan: requesting, 3,000 customers of Autumn and 700 of Stripe read, 1 findings so far, "
            "50 payments read, 12 fetched one by one, 4 reconciles requested",
        )


async def test_failed_call_is_printed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ScanProgress(autumn=3000, stripe=700)
    async with watching(progress, report_seconds=3600):
        progress.troubles.append(Trouble("stripe", "http_503", tries=7, gives_up_in_seconds=540))
        await wait_printed(capsys, f"scan: {FAR}", "scan: Stripe fails (http_503), 7 tries, trying for 540 s more")
        progress.troubles.append(Trouble("autumn", "unexpected_response", tries=1, gives_up_after_tries=3))
        await wait_printed(capsys, "scan: Autumn fails (unexpected_response), 1 try, giving up after 3")


async def test_short_scan_prints_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    async with watching(ScanProgress()):
        pass
    assert capsys.readouterr() == ("", "")


def test_scan_running_elsewhere_is_shown_with_its_failure() -> None:
    progress = ScanProgress(started_ms=1_700_000_000_000, autumn=3000, stripe=700)
    progress.troubles.append(Trouble("stripe", "http_503", tries=7, gives_up_in_seconds=540))
    assert running_text(read_progress(progress.as_json())) == (
        f"another scan has been running since 2023-11-14T22:13:20+00:00: {FAR}. "
        "Stripe fails (http_503), 7 tries, trying for 540 s more"
    )


def test_progress_stored_by_another_version_is_read() -> None:
    assert read_progress('{"autumn": 7, "trouble": "http_503", "new": 1}') == ScanProgress(autumn=7)
    newer = read_progress('{"troubles": [{"service": "stripe", "error": "x", "tries": 1, "new": 1}]}')
    assert [(each.service, each.error, each.tries) for each in newer.troubles] == [("stripe", "x", 1)]
