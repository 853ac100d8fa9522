"""The switches of a simulator: which requests go wrong, how, and how slowly the others are answered.

A fault is chosen before the request is served. With `lost` the service does its work, and the answer is cut off. With
`other` it does its work, and the answer describes another object. What a 400, 403, 429, 500 or 503 looks like differs
from service to service, so the simulator hands in how it refuses.
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
    """One way to go wrong. `route` is a part of "METHOD /path"; `times` None means until it is cleared.

    A request that hangs is served after `seconds`, or when `Switches.release` is called.
    """

    kind: Kind
    route: str = ""
    times: int | None = None
    probability: float = 1.0
    seconds: float = 30.0


@dataclass
class Switches:
    """The faults that are switched on, and the latency in seconds that every answer takes."""

    faults: list[Fault] = field(default_factory=list)
    latency_seconds: float = 0.0
    random: Random = field(default_factory=lambda: Random(0))
    fired: dict[str, int] = field(default_factory=dict)
    misdirect: Misdirect | None = None
    """Returns an answer about another object; None if the service cannot give one."""
    _released: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)

    def add(self, fault: Fault) -> None:
        """Switch a fault on. Raises: ValueError for a kind that the service does not have."""
        if fault.kind == "other" and self.misdirect is None:
            raise ValueError("This service has no answers about others.")
        self.faults.append(fault)

    def clear(self) -> None:
        """Switch all faults off and answer at once again."""
        self.faults.clear()
        self.latency_seconds = 0.0

    def release(self) -> None:
        """Serve each request that hangs now. Those that will hang later are not released."""
        self._released.set()
        self._released = asyncio.Event()

    def pick(self, request: web.Request) -> Fault | None:
        """The fault this request meets, if any; counts it."""
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
        """Answer a request through the switches: `handler` is the service, `refuse` its way to say no."""
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
