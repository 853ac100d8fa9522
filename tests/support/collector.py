"""A collector of OpenTelemetry traces over HTTP for the worker's exporter: it accepts, refuses, or hangs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from sandbox.serve import serving


@dataclass(frozen=True)
class Span:
    """A span as it was sent. `kind` and `error` are names; links are (trace id, span id)."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    begin_ns: int
    end_ns: int
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    events: int
    error: str | None


@dataclass
class Collector:
    """The received requests, and the status of the next answer. With status 0 it never answers."""

    url: str = ""
    status: int = 200
    bodies: list[bytes] = field(default_factory=list)
    requests: int = 0

    async def take(self, request: web.Request) -> web.Response:
        """Receive a request of the exporter."""
        self.requests += 1
        body = await request.read()
        if self.status == 0:
            await asyncio.Event().wait()
        if self.status == web.HTTPOk.status_code:
            self.bodies.append(body)
        return web.Response(status=self.status)

    def services(self) -> set[str]:
        """The service names of the senders."""
        deps = [each.resource for body in self.bodies for each in _parsed(body).resource_spans]
        return {_values(resource.attributes)["service.name"] for resource in deps}

    def spans(self) -> list[Span]:
        """All received spans."""
        return [
            Span(
                name=span.name,
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
                kind=span.kind,
                begin_ns=span.start_time_unix_nano,
                end_ns=span.end_time_unix_nano,
                attributes=_values(span.attributes),
                links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                events=len(span.events),
                error=span.status.message if span.status.code == Status.STATUS_CODE_ERROR else None,
            )
            for body in self.bodies
            for resource in _parsed(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def syncs(self) -> list[Span]:
        """The spans of syncs."""
        return [span for span in self.spans() if span.name == "sync customer"]

    def calls_of(self, sync: Span) -> list[Span]:
        """The spans of the calls within a sync, in the order of time."""
        children = [span for span in self.spans() if span.parent_id == sync.span_id]
        return sorted(children, key=lambda span: span.begin_ns)


@asynccontextmanager
async def collecting(status: int = 200) -> AsyncIterator[Collector]:
    """Yield a collector on a free port of the loopback interface."""
    collector = Collector(status=status)
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    async with serving(app) as url:
        collector.url = url
        yield collector


def _parsed(body: bytes) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    return request


def _values(pairs: Any) -> dict[str, Any]:
    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, pair.value.WhichOneof("value") or "string_value")

    return {pair.key: value(pair) for pair in pairs}
