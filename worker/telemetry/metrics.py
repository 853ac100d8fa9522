"""The metrics of one process: calls, waits, syncs, Redis commands, and the lag of its event loop.

Every name begins with `customer_sync_worker_`. Each worker counts its own, so sum them over workers. The metrics that
all workers share are in worker.telemetry.shared_metrics. No label may contain a customer's id or another unbounded
value.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector

from jobs.observer import Call, Sync

CALL_SECONDS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
WAIT_SECONDS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SYNC_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0)
AGREEMENT_SECONDS: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 90.0, 120.0, 300.0, 600.0, 1800.0)
LAG_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Metrics:
    """The metrics of one process, in their own registry, and an observer of the jobs (jobs.observer)."""

    def __init__(self) -> None:
        """Make the registry. A process has only one."""
        # Otherwise each series gets a second one with its time of creation. The library has no switch per registry.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no type for it
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._info = Info("customer_sync_worker", "The process: its type, and the mode of its keys.", registry=registry)
        self._calls = Counter(
            "customer_sync_worker_provider_calls",
            "Calls to Autumn and Stripe, by result.",
            ["service", "endpoint", "result"],
            registry=registry,
        )
        self._call_seconds = Histogram(
            "customer_sync_worker_provider_call_seconds",
            "Duration of calls to Autumn and Stripe, without the wait for a slot.",
            ["service", "endpoint"],
            buckets=CALL_SECONDS,
            registry=registry,
        )
        self._wait_seconds = Histogram(
            "customer_sync_worker_throttle_wait_seconds",
            "Time that calls waited for a slot under the rates that all workers share.",
            ["limit"],
            buckets=WAIT_SECONDS,
            registry=registry,
        )
        self._sync_seconds = Histogram(
            "customer_sync_worker_sync_seconds",
            "Duration of a customer's sync, including its calls and waits.",
            buckets=SYNC_SECONDS,
            registry=registry,
        )
        self._agreement_seconds = _agreement_seconds(registry)
        self._redis_commands = Counter(
            "customer_sync_worker_redis_commands", "Commands that Redis answered.", registry=registry
        )
        self._lag_seconds = Histogram(
            "customer_sync_worker_event_loop_lag_seconds",
            "Delay of the event loop in resuming a task, measured twice a second.",
            buckets=LAG_SECONDS,
            registry=registry,
        )

    def runs_as(self, process_type: str, mode: str) -> None:
        """Set the process type, as in the Procfile, and the mode of the keys, test or live."""
        self._info.info({"type": process_type, "mode": mode})

    @contextmanager
    def syncing(self, sync: Sync) -> Iterator[None]:  # noqa: ARG002 - no label may name the customer
        """See jobs.observer.Observer."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self._sync_seconds.observe(time.monotonic() - begin)

    def called(self, call: Call) -> None:
        """See jobs.observer.Observer."""
        self._calls.labels(call.service, call.endpoint, call.result).inc()
        self._call_seconds.labels(call.service, call.endpoint).observe(call.seconds)

    def throttled(self, limit: str, seconds: float) -> None:
        """See jobs.observer.Observer."""
        self._wait_seconds.labels(limit).observe(seconds)

    def event_agreed(self, seconds: float) -> None:
        """See jobs.observer.Observer."""
        self._agreement_seconds.observe(seconds)

    def throttled_calls(self) -> dict[str, int]:
        """Return the number of calls of this process that got a slot so far, by the name of the limit."""
        samples = (sample for family in self._wait_seconds.collect() for sample in family.samples)
        return {each.labels["limit"]: int(each.value) for each in samples if each.name.endswith("_count")}

    def redis_answered(self) -> None:
        """Count a command that Redis answered."""
        self._redis_commands.inc()

    def lagged(self, seconds: float) -> None:
        """Observe that the event loop resumed a task this many seconds late."""
        self._lag_seconds.observe(seconds)


def _agreement_seconds(registry: CollectorRegistry) -> Histogram:
    return Histogram(
        "customer_sync_worker_watch_agreement_seconds",
        "Time from an event of Stripe to the end of the sync that it led to.",
        buckets=AGREEMENT_SECONDS,
        registry=registry,
    )
