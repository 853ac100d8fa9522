"""A server of `POST /v1/events` over a real Redis, as small as the contract of the HTTP way allows."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import CustomerUpdate, EventError, new_update
from sandbox.serve import serving

TOKEN: Final = "a-token-of-the-tests"


@dataclass(frozen=True)
class Intake:
    """The address of the server, and a valid token."""

    url: str
    token: str = TOKEN


@asynccontextmanager
async def intake(redis_url: str) -> AsyncIterator[Intake]:
    """Serve the HTTP way to the inbox of this Redis for the length of the block."""
    async with Redis.from_url(redis_url) as redis:
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app[_REDIS] = redis
        app.add_routes([web.post("/v1/events", _receive), web.get("/v1/events/{id:.+}", _status)])
        async with serving(app) as url:
            yield Intake(url)


_REDIS: Final = web.AppKey("redis", Redis)


async def _receive(request: web.Request) -> web.Response:
    if not _is_authorized(request):
        return _refusal(401, "unauthorized")
    found = await request.json()
    updates, faults = _checked(found if isinstance(found, list) else [found])
    if faults:
        return _refusal(400, "invalid_events", fields=faults)
    return web.json_response({"ids": [await send(request.app[_REDIS], update) for update in updates]}, status=202)


async def _status(request: web.Request) -> web.Response:
    if not _is_authorized(request):
        return _refusal(401, "unauthorized")
    event_id, wait = request.match_info["id"], float(request.query.get("wait", "0"))
    outcome = await outcome_of(request.app[_REDIS], event_id, wait_seconds=wait)
    if outcome is None:
        return _refusal(404, "unknown_event")
    return web.json_response({"id": event_id, **vars(outcome)})


def _is_authorized(request: web.Request) -> bool:
    return request.headers.get("Authorization") == f"Bearer {TOKEN}"


def _checked(events: Sequence[Any]) -> tuple[list[CustomerUpdate], list[Mapping[str, Any]]]:
    updates: list[CustomerUpdate] = []
    faults: list[Mapping[str, Any]] = []
    for entry, event in enumerate(events):
        try:
            updates.append(new_update(**event))
        except EventError as error:
            faults += [{"entry": entry, **vars(fault)} for fault in error.faults]
    return updates, faults


def _refusal(status: int, code: str, **more: Any) -> web.Response:
    return web.json_response({"error": code, "message": f"The request was refused: {code}.", **more}, status=status)


Answer = tuple[int, Mapping[str, Any] | str, Mapping[str, str]]
"""Status, body and headers. A text is not JSON."""


@dataclass(frozen=True)
class Scripted:
    """A server that gives the answers of a list, whatever the requests are."""

    url: str
    bodies: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def scripted(*answers: Answer) -> AsyncIterator[Scripted]:
    """Serve the answers in this order. `bodies` has the bodies of the requests."""
    left, bodies = list(answers), list[bytes]()

    async def answer(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        status, body, headers = left.pop(0)
        if isinstance(body, str):
            return web.Response(text=body, status=status, headers=headers, content_type="text/html")
        return web.json_response(body, status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as url:
        yield Scripted(url, bodies)
