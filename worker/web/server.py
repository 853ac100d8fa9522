"""The HTTP server of a process, for platforms, monitors and people: /healthz, /readyz, /metrics.

The server listens on all interfaces, because platforms connect from outside. These three routes check no access, so
their responses must not contain a customer's id, an address, a payload or a service's text. Routes that check access
are added to them: the operator's page (worker.web.pages) and Stripe's webhooks (worker.web.webhooks).
"""

import asyncio
import json
import logging
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import islice
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from worker.loops.heartbeat import Heartbeat
from worker.status.health import readiness_json, why_no_write, why_not_alive, why_not_ready
from worker.status.shared_state import HOW_TO_REPAIR, ReadState, SharedState
from worker.telemetry.metrics import Metrics
from worker.telemetry.shared_metrics import SharedMetrics

log = structlog.get_logger(__name__)

ALL_INTERFACES: Final = "0.0.0.0"  # noqa: S104 - platforms connect from outside the machine
BACKLOG: Final = 128
TRY_AGAIN_SECONDS: Final = 5.0
"""The pause until a port in use is tried again. In a deploy, the old process ends within half a minute."""
FORM_BYTES: Final = 64 * 1024
"""The largest body of a route without a limit of its own. The largest form has fifty dead letters, two kilobytes."""
BODY_LIMITS: Final = web.AppKey("BODY_LIMITS", dict[str, int | Callable[[web.Request], int]])
"""The largest body in bytes by path, for routes that read more than a form. It may depend on the head of a request."""
RECEIVE_BYTES: Final = 4 * 1024
"""The kernel's buffer of each connection. It is small, because received data is parsed before a request can be refused,
and a chunk of one byte costs as much as a large one."""
BODY_SECONDS: Final = 10.0
"""The longest time for a body to arrive."""
CONNECTIONS_AT_MOST: Final = 256
"""Probes and people need a few, and apps may open one for each event."""
FILES_OF_CONNECTIONS: Final = 4
"""One of so many file descriptors is for a connection to the port, because calls to the services need others."""
IN_USE: Final = web.AppKey("IN_USE", set[asyncio.BaseTransport | None])
"""The connections that are not closed to make room."""
CLOSE_SECONDS: Final = 1.0
"""The longest time for a running response when the process ends."""


def make_app(
    heartbeat: Heartbeat,
    read_state: ReadState,
    metrics: Metrics,
    *,
    add_more: Sequence[Callable[[web.Application], None]] = (),
) -> web.Application:
    """Return the application. `read_state` returns the shared state of all workers; `metrics` belong to this process.

    Each of `add_more` adds routes, which must check access themselves.
    """

    logged: tuple[str, ...] = ()

    async def read_and_log() -> SharedState | None:
        """Read the shared state, and log totals that are not numbers once, until they change."""
        nonlocal logged
        state = await read_state()
        if state is not None and state.unreadable_totals != logged:
            logged = state.unreadable_totals
            if logged:
                log.warning("totals_skipped", totals=len(logged), names=state.unreadable_names, fix=HOW_TO_REPAIR)
        return state

    async def healthz(_: web.Request) -> web.Response:
        reasons = why_not_alive(heartbeat, time.monotonic())
        return _json({"alive": not reasons, "reasons": reasons}, is_well=not reasons)

    async def readyz(_: web.Request) -> web.Response:
        state = await read_and_log()
        reasons = [*why_no_write(heartbeat, time.monotonic()), *why_not_ready(state)]
        return _json(readiness_json(state, reasons), is_well=not reasons)

    async def scrape(_: web.Request) -> web.Response:
        state = await read_and_log()
        shared = SharedMetrics(state, takes_writes=not why_no_write(heartbeat, time.monotonic()))
        text = generate_latest(metrics.registry) + generate_latest(shared)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(middlewares=[_read_small_body], client_max_size=FORM_BYTES)
    app[BODY_LIMITS] = {}
    app[IN_USE] = set()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", scrape)])
    for add in add_more:
        add(app)
    return app


