"""A worker as a platform, Prometheus and a person see it: by HTTP on its port, never from inside."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support.processes import Running, free_port, wait_until, worker
from tests.support.scrapes import Scrape, scrape

PROBE_SECONDS = 5.0
"""What a probe waits for its answer, as platforms do by default or nearly so."""
ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Watched:
    """A worker and its port."""

    running: Running
    url: str
    http: aiohttp.ClientSession

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body; status 0 where nobody answers in time."""
        try:
            async with self.http.get(self.url + path) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""

    async def answer(self, path: str) -> tuple[int, str]:
        """Status and body, asked for until there is an answer: the machine may be busy. Raises TimeoutError."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while not (answer := await self.get(path))[0]:
                pass
        return answer

    async def is_alive(self) -> bool:
        """Whether a platform takes it for alive."""
        status, _ = await self.get("/healthz")
        return status == 200

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        """The status of /readyz and what it says."""
        status, text = await self.answer("/readyz")
        return status, json.loads(text)

    async def scrape(self) -> Scrape:
        """Prometheus' view: nothing if the port does not answer."""
        _, text = await self.get("/metrics")
        return scrape(text, time.time())


@asynccontextmanager
async def watched(
    environment: Mapping[str, str], process_type: str = "worker", *, command: Sequence[str] = ()
) -> AsyncIterator[Watched]:
    """A process of the Procfile, or of `command`, that shows itself on a free port and answers there."""
    port = free_port()
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    # A connection for each request, as different askers have.
    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        worker({**environment, "PORT": str(port)}, process_type, command=command) as running,
        aiohttp.ClientSession(timeout=timeout, connector=connector) as http,
    ):
        one = Watched(running, f"http://127.0.0.1:{port}", http)
        await wait_until(one.is_alive, what="/healthz")
        yield one


async def passes(seconds: float) -> None:
    """Let time pass in another process."""
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:  # noqa: ASYNC110 - it happens in another process
        await asyncio.sleep(0.01)
