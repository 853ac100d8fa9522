"""The faults of a simulator, and the latency of its answers.

A fault is chosen before the request is served. With `lost` the service executes the request and cuts the answer off.
With `other` it executes the request, and the answer describes another object. The bodies of a 400, 403, 429, 500 or 503
differ between the services, so the simulator passes a function that makes them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from aiohttp import web

Kind = Literal["400", "403", "429", "500", "503", "hang", "cut", "lost", "garbage", "other"]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Refuse = Callable[[int, web.Request], web.Response]
Misdirect = Callable[[web.StreamResponse], web.StreamResponse]


@dataclass
class Fault:
    """One fault. `route` is a part of "METHOD /path". `times` None keeps it until it is cleared.

    A request that hangs is served after `seconds`, or when `Switches.release` is called.
    """

    kind: Kind
    route: str = ""
    times: int | None = None
    probability: float = 1.0
    seconds: float = 30.0


@dataclass
class Switches:
    """The active faults, and the latency of every answer in seconds."""

    faults: list[Fault] = field(default_factory=list)
    latency_seconds: float = 0.0
    random: Random = field(default_factory=lambda: Random(0))
    fired: dict[str, int] = field(default_factory=dict)
    misdirect: Misdirect | None = None
    """Returns an answer about another object; None if the service cannot give one."""
    _released: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)

    def add(self, fault: Fault) -> None:
        """Add a fault. Raises: ValueError for a kind that the service does not have."""
        if fault.kind == "other" and self.misdirect is None:
            raise ValueError("This service has no answers about other objects.")
        self.faults.append(fault)

    def clear(self) -> None:
        """Remove all faults and the latency."""
        self.faults.clear()
        self.latency_seconds = 0.0

    def release(self) -> None:
        """Serve each request that hangs now. Later ones hang again."""
        self._released.set()
        self._released = asyncio.Event()

    def pick(self, request: web.Request) -> Fault | None:
        """Return the fault for this request, if any, and count it."""
        for fault in self.faults:
            spent = fault.times is not None and fault.times <= 0
            if spent or fault.route not in f"{request.method} {request.path}":
                continue
            if self.random.random() >= fault.probability:
                continue
            if fault.times is not None:
                fault.times -= 1
            self.fired[fault.kind] = self.fired.get(fault.kind, 0) + 1
            return fault
        return None

    async def serve(self, request: web.Request, handler: Handler, refuse: Refuse) -> web.StreamResponse:
        """Answer a request, with the active faults: `handler` is the service, `refuse` makes its error answers."""
        if self.latency_seconds:
            await asyncio.sleep(self.latency_seconds)
        fault = self.pick(request)
        if fault is None:
            return await handler(request)
        if fault.kind == "hang":
            with suppress(TimeoutError):
                await asyncio.wait_for(self._released.wait(), fault.seconds)
            return await handler(request)
        if fault.kind == "lost":
            await handler(request)
            return _cut(request)
        if fault.kind == "other" and self.misdirect is not None:
            return self.misdirect(await handler(request))
        if fault.kind == "cut":
            return _cut(request)
        if fault.kind == "garbage":
            return web.Response(status=200, text="<html>it works", content_type="text/html")
        return refuse(int(fault.kind), request)


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
