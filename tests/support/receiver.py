"""A receiver of notifications over HTTP: it accepts, refuses, redirects, or hangs."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from sandbox.serve import serving
from tests.support.processes import wait_until

HANGS = 0


@dataclass
class Receiver:
    """The received requests. `statuses` are those of the next answers, then each is 200. HANGS never answers."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        """Receive a request."""
        self.bodies.append(await request.read())
        self.headers.append(request.headers)
        status = self.statuses.pop(0) if self.statuses else web.HTTPOk.status_code
        if status == HANGS:
            await asyncio.Event().wait()
        return web.Response(status=status, headers={"Location": "/notify"})

    async def reaches(self, requests: int) -> None:
        """Wait until there were so many requests."""

        async def are_so_many() -> bool:
            return len(self.bodies) >= requests

        await wait_until(are_so_many, what=f"{requests} requests")

    def sent(self, request: int = -1) -> list[dict[str, Any]]:
        """Return the notifications in a request."""
        found: list[dict[str, Any]] = json.loads(self.bodies[request])["notifications"]
        return found


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    """Yield a receiver on a free port of the loopback interface."""
    receiver = Receiver(statuses=list(statuses))
    app = web.Application()
    app.router.add_post("/notify", receiver.take)
    async with serving(app) as url:
        receiver.url = f"{url}/notify?token=a-token"
        yield receiver


@asynccontextmanager
async def answering(head: bytes, endless: bytes = b"") -> AsyncIterator[str]:
    """Accept requests, answer each with these bytes, and then with `endless` until the client closes. Yield the URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            while endless and not writer.is_closing():
                writer.write(endless)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/notify"
