"""The thresholds and delays of docs/alerts.yml, in promtool and without a worker."""

from collections.abc import Mapping

import pytest

from tests.support.promtool import ALERTS, RULES, check_rules, firing_at, needs_promtool, waits_minutes

pytestmark = needs_promtool

QUIET_MINUTES = 10
"""The healthy time before a state begins. A state lasts an hour longer than the longest delay of an alert."""
LASTING = 121
WELL = {
    'customer_sync_worker_info{type="worker"}': "1+0x{}",
    'customer_sync_worker_redis_up{instance="a"}': "1+0x{}",
    'customer_sync_worker_redis_up{instance="b"}': "1+0x{}",
    "customer_sync_blocked": "0+0x{}",
    'customer_sync_breaker_open{kind="halt"}': "0+0x{}",
    'customer_sync_breaker_open{kind="outage"}': "0+0x{}",
    "customer_sync_oldest_event_age_seconds": "1+0x{}",
    "customer_sync_last_success_timestamp_seconds": "0+60x{}",
    "customer_sync_newest_dead_letter_timestamp_seconds": "-3600+0x{}",
    'customer_sync_rate_ratio{limit="autumn-updates"}': "1+0x{}",
    'customer_sync_rate_ratio{limit="stripe"}': "1+0x{}",
    'customer_sync_worker_event_loop_lag_seconds_bucket{le="0.5"}': "0+60x{}",
    'customer_sync_worker_event_loop_lag_seconds_bucket{le="1.0"}': "0+60x{}",
    'customer_sync_worker_event_loop_lag_seconds_bucket{le="+Inf"}': "0+60x{}",
    "customer_sync_scan_failed": "0+0x{}",
    "customer_sync_scan_overdue": "0+0x{}",
    "customer_sync_watch_behind": "0+0x{}",
    "customer_sync_watch_off": "0+0x{}",
}
"""Each series of a healthy worker in promtool's notation, for so many minutes."""
STATES: dict[str, tuple[dict[str, str], int]] = {
    "CustomerSyncWorkerDown": ({'customer_sync_worker_info{type="worker"}': "stale _x{}"}, 2),
    "CustomerSyncRedisDown": ({'customer_sync_worker_redis_up{instance="b"}': "0+0x{}"}, 1),
    "CustomerSyncBlocked": ({"customer_sync_blocked": "1+0x{}"}, 0),
    "CustomerSyncHalted": ({'customer_sync_breaker_open{kind="halt"}': "1+0x{}"}, 0),
    "CustomerSyncOutage": ({'customer_sync_breaker_open{kind="outage"}': "1+0x{}"}, 5),
    "CustomerSyncOldestEventTooOld": ({"customer_sync_oldest_event_age_seconds": "0+60x{}"}, 16),
    "CustomerSyncNoSuccess": (
        {
            "customer_sync_oldest_event_age_seconds": "0+60x{}",
            "customer_sync_last_success_timestamp_seconds": "600+0x{}",
        },
        11,
    ),
    "CustomerSyncDeadLetters": ({"customer_sync_newest_dead_letter_timestamp_seconds": "600+0x{}"}, 0),
    # The average of 15 minutes crosses the threshold after eight minutes at half the rate.
    "CustomerSyncThrottled": ({'customer_sync_rate_ratio{limit="stripe"}': "0.5+0x{}"}, 8),
    # More than one in a hundred of the last five minutes is slow from the first minute on.
    "CustomerSyncEventLoopLag": ({'customer_sync_worker_event_loop_lag_seconds_bucket{le="0.5"}': "540+0x{}"}, 5),
    "CustomerSyncScanFailed": ({"customer_sync_scan_failed": "1+0x{}"}, 60),
    "CustomerSyncScanOverdue": ({"customer_sync_scan_overdue": "1+0x{}"}, 60),
    "CustomerSyncWatchBehind": ({"customer_sync_watch_behind": "1+0x{}"}, 0),
    "CustomerSyncWatchOff": ({"customer_sync_watch_off": "1+0x{}"}, 0),
}
"""The state of each alert: the series that change, and the minutes until it fires."""


def series_of(state: Mapping[str, str]) -> list[dict[str, str]]:
    """Return all series, first healthy and then in the state. Series outside the state stay healthy."""
    found = []
    for name, well in WELL.items():
        if name in state:
            values = f"{well.format(QUIET_MINUTES - 1)} {state[name].format(LASTING)}"
        else:
            values = well.format(QUIET_MINUTES + LASTING)
        found.append({"series": name, "values": values})
    return found


def test_prometheus_accepts_rules_and_every_alert_has_a_state() -> None:
    check_rules(ALERTS)
    assert STATES.keys() == {rule["alert"] for rule in RULES}
    assert all(minutes >= waits_minutes(rule) for rule in RULES for _, minutes in [STATES[rule["alert"]]])


@pytest.mark.parametrize("minute", [1, QUIET_MINUTES, QUIET_MINUTES + LASTING])
def test_no_alert_fires_while_healthy(minute: int) -> None:
    assert firing_at(series_of({}), dict.fromkeys(STATES, minute)) == set()


@pytest.mark.parametrize("alert", STATES)
def test_alert_fires_only_after_its_state_has_lasted(alert: str) -> None:
    state, minutes = STATES[alert]
    fires_at = QUIET_MINUTES + minutes
    assert firing_at(series_of(state), {alert: fires_at - 1}) == set()
    assert firing_at(series_of(state), dict.fromkeys(STATES, fires_at)) == {alert}
