"""Syncs and calls as OpenTelemetry spans: one for each sync, and in it one for each call to Autumn or Stripe.

A sync may merge events of several app requests. If its events have one trace context, the sync is a child in the app's
trace. If they have several, the sync is the root of a new trace, with a link to each. A context also carries the app's
sampling decision.

A span contains ids, codes, counts and times, but never a name, an address, a payload, a key, or a message, which may
quote one. So exceptions are not recorded. Calls outside of a sync, such as those of scans and of the operator's page,
have no spans. Only this file imports OpenTelemetry, and `worker.telemetry.traces` imports it only if traces are on.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import requests
import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from jobs.observer import Call, Sync

log = structlog.get_logger(__name__)

CLOSE_SECONDS: Final = 3.0
"""The longest time to send the last spans when the process ends. The worker's stop time must include it."""
SERVICE: Final = "autumn-stripe-sync"
UNNAMED: Final = "unknown_service"
TALKATIVE: Final = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.util.re")
"""Loggers whose messages may quote an address or a header, which may contain a key."""
NANOSECONDS: Final = 1_000_000_000
_PROPAGATOR: Final = TraceContextTextMapPropagator()
FINDINGS: Final = ("ok", "absent")
"""The results that are not failures. `absent` is a normal answer."""


@dataclass
class _Open:
    """The span of the current task's sync, and how long the sync has waited for slots."""

    span: Span
    throttled_seconds: float = 0.0


_OPEN: ContextVar[_Open | None] = ContextVar("open_sync", default=None)


class Spans:
    """An observer that makes a span for each sync and call (jobs.observer.Observer)."""

    def __init__(self, provider: TracerProvider) -> None:
        """Take over the provider. `close` shuts it down."""
        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE)

    @contextmanager
    def syncing(self, sync: Sync) -> Iterator[None]:
        """See jobs.observer.Observer."""
        parent, links = _before(sync.traceparents)
        span = self._tracer.start_span("sync customer", parent, SpanKind.CONSUMER, links=links)
        span.set_attributes({"customer_sync.customer_id": sync.customer_id, "customer_sync.entries": sync.entries})
        this = _Open(span)
        token = _OPEN.set(this)
        try:
            yield
        except BaseException as error:
            _fail(span, type(error).__name__)
            raise
        else:
            if sync.error:
                _fail(span, sync.error)
        finally:
            _OPEN.reset(token)
            span.set_attributes(
                {
                    "customer_sync.outcome": sync.outcome,
                    "customer_sync.applied": sync.applied,
                    "customer_sync.dead": sync.dead,
                    "customer_sync.throttled_seconds": round(this.throttled_seconds, 6),
                }
            )
            span.end()

    def called(self, call: Call) -> None:
        """See jobs.observer.Observer."""
        this = _OPEN.get()
        if this is None or not this.span.is_recording():
            return
        end = time.time_ns()
        method, _, template = call.endpoint.partition(" ")
        span = self._tracer.start_span(
            call.endpoint,
            set_span_in_context(this.span, Context()),
            SpanKind.CLIENT,
            {
                "service.peer.name": call.service,
                "http.request.method": method,
                "url.template": template,
                "customer_sync.result": call.result,
            },
            start_time=end - int(call.seconds * NANOSECONDS),
        )
        if call.status_code is not None:
            span.set_attribute("http.response.status_code", call.status_code)
        if call.result not in FINDINGS:
            _fail(span, call.error)
        span.end(end)

    def throttled(self, limit: str, seconds: float) -> None:  # noqa: ARG002 - the next call shows the limit
        """See jobs.observer.Observer."""
        this = _OPEN.get()
        if this is not None:
            this.throttled_seconds += seconds

    def event_agreed(self, seconds: float) -> None:
        """See jobs.observer.Observer. A span shows its own time; the metric shows this one."""

    async def close(self) -> None:
        """Send the remaining spans, for at most CLOSE_SECONDS."""
        # The SDK always waits half a minute for its exporter. A daemon thread does not keep the process alive.
        closing = threading.Thread(target=self._provider.shutdown, name="close traces", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_SECONDS)
        if closing.is_alive():
            log.warning("traces_dropped", after_seconds=CLOSE_SECONDS)


class _Telling(SpanExporter):
    """An exporter to the collector that logs once when sending fails, and once when it works again."""

    def __init__(self) -> None:
        """Read OpenTelemetry's variables. Raises ValueError or OSError if one of them is invalid."""
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._status: int | None = None
        session = requests.Session()
        session.hooks["response"].append(self._answered)
        self._exporter = OTLPSpanExporter(session=session)
        self._fails = False

    def _answered(self, answer: requests.Response, **_: Any) -> None:
        self._status = answer.status_code

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch of spans. The library retries temporary failures for OTEL_EXPORTER_OTLP_TIMEOUT seconds."""
        self._status = None
        result = self._exporter.export(spans)
        fails = result is not SpanExportResult.SUCCESS
        if fails and not self._fails:
            fix = "check OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS"
            log.warning("traces_send_failed", status=self._status, fix=fix)
        elif self._fails and not fails:
            log.info("traces_resumed")
        self._fails = fails
        return result

    def shutdown(self) -> None:
        """Stop the retries."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library has no type for it


def open_spans() -> Spans:
    """Return spans that a separate thread sends to the collector in batches.

    Raises ValueError or OSError if one of OpenTelemetry's variables has an invalid value.
    """
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, UNNAMED)).startswith(UNNAMED):
        resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Telling()))
    return Spans(provider)


def _before(traceparents: Sequence[str]) -> tuple[Context, list[Link]]:
    """Return the parent of a sync if it has one trace context, or else an empty parent and a link to each context."""
    seen: dict[tuple[int, int], Context] = {}
    for each in traceparents:
        context = _PROPAGATOR.extract({"traceparent": each}, Context())
        span = get_current_span(context).get_span_context()
        seen.setdefault((span.trace_id, span.span_id), context)
    if len(seen) == 1:
        return next(iter(seen.values())), []
    return Context(), [Link(get_current_span(context).get_span_context()) for context in seen.values()]


def _fail(span: Span, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR, code))
