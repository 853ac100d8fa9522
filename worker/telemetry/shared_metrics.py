"""The metrics that all workers share, read from Redis for each scrape.

Each worker shows the same numbers, so aggregate them over workers with `max` and never with `sum`. Counters keep their
values after a restart. Names begin with `customer_sync_`, but never with `customer_sync_worker_`, which is for the
metrics of one worker (worker.telemetry.metrics).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.notifications.state import FAILED, SENT
from jobs.queue.status import Overview
from jobs.queue.watch.state import NO_PERMISSION
from jobs.scan.compare import SCAN_KINDS
from worker.status.shared_state import ScanState, SharedState

OUTCOMES: Final = {"applied": "applied", "dead": "dead", "duplicate": "duplicates"}
"""The outcomes of an event, each with the name of its total."""
WATCH_TOTAL: Final = re.compile(r"watch:(?P<type>[a-z_.]{1,64}):(?P<outcome>[a-z_+-]{1,64})")
"""The name of a total of the watch. No other may become a label."""
BREAKER_KINDS: Final[tuple[Literal["halt", "outage"], ...]] = ("halt", "outage")


class SharedMetrics(Collector):
    """The metric families of one scrape, and whether Redis answered this worker."""

    def __init__(self, state: SharedState | None, *, takes_writes: bool) -> None:
        """`state` was read for this scrape, None if Redis did not answer. `takes_writes` is False if Redis refuses."""
        self._state = state
        self._takes_writes = takes_writes

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        up = int(self._state is not None and self._takes_writes)
        text = "Whether Redis answers this worker in time and accepts its writes."
        yield GaugeMetricFamily("customer_sync_worker_redis_up", text, up)
        if self._state is not None:
            overview = self._state.overview
            yield from _waiting(overview)
            yield from _ends(overview)
            yield GaugeMetricFamily(
                "customer_sync_unreadable_totals_kept",
                "Totals in Redis that are not numbers and are left out here.",
                len(self._state.unreadable_totals),
            )
            yield from _services(overview, self._state.rate_shares)
            yield from _scans(self._state.scan)
            yield from _watch(self._state)
            yield from _notifications(self._state)


def _waiting(overview: Overview) -> Iterator[Metric]:
    yield GaugeMetricFamily("customer_sync_inbox_events", "Events in the inbox.", overview.inbox)
    yield GaugeMetricFamily("customer_sync_mailbox_events", "Events in the mailboxes.", overview.in_mailboxes)
    customers = GaugeMetricFamily(
        "customer_sync_customers", "Customers with events, by state: waiting, or being synced.", labels=["state"]
    )
    customers.add_metric(["waiting"], overview.waiting)
    customers.add_metric(["working"], overview.working)
    yield customers
    yield GaugeMetricFamily(
        "customer_sync_oldest_event_age_seconds",
        "Age of the oldest event that is neither applied nor dead-lettered; 0 if there is none.",
        overview.age_seconds(overview.oldest_sent_ms) or 0,
    )
    blocked = GaugeMetricFamily(
        "customer_sync_blocked",
        "Shared keys of the wrong type or with no id left, and worker loops that keep failing.",
        labels=["kind"],
    )
    blocked.add_metric(["key"], len(overview.wrong_keys) + len(overview.full_keys))
    blocked.add_metric(["loop"], len(overview.failing))
    yield blocked


def _ends(overview: Overview) -> Iterator[Metric]:
    totals = overview.totals
    yield CounterMetricFamily("customer_sync_events_received", "Received events.", value=totals.get("received", 0))
    events = CounterMetricFamily("customer_sync_events", "Events by outcome.", labels=["outcome"])
    for outcome, total in OUTCOMES.items():
        events.add_metric([outcome], totals.get(total, 0))
    yield events
    yield CounterMetricFamily(
        "customer_sync_merged_events",
        "Events that needed no update of their own, because they were merged into another update.",
        value=totals.get("merged", 0),
    )
    yield _by_reason("customer_sync_dead_letters", "Dead-lettered events, by reason.", totals, "dead:")
    yield _by_reason("customer_sync_retries", "Retried syncs, by reason.", totals, "retries:")
    yield GaugeMetricFamily(
        "customer_sync_dead_letters_kept", "Dead letters that were not replayed or dropped.", overview.dead
    )
    yield GaugeMetricFamily(
        "customer_sync_newest_dead_letter_timestamp_seconds",
        "Time of the newest kept dead letter, in seconds since the epoch; 0 if there is none.",
        (overview.newest_dead_ms or 0) / 1000,
    )
    yield GaugeMetricFamily(
        "customer_sync_last_success_timestamp_seconds",
        "Time when an event was last applied, in seconds since the epoch; 0 if none was.",
        (overview.last_success_ms or 0) / 1000,
    )


def _by_reason(name: str, text: str, totals: Mapping[str, int], beginning: str) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=["reason"])
    for total, value in sorted(totals.items()):
        if total.startswith(beginning):
            family.add_metric([total.removeprefix(beginning)], value)
    return family


def _services(overview: Overview, rate_shares: Mapping[str, float]) -> Iterator[Metric]:
    closed = GaugeMetricFamily(
        "customer_sync_breaker_open",
        "Whether the breaker is open, so that only probes run: halt waits for a person, outage for a service.",
        labels=["kind"],
    )
    for kind in BREAKER_KINDS:
        closed.add_metric([kind], int(overview.breaker is not None and overview.breaker.kind == kind))
    yield closed
    shares = GaugeMetricFamily(
        "customer_sync_rate_ratio", "Share of a rate that is in force; 429s lower it for a while.", labels=["limit"]
    )
    for limit, share in rate_shares.items():
        shares.add_metric([limit], share)
    yield shares


def _scans(scan: ScanState) -> Iterator[Metric]:
    findings = GaugeMetricFamily(
        "customer_sync_scan_findings", "Findings of the last whole scan, by kind.", labels=["kind"]
    )
    for kind in SCAN_KINDS:
        findings.add_metric([kind], scan.last_done.totals.get(kind, 0) if scan.last_done else 0)
    yield findings
    went_wrong = scan.last is not None and scan.last.state in {"failed", "refused"}
    yield GaugeMetricFamily(
        "customer_sync_scan_failed",
        "Whether the last whole scan failed, or was refused because too many customers would change.",
        int(went_wrong),
    )
    yield GaugeMetricFamily(
        "customer_sync_scan_overdue", "Whether a scheduled scan should have ended by now.", int(scan.is_overdue)
    )
    yield GaugeMetricFamily(
        "customer_sync_last_scan_timestamp_seconds",
        "Start of the last successful scheduled scan, in seconds since the epoch; 0 if there is none.",
        (scan.began_ms or 0) / 1000,
    )


def _watch(state: SharedState) -> Iterator[Metric]:
    overview, watch = state.overview, state.watch
    yield GaugeMetricFamily(
        "customer_sync_watch_position_age_seconds",
        "Time since which events of Stripe may be unread; 0 if the watch has not begun.",
        overview.age_seconds(watch.position_ms) or 0,
    )
    yield GaugeMetricFamily(
        "customer_sync_watch_behind",
        "Whether the watch is behind: its position is older than three polls and than 180 seconds.",
        int(state.watch_behind_seconds > 0),
    )
    yield GaugeMetricFamily(
        "customer_sync_watch_off",
        "Whether the watch is off because Stripe refuses its polls. A watch that a setting turns off is 0.",
        int(watch.off == NO_PERMISSION),
    )
    seen = CounterMetricFamily(
        "customer_sync_stripe_events", "Events of Stripe, by type and by what they led to.", labels=["type", "outcome"]
    )
    for total, value in sorted(overview.totals.items()):
        found = WATCH_TOTAL.fullmatch(total)
        if found is not None:
            seen.add_metric([found["type"], found["outcome"]], value)
    yield seen
    yield CounterMetricFamily(
        "customer_sync_receipts_sent",
        "Receipts that Stripe sent, as its events prove.",
        value=overview.totals.get("receipts_sent", 0),
    )


def _notifications(state: SharedState) -> Iterator[Metric]:
    overview = state.overview
    requests = CounterMetricFamily(
        "customer_sync_notification_requests", "Requests to NOTIFY_URL, by result.", labels=["result"]
    )
    for result, total in (("sent", SENT), ("failed", FAILED)):
        requests.add_metric([result], overview.totals.get(total, 0))
    yield requests
    yield GaugeMetricFamily(
        "customer_sync_unsent_notification_age_seconds",
        "Time since the first failed try to send the notifications that wait; 0 if none waits.",
        overview.age_seconds(state.notifications.unsent_since_ms) or 0,
    )