@web.middleware
async def _read_small_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the body of a request before its handler runs, or refuse it and close the connection.

    Compressed bodies are refused, because a megabyte of gzip may become a gigabyte. Chunked bodies are refused, because
    browsers send forms with a length.
    """
    if request.body_exists:
        limit = request.app[BODY_LIMITS].get(request.path, FORM_BYTES)
        at_most = limit if isinstance(limit, int) else limit(request)
        request = request.clone(client_max_size=at_most)
        try:
            if "Content-Encoding" in request.headers:
                raise web.HTTPUnsupportedMediaType(text="Send the body without a Content-Encoding.")
            if "Transfer-Encoding" in request.headers:
                raise web.HTTPLengthRequired(text="Send the body with a Content-Length.")
            if (request.content_length or 0) > at_most:
                raise web.HTTPRequestEntityTooLarge(max_size=at_most, actual_size=request.content_length or 0)
            await _read(request)
        except web.HTTPException as refusal:
            refusal.force_close()
            raise
    return await handler(request)


async def _read(request: web.Request) -> None:
    """Read the body into the request. Raises web.HTTPException if it is malformed, too long or too late."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"The body did not arrive within {BODY_SECONDS:.0f} s.") from None
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError):
        raise web.HTTPBadRequest(text="The body is malformed.") from None


def _is_not_a_clients_fault(record: logging.LogRecord) -> bool:
    """Drop the tracebacks that aiohttp logs when a client sends invalid HTTP or hangs up, because anybody can do so."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | ConnectionError)


def _json(answer: dict[str, Any], *, is_well: bool) -> web.Response:
    status = web.HTTPOk if is_well else web.HTTPServiceUnavailable
    text = json.dumps(answer, indent=2) + "\n"
    return web.Response(status=status.status_code, text=text, content_type="application/json")


@asynccontextmanager
async def serving(app: web.Application, port: int) -> AsyncIterator[None]:
    """Serve `app` on a port of all interfaces for the length of the block.

    If another process uses the port, such as a second worker on the same machine, the block goes on without it. The log
    says so once, and the port is tried again until it is free, because syncs must not wait for it.
    """
    logging.getLogger("aiohttp.server").addFilter(_is_not_a_clients_fault)
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=CLOSE_SECONDS,
        auto_decompress=False,
        lingering_time=0.0,  # do not read the rest of a refused request
    )
    await runner.setup()
    listening = asyncio.create_task(_listen(runner.server, port, app[IN_USE]))  # type: ignore[arg-type]  # None only before its setup
    try:
        yield
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
        await runner.cleanup()


async def _listen(server: web.Server, port: int, in_use: set[asyncio.BaseTransport | None]) -> None:
    """Open the port, and accept connections until cancelled."""
    logged = False
    while True:
        try:
            listener = await asyncio.get_running_loop().create_server(_room_in(server, in_use), sock=_bind(port))
        except OSError as error:
            if not logged:
                fix = "give each worker on a machine its own PORT; the worker goes on, and tries the port again"
                log.error("port_bind_failed", port=port, error=error.strerror, fix=fix)
                logged = True
            await asyncio.sleep(TRY_AGAIN_SECONDS)
        else:
            log.info("port_opened", port=port)
            break
    try:
        await asyncio.Future()
    finally:
        listener.close()


@contextmanager
def kept_open(request: web.Request) -> Iterator[None]:
    """Do not close the connection of a request to make room, unless half of all are kept open already.

    Only for requests that have passed an access check.
    """
    in_use, transport = request.app[IN_USE], request.transport
    if len(in_use) < connections_at_most() // 2:
        in_use.add(transport)
    try:
        yield
    finally:
        in_use.discard(transport)


def connections_at_most() -> int:
    """Return the most connections to the port."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return CONNECTIONS_AT_MOST
    return max(1, min(CONNECTIONS_AT_MOST, files // FILES_OF_CONNECTIONS))


def _room_in(server: web.Server, in_use: set[asyncio.BaseTransport | None]) -> Callable[[], asyncio.BaseProtocol]:
    """Return a factory of connections. If there are too many, it closes the oldest ones that are not in use."""

    at_most = connections_at_most()

    def connection() -> asyncio.BaseProtocol:
        too_many = len(server.connections) + 1 - at_most
        idle = (each.transport for each in server.connections if each.transport not in in_use)
        for first in islice(idle, max(0, too_many)):
            if first is not None:
                first.abort()
        return server()

    return connection


def _bind(port: int) -> socket.socket:
    """Return a listening socket. Raises OSError if the port is not free."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        listener.bind((ALL_INTERFACES, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
