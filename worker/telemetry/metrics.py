"""What this process counts itself: calls, waits, syncs, commands to Redis, the lag of its event loop.

Every name begins with `customer_sync_worker_`: each worker writes its own, so they are added up over workers. What is
common to all workers is in worker.telemetry.shared_metrics. No label may hold a customer's id, nor anything else that
is unbounded.
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
LAG_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Metrics:
    """The metrics of one process, in a registry of their own. It is an observer of the jobs (jobs.observer)."""

    def __init__(self) -> None:
        """Makes the registry; there is to be one in a process."""
        # A switch of the library's module; there is none per registry. Each series would have another one beside it.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no type for it
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._info = Info("customer_sync_worker", "The process: its type, and the mode of its keys.", registry=registry)
        self._calls = Counter(
            "customer_sync_worker_provider_calls",
            "Calls of Autumn and Stripe by how they ended.",
            ["service", "endpoint", "result"],
            registry=registry,
        )
        self._call_seconds = Histogram(
            "customer_sync_worker_provider_call_seconds",
            "How long calls of Autumn and Stripe took, without the wait for their turn.",
            ["service", "endpoint"],
            buckets=CALL_SECONDS,
            registry=registry,
        )
        self._wait_seconds = Histogram(
            "customer_sync_worker_throttle_wait_seconds",
            "How long calls waited for their turn under the rates that all workers share.",
            ["limit"],
            buckets=WAIT_SECONDS,
            registry=registry,
        )
        self._sync_seconds = Histogram(
            "customer_sync_worker_sync_seconds",
            "How long one sync of a customer took, all its calls and waits included.",
            buckets=SYNC_SECONDS,
            registry=registry,
        )
        self._redis_commands = Counter(
            "customer_sync_worker_redis_commands", "Commands that Redis answered.", registry=registry
        )
        self._lag_seconds = Histogram(
            "customer_sync_worker_event_loop_lag_seconds",
            "How much later than asked for the event loop came back to a task, looked at twice a second.",
            buckets=LAG_SECONDS,
            registry=registry,
        )

    def runs_as(self, process_type: str, mode: str) -> None:
        """What the Procfile calls the process, and the mode of its keys, test or live, are known."""
        self._info.info({"type": process_type, "mode": mode})

    @contextmanager
    def syncing(self, sync: Sync) -> Iterator[None]:  # noqa: ARG002 - no label may say whose it is
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

    def waited(self, limit: str, seconds: float) -> None:
        """See jobs.observer.Observer."""
        self._wait_seconds.labels(limit).observe(seconds)

    def turns(self) -> dict[str, int]:
        """How many calls of this process had their turn so far, by the name of their limit."""
        samples = (sample for family in self._wait_seconds.collect() for sample in family.samples)
        return {each.labels["limit"]: int(each.value) for each in samples if each.name.endswith("_count")}

    def redis_answered(self) -> None:
        """Redis answered one command."""
        self._redis_commands.inc()

    def lagged(self, seconds: float) -> None:
        """The event loop came back to a task so much later than it was asked to."""
        self._lag_seconds.observe(seconds)
