"""The worker's state for a platform, Prometheus and a person: by HTTP on its port, never from inside."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support.processes import Running, free_port, wait_until, worker
from tests.support.scrapes import Scrape, Vector, scrape

PROBE_SECONDS = 5.0
"""The time-out of a probe, about the default of platforms."""
ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Watched:
    """A worker and its port."""

    running: Running
    url: str
    http: aiohttp.ClientSession

    async def get(self, path: str) -> tuple[int, str]:
        """Return status and body; status 0 if there is no answer in time."""
        try:
            async with self.http.get(self.url + path) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""

    async def answer(self, path: str) -> tuple[int, str]:
        """Return status and body. Repeat the request until there is an answer, because the machine may be busy.

        Raises: TimeoutError.
        """
        async with asyncio.timeout(ANSWER_SECONDS):
            while not (answer := await self.get(path))[0]:
                pass
        return answer

    async def is_alive(self) -> bool:
        """Whether a platform considers it alive."""
        status, _ = await self.get("/healthz")
        return status == 200

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        """Return the status of /readyz and its document."""
        status, text = await self.answer("/readyz")
        return status, json.loads(text)

    async def full_readiness(self) -> tuple[int, dict[str, Any]]:
        """Return the status of /readyz and its document. Repeat the request until it has the values from Redis."""
        status, document = 0, dict[str, Any]()

        async def is_full() -> bool:
            nonlocal status, document
            status, document = await self.readiness()
            return "inbox_events" in document

        await wait_until(is_full, what="the values from Redis on /readyz")
        return status, document

    async def scrape(self) -> Scrape:
        """Return Prometheus' view: nothing if the process has ended. Repeat the request until there is an answer."""
        text = ""

        async def is_scraped() -> bool:
            nonlocal text
            _, text = await self.get("/metrics")
            return bool(text) or self.running.process.returncode is not None

        await wait_until(is_scraped, what="/metrics")
        return scrape(text, time.time())

    async def full_samples(self) -> Mapping[str, Vector]:
        """Return the samples of a scrape that has those read from Redis. A scrape omits them if Redis is late."""
        shown: Mapping[str, Vector] = {}

        async def are_complete() -> bool:
            nonlocal shown
            shown = (await self.scrape()).samples
            return "customer_sync_unreadable_totals_kept" in shown

        await wait_until(are_complete, what="the samples read from Redis")
        return shown


@asynccontextmanager
async def watched(
    environment: Mapping[str, str], process_type: str = "worker", *, command: Sequence[str] = ()
) -> AsyncIterator[Watched]:
    """Run a process of the Procfile, or `command`, with its page on a free port, and yield it when it answers."""
    port = free_port()
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    # Each request has a new connection, as those of different clients have.
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
