"""The run finds each defect of the broken workers."""

from pathlib import Path

import pytest

from tests.chaos.subprocesses import HANG_SECONDS, chaos

pytestmark = pytest.mark.timeout(HANG_SECONDS + 60)

SMALL = (
    *("--short", "--events", "400", "--customers", "12", "--seconds", "6", "--workers", "2"),
    *("--kills", "0", "--stops", "0", "--redis-restarts", "0", "--faults", "0", "--other-writes", "0"),
    *("--calm-acts", "0", "--list-seconds", "1", "--poll-seconds", "1"),
)
CALM = ("--events", "60", "--calm-customers", "60", "--calm-acts", "30", "--withheld", "0")
LATE = ("--calm-customers", "100", "--calm-acts", "60", "--webhook-seconds", "5")
"""Autumn's webhooks are later than the watch."""
LATER = (*LATE, "--webhook-seconds", "20")
"""Most of them are later than the watch even if a busy machine delays its polls by seconds."""
TOLD_AT_ONCE = ("--webhook-share", "1", "--event-webhook-seconds", "0.2")
"""Stripe's webhooks reach the watch at once, so it needs no poll."""
BROKEN = "tests.chaos.broken.{}.WorkerSettings"


def test_worker_that_settles_before_applying_loses_events(tmp_path: Path) -> None:
    worker = BROKEN.format("settles_first")
    code, report = chaos(tmp_path, *SMALL, "--faults", "3", "--worker", worker)
    assert code == 1
    assert report["counts"]["lost"] > 0


def test_worker_that_merges_backwards_leaves_old_values(tmp_path: Path) -> None:
    code, report = chaos(tmp_path, *SMALL, "--worker", BROKEN.format("merges_backwards"))
    assert code == 1
    assert report["counts"]["stale"] > 0
    assert report["counts"]["lost"] == 0
    assert report["counts"]["overlapping updates"] == 0


def test_worker_without_lock_overlaps_on_a_customer(tmp_path: Path) -> None:
    worker = BROKEN.format("locks_nobody_out")
    code, report = chaos(tmp_path, *SMALL, "--calm-customers", "0", "--doubled-wakeups", "300", "--worker", worker)
    assert code == 1
    assert report["counts"]["overlapping updates"] > 0
    # Two syncs of one customer also overwrite each other in Stripe, and may dead-letter their changes because of it.


def test_worker_that_writes_to_autumn_first_loses_values_to_echoes(tmp_path: Path) -> None:
    worker = BROKEN.format("autumn_first")
    code, report = chaos(tmp_path, *SMALL, "--webhook-seconds", "6", "--worker", worker)
    assert code == 1
    assert report["counts"]["reverted by an echo"] > 0
    assert list(tmp_path.glob("chaos-*/trace-c*.txt")), "each finding needs a trace beside the workers' logs"
    # "lost" may be above 0: a sync may dead-letter a change after three echoes.
    assert report["counts"]["overlapping updates"] == 0
    assert report["counts"]["not settled"] == 0


def test_worker_whose_watch_requests_nothing_leaves_drift(tmp_path: Path) -> None:
    code, report = chaos(tmp_path, *SMALL, *CALM, "--worker", BROKEN.format("requests_nothing"))
    assert code == 1
    assert report["counts"]["stale"] > 0
    assert report["counts"]["missing receipts"] > 0
    assert report["counts"]["not settled"] == 0


def test_worker_whose_watch_overwrites_edits_undoes_them(tmp_path: Path) -> None:
    worker = BROKEN.format("overwrites_edits")
    code, report = chaos(tmp_path, *SMALL, *CALM, *LATER, *TOLD_AT_ONCE, "--worker", worker)
    assert code == 1
    assert report["counts"]["undone edits"] > 0
    assert report["counts"]["missing receipts"] == 0


def test_right_worker_keeps_edits_when_autumns_webhooks_are_late(tmp_path: Path) -> None:
    code, report = chaos(tmp_path, *SMALL, *CALM, *LATE)
    assert report["findings"] == []
    assert code == 0


def test_right_worker_passes_the_runs_of_the_broken_ones(tmp_path: Path) -> None:
    given = ("--faults", "1", "--doubled-wakeups", "300", "--other-writes", "12", "--calm-acts", "60")
    code, report = chaos(tmp_path, *SMALL, *given)
    assert report["findings"] == []
    assert code == 0


def test_run_that_does_not_settle_is_reported(tmp_path: Path) -> None:
    code, report = chaos(tmp_path, *SMALL, "--events", "20", "--seconds", "1", "--settle-seconds", "0")
    assert code == 1
    assert set(report["counts"]) >= {"not settled", "does not stop", "over a rate limit"}
    assert report["counts"]["not settled"] > 0
    assert any(
        finding.startswith("not settled: the run: work was left after 0 s, and went on: in the inbox")
        for finding in report["findings"]
    )


def test_run_that_breaks_off_gives_the_reason(tmp_path: Path) -> None:
    code, report = chaos(tmp_path, *SMALL, "--worker", BROKEN.format("no_such_worker"))
    assert code == 1
    assert not report["clean"]
    (finding,) = report["findings"]
    assert finding.startswith("broke off: the run: WorkerEndedError: worker 0 ended before it was ready")
    assert "no_such_worker" in finding
