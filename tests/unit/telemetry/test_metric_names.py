"""Metrics follow Prometheus' conventions: names, units, types, bounded labels, and one writer each."""

import re

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from jobs.notifications.state import NotificationState
from jobs.observer import Call, Sync
from jobs.queue.status import Overview
from jobs.queue.watch.state import WatchState
from jobs.scan.report import ScanRun
from worker.status.shared_state import ScanState, SharedState
from worker.telemetry.metrics import Metrics
from worker.telemetry.shared_metrics import SharedMetrics

TOTALS = {"received": 9, "applied": 4, "dead": 2, "duplicates": 1, "dead:refused": 2, "retries:timeout": 5, "merged": 3}
TOTALS |= {"notification_requests_sent": 11, "notification_requests_failed": 12}
TOTALS |= {"watch:customer.updated:own": 6, "watch:customer.updated:now": 7, "receipts_sent": 8, "watch:X:now": 1}
OVERVIEW = Overview(
    now_ms=2000,
    inbox=1,
    waiting=1,
    working=1,
    oldest_sent_ms=500,
    dead=2,
    newest_dead_ms=1000,
    last_success_ms=1500,
    totals=TOTALS,
    breaker=None,
)
RUN = ScanRun("one", "refused", 500, 600, 10, 10, {"gone": 3})
SCAN = ScanState(last=RUN, last_done=RUN, began_ms=500, is_overdue=True)
WATCH = WatchState(position_ms=1_800, off="no_permission")
NOTIFICATIONS = NotificationState(unsent_since_ms=700)
LABELS = {"service", "endpoint", "result", "limit", "reason", "outcome", "kind", "state", "type", "mode"}
UNITS = ("seconds", "bytes", "ratio")
COUNTED_THINGS = (
    "events",
    "kept",
    "customers",
    "findings",
    "open",
    "blocked",
    "up",
    "failed",
    "overdue",
    "fds",
    "off",
    "behind",
)
"""The last words of gauges without a unit: what they count, or the state that they show."""


def own_text() -> str:
    metrics = Metrics()
    metrics.runs_as("worker", "test")
    metrics.called(Call("stripe", "GET /v1/customers/{id}", "ok", 0.2))
    metrics.throttled("stripe", 0.1)
    with metrics.syncing(Sync("ann", (), 1)):
        pass
    metrics.event_agreed(3.0)
    metrics.redis_answered()
    metrics.lagged(0.01)
    return generate_latest(metrics.registry).decode()


def shared_text() -> str:
    state = SharedState(OVERVIEW, {"stripe": 0.5}, SCAN, watch=WATCH, notifications=NOTIFICATIONS)
    return generate_latest(SharedMetrics(state, takes_writes=True)).decode()


OWN, SHARED = (list(text_string_to_metric_families(text())) for text in (own_text, shared_text))
FAMILIES = {family.name: family for family in [*OWN, *SHARED]}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_metric_names_end_in_unit_and_counters_in_total(family: Metric) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", family.name)
    assert not re.search(r"milli|micro|minute|hour|percent", family.name), "base units"
    assert family.documentation.endswith(".")
    sample_names = {sample.name for sample in family.samples}
    if family.type == "counter":
        assert sample_names == {f"{family.name}_total"}
    elif family.type == "histogram":
        assert family.name.endswith("_seconds")
    else:
        assert sample_names == {family.name}
        assert family.name.endswith((*UNITS, "_info", *COUNTED_THINGS))
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_labels_have_few_values_and_no_customer(family: Metric) -> None:
    assert {label for sample in family.samples for label in sample.labels} <= LABELS | {"le"}


def test_each_metric_has_one_writer_shown_in_its_name() -> None:
    own, shared = {family.name for family in OWN}, {family.name for family in SHARED}
    assert not own & shared
    assert all(name.startswith(("customer_sync_worker_", "process_")) for name in own)
    ours = {name for name in shared if name.startswith("customer_sync_worker_")}
    assert ours == {"customer_sync_worker_redis_up"}, "whether this worker got the answer that the others are made of"
    assert all(name.startswith("customer_sync_") for name in shared)


def test_no_created_series_is_exposed() -> None:
    assert not [name for name in FAMILIES if name.endswith("_created")]


def test_common_metrics_are_absent_without_redis() -> None:
    text = generate_latest(SharedMetrics(None, takes_writes=True)).decode()
    (family,) = text_string_to_metric_families(text)
    assert [(sample.name, sample.value) for sample in family.samples] == [("customer_sync_worker_redis_up", 0.0)]


def test_values_are_those_of_redis() -> None:
    values = {(sample.name, *sample.labels.values()): sample.value for family in SHARED for sample in family.samples}
    expected = {
        ("customer_sync_events_total", "applied"): 4,
        ("customer_sync_events_total", "dead"): 2,
        ("customer_sync_events_total", "duplicate"): 1,
        ("customer_sync_mailbox_events",): 2,
        ("customer_sync_oldest_event_age_seconds",): 1.5,
        ("customer_sync_last_success_timestamp_seconds",): 1.5,
        ("customer_sync_newest_dead_letter_timestamp_seconds",): 1,
        ("customer_sync_dead_letters_total", "refused"): 2,
        ("customer_sync_dead_letters_kept",): 2,
        ("customer_sync_retries_total", "timeout"): 5,
        ("customer_sync_rate_ratio", "stripe"): 0.5,
        ("customer_sync_scan_findings", "gone"): 3,
        ("customer_sync_scan_findings", "orphan"): 0,
        ("customer_sync_scan_failed",): 1,
        ("customer_sync_scan_overdue",): 1,
        ("customer_sync_last_scan_timestamp_seconds",): 0.5,
        ("customer_sync_watch_position_age_seconds",): 0.2,
        ("customer_sync_watch_behind",): 0,
        ("customer_sync_watch_off",): 1,
        ("customer_sync_stripe_events_total", "own", "customer.updated"): 6,
        ("customer_sync_stripe_events_total", "now", "customer.updated"): 7,
        ("customer_sync_receipts_sent_total",): 8,
        ("customer_sync_notification_requests_total", "sent"): 11,
        ("customer_sync_notification_requests_total", "failed"): 12,
        ("customer_sync_unsent_notification_age_seconds",): 1.3,
    }
    assert {key: values[key] for key in expected} == expected
    assert [key for key in values if "X" in key] == [], "only totals of the watch's form become labels"
