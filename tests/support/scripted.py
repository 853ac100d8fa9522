"""A server that gives the answers of a list, for the tests of the clients."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from sandbox.serve import serving

Answer = tuple[int, Mapping[str, Any] | str | None, Mapping[str, str]]
"""Status, body and headers. A text is sent as it is, everything else as JSON."""


@dataclass(frozen=True)
class Scripted:
    """A server that gives the answers of a list in turn. It keeps the requests, such as `GET /a?b=1`, and bodies."""

    url: str
    requests: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def scripted(*answers: Answer, repeats_last: bool = False) -> AsyncIterator[Scripted]:
    """Serve the answers in this order. After the last one, a request fails, or gets it again."""
    requests, bodies = list[str](), list[bytes]()

    async def answer(request: web.Request) -> web.Response:
        number = min(len(requests), len(answers) - 1) if repeats_last else len(requests)
        requests.append(f"{request.method} {request.path_qs}")
        bodies.append(await request.read())
        status, body, headers = answers[number]
        if isinstance(body, str):
            return web.Response(text=body, status=status, headers=headers, content_type="text/html")
        return web.json_response(body, status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as url:
        yield Scripted(url, requests, bodies)
