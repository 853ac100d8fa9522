"""Syncs and calls as OpenTelemetry spans: one for each sync, and within it one for each call of Autumn or Stripe.

A sync merges what several requests of apps have asked for. Where all of its entries that have a trace context have the
same one, the sync is a child of it, in the app's trace. Where they have several, none is more its parent than another:
the sync is the root of a trace of its own, with a link to each. With a context come the app's decision about sampling,
and nothing else.

A span holds ids, codes, counts and times; never a name, an address, a payload, a key, or a message, which may quote
one. That is why exceptions are not recorded here. Calls outside of a sync, such as those of the operator's page and of
scans, are not told. The only file that imports OpenTelemetry; `worker.telemetry.traces` says when.
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
"""What the last spans may take to be sent at the end; then they are given up. Beside the jobs' time, the worker's stop
has to hold it."""
SERVICE: Final = "autumn-stripe-sync"
UNNAMED: Final = "unknown_service"
TALKATIVE: Final = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.util.re")
"""Loggers whose messages, several for each batch, may quote an address or a header, which may hold a key."""
NANOSECONDS: Final = 1_000_000_000
_PROPAGATOR: Final = TraceContextTextMapPropagator()
FINDINGS: Final = ("ok", "absent")
"""Results of calls that did what they were to do: what is not there is found out so."""


@dataclass
class _Open:
    """The sync that this task is at, and how long it has waited for its turns."""

    span: Span
    waited_seconds: float = 0.0


_OPEN: ContextVar[_Open | None] = ContextVar("open_sync", default=None)


class Spans:
    """Makes a span of each sync and call that it is told of (jobs.observer.Observer)."""

    def __init__(self, provider: TracerProvider) -> None:
        """Takes the provider over: it ends with `close`."""
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
                    "customer_sync.waited_seconds": round(this.waited_seconds, 6),
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

    def waited(self, limit: str, seconds: float) -> None:  # noqa: ARG002 - which it was, the next call shows
        """See jobs.observer.Observer."""
        this = _OPEN.get()
        if this is not None:
            this.waited_seconds += seconds

    async def close(self) -> None:
        """Send off what is left, for CLOSE_SECONDS at most."""
        # The SDK waits for its exporter for half a minute, whatever it is told. A daemon keeps no process alive.
        closing = threading.Thread(target=self._provider.shutdown, name="close traces", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_SECONDS)
        if closing.is_alive():
            log.warning("traces_dropped", after_seconds=CLOSE_SECONDS)


class _Telling(SpanExporter):
    """The exporter to the collector, which says once that spans do not arrive, and once that they do again."""

    def __init__(self) -> None:
        """Reads OpenTelemetry's variables. Raises what its exporter raises of them."""
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
        """Send a batch; what fails in passing is tried again by the library for OTEL_EXPORTER_OTLP_TIMEOUT seconds."""
        self._status = None
        result = self._exporter.export(spans)
        fails = result is not SpanExportResult.SUCCESS
        if fails and not self._fails:
            log.warning(
                "traces_send_failed", status=self._status, fix="look at OTEL_EXPORTER_OTLP_ENDPOINT and _HEADERS"
            )
        elif self._fails and not fails:
            log.info("traces_resumed")
        self._fails = fails
        return result

    def shutdown(self) -> None:
        """End what waits to be tried again."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library has no type for it


def open_spans() -> Spans:
    """Spans that go to the collector, batch by batch, from a thread of their own.

    Raises ValueError or OSError where one of OpenTelemetry's variables has a value that is not usable.
    """
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, UNNAMED)).startswith(UNNAMED):
        resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Telling()))
    return Spans(provider)


def _before(traceparents: Sequence[str]) -> tuple[Context, list[Link]]:
    """Where a sync begins: below the one context there is, or at a root with a link to each of several."""
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
