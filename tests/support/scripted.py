"""A server that gives the answers of a list, for the tests of the clients."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from sandbox.serve import serving

Answer = tuple[int, Mapping[str, Any] | str, Mapping[str, str]]
"""Status, body and headers. A text is not JSON."""


@dataclass(frozen=True)
class Scripted:
    """A server that gives the answers of a list in turn. It does not read the requests."""

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
