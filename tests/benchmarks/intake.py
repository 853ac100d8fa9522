"""Events over HTTP, compared with the same events in a bare pipeline of redis-py: `python -m tests.benchmarks.intake`.

The server is one process with only the routes and no limit of the rate. Both ways take turns, a thousand events at a
time. The last line is JSON: events for each second of the processor and of the clock, and the ratio of the former.
"""

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import aiohttp
import psutil
import uvloop
from redis.asyncio import Redis

from jobs.events import new_update
from sandbox.redis import embedded_redis
from tests.benchmarks.report import machine
from tests.conftest import INBOX, PREFIX
from tests.support.intake import SHOP, bearer, intake_port
from worker.redis_client import open_redis
from worker.web.api.bodies import EVENTS_AT_MOST
from worker.web.api.events import PATH

REQUESTS: Final = 40
AT_A_TIME: Final = 2
ROUNDS: Final = 3
EVENTS: Final[list[dict[str, Any]]] = [
    {
        "customer_id": f"user_{number}",
        "changes": {"email": f"user_{number}@example.com", "name": f"User {number}", "metadata": {"plan": "pro"}},
        "event_id": f"signup-{number}",
    }
    for number in range(EVENTS_AT_MOST)
]


@dataclass(frozen=True)
class Took:
    """The seconds of the processor and of the clock for REQUESTS lists of events."""

    processor: float
    clock: float

    @property
    def events_per_processor_second(self) -> float:
        """Events for each second that one core works."""
        return REQUESTS * EVENTS_AT_MOST / self.processor

    @property
    def events_per_second(self) -> float:
        """Events for each second of the clock."""
        return REQUESTS * EVENTS_AT_MOST / self.clock


async def serve(redis_url: str) -> None:
    """Serve the routes with the worker's client of Redis, print the address, and end with the input."""
    rate = {"events_per_second": 1_000_000, "burst": 1_000_000}
    async with open_redis(redis_url, PREFIX) as redis, intake_port(redis, **rate) as port:  # type: ignore[arg-type]  # the rate has both
        print(port.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def over_http(url: str, pid: int) -> Took:
    """Send the lists, a few at a time, and return what the server took."""
    body, server = json.dumps(EVENTS).encode(), psutil.Process(pid)
    numbers = iter(range(REQUESTS))
    async with aiohttp.ClientSession(headers=bearer(SHOP)) as http:

        async def send() -> None:
            for _ in numbers:
                async with http.post(url + PATH, data=body) as answer:
                    assert answer.status == 202, await answer.text()

        began, cpu_began = time.perf_counter(), sum(server.cpu_times()[:2])
        await asyncio.gather(*(send() for _ in range(AT_A_TIME)))
        return Took(sum(server.cpu_times()[:2]) - cpu_began, time.perf_counter() - began)


async def by_pipeline(redis: Redis) -> Took:
    """Add the same entries without checks, and return what this process took."""
    entries: list[Any] = [new_update(**event).fields() for event in EVENTS]
    began, cpu_began = time.perf_counter(), time.process_time()
    for _ in range(REQUESTS):
        async with redis.pipeline(transaction=False) as pipe:
            for entry in entries:
                pipe.xadd(INBOX, entry)
            await pipe.execute()
    return Took(time.process_time() - cpu_began, time.perf_counter() - began)


async def measure() -> None:
    """Let both take turns, and print the medians."""
    with embedded_redis(aof=False) as server:
        words = [sys.executable, "-m", "tests.benchmarks.intake", server.url]
        process = await asyncio.create_subprocess_exec(*words, stdin=PIPE, stdout=PIPE)
        assert process.stdout is not None
        lines = [line.decode().strip() async for line in _first(process.stdout)]
        http, bare = list[Took](), list[Took]()
        async with Redis.from_url(server.url) as redis:
            for _ in range(ROUNDS):
                http.append(await over_http(lines[-1], process.pid))
                bare.append(await by_pipeline(redis))
                await redis.delete(INBOX)
        await process.communicate(b"")
    print(machine())
    ours, theirs = (median(each.events_per_processor_second for each in took) for took in (http, bare))
    figures = {
        "http_events_per_processor_second": round(ours),
        "bare_events_per_processor_second": round(theirs),
        "http_events_per_second": round(median(each.events_per_second for each in http)),
        "bare_events_per_second": round(median(each.events_per_second for each in bare)),
        "ratio": round(ours / theirs, 3),
    }
    print(json.dumps(figures))


async def _first(output: asyncio.StreamReader) -> Any:
    """Yield the lines up to the address."""
    async for line in output:
        yield line
        if line.startswith(b"http"):
            return


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]) if len(sys.argv) > 1 else measure())
