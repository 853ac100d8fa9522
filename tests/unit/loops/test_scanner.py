"""The schedule and the watermark alone decide if a scan is due."""

from datetime import UTC, datetime

import pytest

from jobs.scan.report import ScanRun
from worker.loops.scanner import is_due

DAILY = "17 3 * * *"


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("watermark", "now", "due"),
    [
        ("2026-11-24T03:17:00", "2026-11-25T03:16:59", False),
        ("2026-11-24T03:17:00", "2026-11-25T03:17:00", True),
        ("2026-11-24T03:17:30", "2026-11-25T03:17:00", True),
        ("2026-11-25T03:17:01", "2026-11-25T03:18:00", False),
        ("2026-11-20T03:17:00", "2026-11-25T00:00:00", True),
        ("2026-11-25T03:10:00", "2026-11-25T09:00:00", True),
    ],
)
def test_scan_is_due_once_schedule_time_passed_since_watermark(watermark: str, now: str, due: bool) -> None:
    assert is_due(DAILY, at(watermark), None, at(now)) is due


def test_requested_scan_is_due_unless_one_started_since() -> None:
    now = at("2026-03-02 12:00")
    watermark = at("2026-03-02 04:00")
    assert is_due(DAILY, watermark, None, now, requested_ms=watermark + 1)
    assert not is_due(DAILY, watermark, None, now, requested_ms=watermark)
    assert not is_due(DAILY, watermark, None, now, requested_ms=now + 1)


def test_scan_is_due_at_once_without_watermark() -> None:
    assert is_due(DAILY, None, None, at("2026-11-25T12:00:00"))


def test_clock_that_was_set_back_delays_no_scan() -> None:
    now, ahead = at("2026-11-25T12:00:00"), at("2027-11-25T12:00:00")
    failed = ScanRun("run", "failed", ahead - 1, ahead, 0, 0, error="invalid_key")
    assert is_due(DAILY, ahead, None, now)
    assert is_due(DAILY, at("2026-11-24T03:17:00"), failed, now)


@pytest.mark.parametrize(
    ("watermark", "now", "due"),
    [
        ("2026-11-25T11:59:00", "2026-11-25T12:00:00", False),
        ("2026-11-24T03:17:00", "2026-11-25T09:16:59", False),
        ("2026-11-24T03:17:00", "2026-11-25T09:17:00", True),
        ("2027-11-25T12:00:00", "2026-11-25T12:00:00", True),
    ],
)
def test_scan_is_overdue_only_after_grace(watermark: str, now: str, due: bool) -> None:
    assert is_due(DAILY, at(watermark), None, at(now), grace_ms=6 * 3_600_000) is due


@pytest.mark.parametrize(("minutes_ago", "due"), [(1, False), (14, False), (15, True), (60, True)])
def test_scan_waits_after_a_failed_one(minutes_ago: int, due: bool) -> None:
    now = at("2026-11-25T12:00:00")
    ended_ms = now - minutes_ago * 60_000
    failed = ScanRun("run", "failed", ended_ms - 1, ended_ms, 0, 0, error="invalid_key")
    assert is_due(DAILY, None, failed, now) is due
