"""The conditions of a red health: each limit is crossed from both sides."""

from dataclasses import replace

import pytest

from jobs.queue.breaker import OpenBreaker
from jobs.queue.status import Overview
from jobs.scan.report import RunState, ScanRun
from tests.support.overviews import IDLE, NOW_MS
from worker.loops.heartbeat import Pulse
from worker.status.health import (
    DEAD_LETTER_SECONDS,
    NO_CANARY_SECONDS,
    NO_SUCCESS_SECONDS,
    OLDEST_SECONDS,
    OUTAGE_SECONDS,
    STANDSTILL_SECONDS,
    readiness_json,
    why_a_person_should_look,
    why_not_alive,
)
from worker.status.shared_state import ScanState, SharedState

NEVER_SCANNED = ScanState(last=None, last_done=None, began_ms=None, is_overdue=True)
HALT = OpenBreaker(
    "halt", NOW_MS, "autumn", "invalid_secret_key", "Replace AUTUMN_SECRET_KEY. It said: am_sk_test_abc is wrong"
)


def ago(seconds: float) -> int:
    return NOW_MS - int(seconds * 1000)


def state_of(overview: Overview, scan: ScanState = NEVER_SCANNED) -> SharedState:
    return SharedState(overview, {}, scan)


def alerts(overview: Overview, scan: ScanState = NEVER_SCANNED) -> list[str]:
    return [reason.alert for reason in why_a_person_should_look(state_of(overview, scan))]


@pytest.mark.parametrize(("late", "is_alive"), [(0, True), (-1, True), (1, False)])
@pytest.mark.parametrize(("sign", "limit"), [("beat_at", STANDSTILL_SECONDS), ("canary_at", NO_CANARY_SECONDS)])
def test_each_sign_of_life_may_be_missing_for_a_while(sign: str, limit: float, late: int, is_alive: bool) -> None:
    pulse = Pulse(lambda _: None)
    pulse.beat_at = pulse.canary_at = 1000.0
    setattr(pulse, sign, 1000.0 - limit - late)
    assert (why_not_alive(pulse, 1000.0) == []) is is_alive


def test_an_idle_worker_that_never_did_anything_is_ready() -> None:
    assert alerts(IDLE) == []
    assert alerts(replace(IDLE, last_success_ms=ago(86_400))) == [], "nothing waits"


def test_a_halt_is_told_at_once_and_without_what_the_service_said() -> None:
    overview = replace(IDLE, breaker=HALT)
    reasons = why_a_person_should_look(state_of(overview))
    assert [reason.alert for reason in reasons] == ["CustomerSyncHalted"]
    assert "am_sk" not in str(readiness_json(state_of(overview), reasons))


@pytest.mark.parametrize(("late", "expected"), [(-1, []), (1, ["CustomerSyncOutage"])])
def test_an_outage_is_told_when_it_lasts(late: int, expected: list[str]) -> None:
    line = OpenBreaker("outage", ago(OUTAGE_SECONDS + late), "stripe", "connection", "")
    assert alerts(replace(IDLE, breaker=line)) == expected


@pytest.mark.parametrize(("late", "expected"), [(-1, []), (1, ["CustomerSyncOldestChangeTooOld"])])
def test_an_old_change_is_told_although_others_get_through(late: int, expected: list[str]) -> None:
    overview = replace(IDLE, oldest_sent_ms=ago(OLDEST_SECONDS + late), last_success_ms=ago(1))
    assert alerts(overview) == expected


@pytest.mark.parametrize("success_ms", [None, ago(NO_SUCCESS_SECONDS + 1)])
@pytest.mark.parametrize(("late", "expected"), [(-1, []), (1, ["CustomerSyncNoSuccess"])])
def test_that_nothing_is_applied_is_told_sooner(success_ms: int | None, late: int, expected: list[str]) -> None:
    overview = replace(IDLE, oldest_sent_ms=ago(NO_SUCCESS_SECONDS + late), last_success_ms=success_ms)
    assert alerts(overview) == expected


@pytest.mark.parametrize(("late", "expected"), [(-1, ["CustomerSyncDeadLetters"]), (1, [])])
def test_a_dead_letter_is_told_while_it_is_new(late: int, expected: list[str]) -> None:
    assert alerts(replace(IDLE, dead=3, newest_dead_ms=ago(DEAD_LETTER_SECONDS + late))) == expected


@pytest.mark.parametrize(
    ("run_state", "expected"),
    [("done", []), ("failed", ["CustomerSyncScanFailed"]), ("refused", ["CustomerSyncScanFailed"])],
)
def test_a_scan_that_went_wrong_is_told_until_the_next_one(run_state: RunState, expected: list[str]) -> None:
    run = ScanRun("one", run_state, NOW_MS, NOW_MS, 1, 1, error="http_503" if run_state == "failed" else "")
    scan = ScanState(last=run, last_done=None, began_ms=NOW_MS, is_overdue=False)
    assert alerts(IDLE, scan) == expected
    assert readiness_json(state_of(IDLE, scan), [])["last_scan"]["state"] == run_state


@pytest.mark.parametrize(
    ("run_state", "error", "text"),
    [
        ("failed", "http_503", "the last scan failed (http_503); see `customer-sync scan history`"),
        ("refused", "", "the last scan was refused, as too much would change; see `customer-sync scan history`"),
    ],
)
def test_why_a_scan_went_wrong_is_a_sentence(run_state: RunState, error: str, text: str) -> None:
    run = ScanRun("one", run_state, NOW_MS, NOW_MS, 1, 1, error=error)
    scan = ScanState(last=run, last_done=None, began_ms=NOW_MS, is_overdue=False)
    assert [reason.text for reason in why_a_person_should_look(state_of(IDLE, scan))] == [text]


def test_an_overdue_scan_is_told_but_not_that_there_never_was_one() -> None:
    assert alerts(IDLE, replace(NEVER_SCANNED, began_ms=ago(10 * 86_400))) == ["CustomerSyncScanOverdue"]
    assert readiness_json(state_of(IDLE), [])["last_scan"] is None


def test_without_redis_nothing_is_known_and_a_person_should_look() -> None:
    (reason,) = why_a_person_should_look(None)
    assert reason.alert == "CustomerSyncRedisDown"
    assert readiness_json(None, [reason]) == {
        "ready": False,
        "reasons": [{"alert": reason.alert, "text": reason.text}],
    }
