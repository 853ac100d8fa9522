"""The port of a process, for platforms, monitors and people: /healthz, /readyz, /metrics.

All interfaces are listened on, because platforms ask from outside, and nobody is asked here who they are: no answer of
these may hold a customer's id, an address, a payload or a text of a service. The operator's page, which asks, is added
to them (worker.web.pages).
"""

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from worker.loops.heartbeat import Pulse
from worker.status.health import readiness_json, why_a_person_should_look, why_no_write, why_not_alive
from worker.status.shared_state import HOW_TO_REPAIR, Look, SharedState
from worker.telemetry.metrics import Metrics
from worker.telemetry.shared_metrics import SharedMetrics

log = structlog.get_logger(__name__)

ALL_INTERFACES: Final = "0.0.0.0"  # noqa: S104 - platforms ask from outside the machine
BACKLOG: Final = 128
TRY_AGAIN_SECONDS: Final = 5.0
"""How soon a port that another process has is tried again: whoever is replaced in a deploy ends in half a minute."""
FORM_BYTES: Final = 64 * 1024
"""The largest body that is read. The largest form of the page names fifty dead letters, and takes two kilobytes."""
RECEIVE_BYTES: Final = 4 * 1024
"""For the kernel's buffer of each connection: little may arrive at a time. What has arrived is parsed before a request
can be refused, and a chunk of one byte costs as much as a large one."""
BODY_SECONDS: Final = 10.0
"""For a body to arrive."""
CONNECTIONS_AT_MOST: Final = 64
"""Probes and people take a few. More would use up the process's files, and leave none for the calls of the services."""
CLOSE_SECONDS: Final = 1.0
"""What an answer on its way may still take when the process ends."""


def make_app(
    pulse: Pulse, look: Look, metrics: Metrics, *, add_more: Callable[[web.Application], None] | None = None
) -> web.Application:
    """What is served. `look` gives what all workers share; `metrics` are those of this process.

    `add_more` adds further routes, which have to ask by themselves who it is.
    """

    told: tuple[str, ...] = ()

    async def look_and_tell() -> SharedState | None:
        """Look, and log totals that are not numbers, once for as long as they are the same."""
        nonlocal told
        state = await look()
        if state is not None and state.unreadable_totals != told:
            told = state.unreadable_totals
            if told:
                log.warning("totals_skipped", totals=len(told), names=state.unreadable_names, fix=HOW_TO_REPAIR)
        return state

    async def healthz(_: web.Request) -> web.Response:
        reasons = why_not_alive(pulse, time.monotonic())
        return _json({"alive": not reasons, "reasons": reasons}, is_well=not reasons)

    async def readyz(_: web.Request) -> web.Response:
        state = await look_and_tell()
        reasons = [*why_no_write(pulse, time.monotonic()), *why_a_person_should_look(state)]
        return _json(readiness_json(state, reasons), is_well=not reasons)

    async def scrape(_: web.Request) -> web.Response:
        state = await look_and_tell()
        shared = SharedMetrics(state, takes_writes=not why_no_write(pulse, time.monotonic()))
        text = generate_latest(metrics.registry) + generate_latest(shared)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(middlewares=[_read_small_body], client_max_size=FORM_BYTES)
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", scrape)])
    if add_more is not None:
        add_more(app)
    return app


@web.middleware
async def _read_small_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the body of a request before anything else is done, or refuse it and close the connection.

    A body is never unpacked: a megabyte of gzip may be a gigabyte of zeros. A body in chunks is not read, because
    browsers send forms with a length.
    """
    if request.body_exists:
        try:
            if "Content-Encoding" in request.headers:
                raise web.HTTPUnsupportedMediaType(text="Send the body without a Content-Encoding.")
            if "Transfer-Encoding" in request.headers:
                raise web.HTTPLengthRequired(text="Send the body with a Content-Length.")
            if (request.content_length or 0) > FORM_BYTES:
                raise web.HTTPRequestEntityTooLarge(max_size=FORM_BYTES, actual_size=request.content_length or 0)
            await _read(request)
        except web.HTTPException as refusal:
            refusal.force_close()
            raise
    return await handler(request)


async def _read(request: web.Request) -> None:
    """Read the body; the request keeps it. Raises web.HTTPException if it is malformed, too long or too late."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"The body did not arrive within {BODY_SECONDS:.0f} s.") from None
    except (web.RequestPayloadError, HttpProcessingError):
        raise web.HTTPBadRequest(text="The body is malformed.") from None


def _is_not_a_clients_fault(record: logging.LogRecord) -> bool:
    """Leave out what aiohttp logs, with a stack, of each client that sends no HTTP or hangs up: anybody may do so."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | ConnectionError)


def _json(answer: dict[str, Any], *, is_well: bool) -> web.Response:
    status = web.HTTPOk if is_well else web.HTTPServiceUnavailable
    text = json.dumps(answer, indent=2) + "\n"
    return web.Response(status=status.status_code, text=text, content_type="application/json")


@asynccontextmanager
async def serving(app: web.Application, port: int) -> AsyncIterator[None]:
    """Serve `app` on a port of all interfaces for the length of the block.

    Where another process has the port, as a second worker of the same machine may, the block goes on without it, a line
    in the log says so, and the port is tried again until it is free: the work must not wait for who looks at it.
    """
    logging.getLogger("aiohttp.server").addFilter(_is_not_a_clients_fault)
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=CLOSE_SECONDS,
        auto_decompress=False,
        lingering_time=0.0,  # nothing more is read of a request that was refused
    )
    await runner.setup()
    listening = asyncio.create_task(_listen(runner.server, port))  # type: ignore[arg-type]  # None only before its setup
    try:
        yield
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
        await runner.cleanup()


async def _listen(server: web.Server, port: int) -> None:
    """Until cancelled."""
    told = False
    while True:
        try:
            listener = await asyncio.get_running_loop().create_server(_room_in(server), sock=_bind(port))
        except OSError as error:
            if not told:
                fix = "give each worker of a machine a PORT of its own; it works on, and tries the port again"
                log.error("port_bind_failed", port=port, error=error.strerror, fix=fix)
                told = True
            await asyncio.sleep(TRY_AGAIN_SECONDS)
        else:
            log.info("port_opened", port=port)
            break
    try:
        await asyncio.Future()
    finally:
        listener.close()


def _room_in(server: web.Server) -> Callable[[], asyncio.BaseProtocol]:
    """Makes room for each connection that comes: where there are too many, the one that was there first is hung up."""

    def connection() -> asyncio.BaseProtocol:
        for first in server.connections[: 1 - CONNECTIONS_AT_MOST]:
            if first.transport is not None:
                first.transport.abort()
        return server()

    return connection


def _bind(port: int) -> socket.socket:
    """A socket that listens. Raises OSError where the port is not to be had."""
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
