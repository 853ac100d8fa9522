"""The state of the watch: /readyz, the lines for a person, and the JSON of `status`."""

from dataclasses import replace

import pytest

from jobs.queue.watch.state import WatchState
from tests.support.overviews import IDLE, NOW_MS
from worker.status.health import readiness_json, why_not_ready
from worker.status.shared_state import ScanState, SharedState
from worker.status.summary import watch_lines

SCANNED = ScanState(last=None, last_done=None, began_ms=NOW_MS, is_overdue=False)
READ = WatchState(position_ms=NOW_MS - 12_000, polled_ms=NOW_MS - 12_000, pause_seconds=60.0)
RARE = replace(READ, pause_seconds=300.0)
LATE = replace(READ, position_ms=NOW_MS - 540_000, polled_ms=NOW_MS - 540_000)


def state_of(watch: WatchState) -> SharedState:
    return SharedState(IDLE, {}, SCANNED, watch=watch)


@pytest.mark.parametrize(
    ("watch", "is_red"),
    [
        (READ, False),
        (WatchState(), False),
        (replace(READ, position_ms=NOW_MS - 180_000), False),
        (replace(READ, position_ms=NOW_MS - 181_000), True),
        (replace(RARE, position_ms=NOW_MS - 900_000), False),
        (replace(RARE, position_ms=NOW_MS - 901_000), True),
        (WatchState(error="http_500", error_since_ms=NOW_MS - 60_000, pause_seconds=60.0), False),
        (WatchState(error="http_500", error_since_ms=NOW_MS - 181_000, pause_seconds=60.0), True),
        (replace(LATE, off="no_permission"), False),
        (WatchState(off="setting"), False),
    ],
)
def test_watch_is_reported_only_while_it_is_behind(watch: WatchState, is_red: bool) -> None:
    alerts = [reason.alert for reason in why_not_ready(state_of(watch))]
    assert alerts == ["CustomerSyncWatchBehind"] * is_red


def test_answer_of_readyz_has_the_age_and_what_to_do() -> None:
    state = state_of(replace(LATE, error="http_503", deferred=2))
    answer = readiness_json(state, why_not_ready(state))
    assert answer["reasons"] == [
        {
            "alert": "CustomerSyncWatchBehind",
            "text": "the watch has read Stripe's events only up to 540 s ago: its polls fail with http_503; "
            "see `customer-sync doctor`",
        }
    ]
    assert answer["watch"] == {
        "poll_seconds": 60.0,
        "off": None,
        "error": "http_503",
        "position_age_seconds": 540,
        "last_poll_age_seconds": 540,
        "behind_seconds": 540,
        "deferred_customers": 2,
        "backlog_customers": 0,
    }


@pytest.mark.parametrize(
    ("watch", "line"),
    [
        (READ, "read up to 12 seconds ago"),
        (replace(READ, position_ms=NOW_MS + 5_000), "read up to 0 seconds ago"),
        (LATE, "behind by 9 minutes"),
        (WatchState(), "not read yet"),
        (WatchState(off="no_permission"), "off: STRIPE_API_KEY lacks the permission Events: read"),
        (WatchState(off="setting"), "off: STRIPE_EVENTS_POLL_SECONDS is 0, so only webhooks are received"),
        (replace(LATE, off="of another version\x1b"), "off: of another version\ufffd"),
    ],
)
def test_first_line_says_how_far_events_are_read(watch: WatchState, line: str) -> None:
    assert list(watch_lines(state_of(watch))) == [f"Stripe's events: {line}"]


def test_error_and_deferred_reconciles_have_lines() -> None:
    failing = replace(READ, error="http_503", error_since_ms=NOW_MS - 60_000, deferred=1, backlog=2)
    assert list(watch_lines(state_of(failing)))[1:] == [
        "Polls have failed since 2027-01-15 07:59 UTC (http_503), the last complete one 12 seconds ago.",
        "1 customer waits for a deferred reconcile, after an edit in Stripe.",
        "2 customers wait for a reconcile until fewer events wait.",
    ]
    assert len(list(watch_lines(state_of(replace(failing, off="no_permission"))))) == 3
