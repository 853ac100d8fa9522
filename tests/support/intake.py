"""A small server of `POST /v1/events`, for the tests of the clients. It keeps the contract of the worker's own."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.enqueue import outcome_of, send
from jobs.events import CustomerUpdate, EventError, new_update
from sandbox.serve import serving

TOKEN: Final = "token-of-the-app"
MOST_EVENTS: Final = 1000


@asynccontextmanager
async def intake(redis_url: str) -> AsyncIterator[str]:
    """Serve both paths on a free port, and yield the base URL. Apps need `TOKEN`."""
    async with Redis.from_url(redis_url) as redis:
        app = web.Application(client_max_size=4 * 1024 * 1024, middlewares=[_refusals])
        app[_REDIS] = redis
        app.add_routes([web.post("/v1/events", _accept), web.get("/v1/events/{id}", _outcome)])
        async with serving(app) as url:
            yield url


_REDIS: Final = web.AppKey("redis", Redis)


class _RefusedError(Exception):
    def __init__(self, status: int, code: str, **more: Any) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error": code, "message": f"refused: {code}", **more}


@web.middleware
async def _refusals(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        _check_token(request)
        answer: web.StreamResponse = await handler(request)
        return answer
    except _RefusedError as refused:
        return web.json_response(refused.body, status=refused.status)
    except RedisError:
        body = {"error": "redis_unavailable", "message": "Redis does not answer"}
        return web.json_response(body, status=503, headers={"Retry-After": "5"})


def _check_token(request: web.Request) -> None:
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        raise _RefusedError(401, "unauthorized")


async def _accept(request: web.Request) -> web.Response:
    try:
        body = json.loads(await request.read())
    except ValueError:
        raise _RefusedError(400, "invalid_json") from None
    except web.HTTPRequestEntityTooLarge:
        raise _RefusedError(413, "too_large") from None
    events = body if isinstance(body, list) else [body]
    if len(events) > MOST_EVENTS:
        raise _RefusedError(413, "too_large")
    updates = _parsed(events)
    return web.json_response({"ids": [await send(request.app[_REDIS], update) for update in updates]}, status=202)


def _parsed(events: list[Any]) -> list[CustomerUpdate]:
    updates, wrong = [], []
    for entry, event in enumerate(events):
        try:
            updates.append(new_update(**event))
        except EventError as error:
            for problem in str(error).split("; "):
                field, _, message = problem.partition(": ")
                wrong.append({"entry": entry, "field": field, "message": message})
    if wrong:
        raise _RefusedError(400, "invalid_events", fields=wrong)
    return updates


async def _outcome(request: web.Request) -> web.Response:
    event_id, wait_seconds = request.match_info["id"], float(request.query.get("wait", "0"))
    found = await outcome_of(request.app[_REDIS], event_id, wait_seconds=wait_seconds)
    if found is None:
        raise _RefusedError(404, "unknown_event")
    return web.json_response({"id": event_id, **vars(found)})
