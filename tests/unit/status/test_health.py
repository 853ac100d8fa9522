"""The conditions of liveness and readiness, with each limit tested from both sides."""

from dataclasses import replace

import pytest

from jobs.queue.breaker import OpenBreaker
from jobs.queue.status import Overview
from jobs.scan.report import RunState, ScanRun
from tests.support.overviews import IDLE, NOW_MS
from worker.loops.heartbeat import Heartbeat
from worker.status.health import (
    DEAD_LETTER_SECONDS,
    NO_CANARY_SECONDS,
    NO_SUCCESS_SECONDS,
    OLDEST_SECONDS,
    OUTAGE_SECONDS,
    STANDSTILL_SECONDS,
    readiness_json,
    why_not_alive,
    why_not_ready,
)
from worker.status.shared_state import ScanState, SharedState

NEVER_SCANNED = ScanState(last=None, last_done=None, began_ms=None, is_overdue=True)
HALT = OpenBreaker(
    "halt",
    NOW_MS,
    "autumn",
    "invalid_secret_key",
    "Replace AUTUMN_SECRET_KEY. Autumn's answer: am_sk_test_abc is wrong",
)


def ago(seconds: float) -> int:
    return NOW_MS - int(seconds * 1000)


def state_of(overview: Overview, scan: ScanState = NEVER_SCANNED) -> SharedState:
    return SharedState(overview, {}, scan)


def alerts(overview: Overview, scan: ScanState = NEVER_SCANNED) -> list[str]:
    return [reason.alert for reason in why_not_ready(state_of(overview, scan))]


@pytest.mark.parametrize(("late", "is_alive"), [(0, True), (-1, True), (1, False)])
@pytest.mark.parametrize(("sign", "limit"), [("beat_at", STANDSTILL_SECONDS), ("canary_at", NO_CANARY_SECONDS)])
def test_process_is_dead_only_after_limit(sign: str, limit: float, late: int, is_alive: bool) -> None:
    heartbeat = Heartbeat(lambda _: None)
    heartbeat.beat_at = heartbeat.canary_at = 1000.0
    setattr(heartbeat, sign, 1000.0 - limit - late)
    assert (why_not_alive(heartbeat, 1000.0) == []) is is_alive


def test_idle_worker_is_ready() -> None:
    assert alerts(IDLE) == []
    assert alerts(replace(IDLE, last_success_ms=ago(86_400))) == [], "nothing waits"


def test_halt_is_reported_at_once_without_quote_of_service() -> None:
    overview = replace(IDLE, breaker=HALT)
    reasons = why_not_ready(state_of(overview))
    assert [reason.alert for reason in reasons] == ["CustomerSyncHalted"]
    assert "am_sk" not in str(readiness_json(state_of(overview), reasons))


@pytest.mark.parametrize(("late", "expected"), [(-1, []), (1, ["CustomerSyncOutage"])])
def test_outage_is_reported_after_limit(late: int, expected: list[str]) -> None:
    breaker = OpenBreaker("outage", ago(OUTAGE_SECONDS + late), "stripe", "connection", "")
    assert alerts(replace(IDLE, breaker=breaker)) == expected


@pytest.mark.parametrize(("late", "expected"), [(-1, []), (1, ["CustomerSyncOldestEventTooOld"])])
def test_old_change_is_reported_although_others_are_applied(late: int, expected: list[str]) -> None:
    overview = replace(IDLE, oldest_sent_ms=ago(OLDEST_SECONDS + late), last_success_ms=ago(1))
    assert alerts(overview) == expected


@pytest.mark.parametrize("success_ms", [None, ago(NO_SUCCESS_SECONDS + 1)])
@pytest.mark.parametrize(("late", "expected"), [(-1, []), (1, ["CustomerSyncNoSuccess"])])
def test_lack_of_any_success_is_reported_sooner(success_ms: int | None, late: int, expected: list[str]) -> None:
    overview = replace(IDLE, oldest_sent_ms=ago(NO_SUCCESS_SECONDS + late), last_success_ms=success_ms)
    assert alerts(overview) == expected


@pytest.mark.parametrize(("late", "expected"), [(-1, ["CustomerSyncDeadLetters"]), (1, [])])
def test_dead_letter_is_reported_while_it_is_new(late: int, expected: list[str]) -> None:
    assert alerts(replace(IDLE, dead=3, newest_dead_ms=ago(DEAD_LETTER_SECONDS + late))) == expected


@pytest.mark.parametrize(
    ("run_state", "expected"),
    [("done", []), ("failed", ["CustomerSyncScanFailed"]), ("refused", ["CustomerSyncScanFailed"])],
)
def test_failed_scan_is_reported_until_the_next_one(run_state: RunState, expected: list[str]) -> None:
    run = ScanRun("one", run_state, NOW_MS, NOW_MS, 1, 1, error="http_503" if run_state == "failed" else "")
    scan = ScanState(last=run, last_done=None, began_ms=NOW_MS, is_overdue=False)
    assert alerts(IDLE, scan) == expected
    assert readiness_json(state_of(IDLE, scan), [])["last_scan"]["state"] == run_state


@pytest.mark.parametrize(
    ("run_state", "error", "text"),
    [
        ("failed", "http_503", "the last scan failed (http_503); see `customer-sync scan history`"),
        (
            "refused",
            "",
            "the last scan was refused, because it would change too much; see `customer-sync scan history`",
        ),
    ],
)
def test_reason_of_failed_scan_is_one_sentence(run_state: RunState, error: str, text: str) -> None:
    run = ScanRun("one", run_state, NOW_MS, NOW_MS, 1, 1, error=error)
    scan = ScanState(last=run, last_done=None, began_ms=NOW_MS, is_overdue=False)
    assert [reason.text for reason in why_not_ready(state_of(IDLE, scan))] == [text]


def test_overdue_scan_is_reported_but_not_a_missing_first_one() -> None:
    assert alerts(IDLE, replace(NEVER_SCANNED, began_ms=ago(10 * 86_400))) == ["CustomerSyncScanOverdue"]
    assert readiness_json(state_of(IDLE), [])["last_scan"] is None


def test_readiness_fails_without_redis() -> None:
    (reason,) = why_not_ready(None)
    assert reason.alert == "CustomerSyncRedisDown"
    assert readiness_json(None, [reason]) == {
        "ready": False,
        "reasons": [{"alert": reason.alert, "text": reason.text}],
    }
