"""Events over HTTP, compared with the same events added to Redis directly: `python -m tests.benchmarks.intake`.

The server is one process with only the routes and no limit of the rate. Lists are compared with a bare pipeline of
redis-py, and single events, one in each request, with one XADD for each. All ways take turns. The last line is JSON:
events for each second of the processor and of the clock, and the ratio of the former; those of single events begin with
`single_`.
"""

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, repeat
from statistics import median
from typing import Annotated, Any, Final

import aiohttp
import psutil
import typer
import uvloop
from redis.asyncio import Redis

from jobs.events import new_update
from sandbox.redis import embedded_redis
from tests.benchmarks.report import machine
from tests.benchmarks.stage import Form
from tests.conftest import INBOX, PREFIX
from tests.support.intake import SHOP, bearer, intake_port
from worker.redis_client import open_redis
from worker.web.api.bodies import EVENTS_AT_MOST
from worker.web.api.events import PATH

LISTS_AT_A_TIME: Final = 2
SINGLES_AT_A_TIME: Final = 8
"""The connections that send single events. Each sends the next one after the answer, and stays open."""
EVENTS: Final[list[dict[str, Any]]] = [
    {
        "customer_id": f"user_{number}",
        "changes": {"email": f"user_{number}@example.com", "name": f"User {number}", "metadata": {"plan": "pro"}},
        "event_id": f"signup-{number}",
    }
    for number in range(EVENTS_AT_MOST)
]


@dataclass(frozen=True)
class Size:
    """The size of a run: lists of EVENTS_AT_MOST events and single events in each round, and the rounds."""

    lists: int
    singles: int
    rounds: int


SIZES: Final = {Form.FULL: Size(40, 8_000, 3), Form.QUICK: Size(4, 800, 3), Form.CHECK: Size(1, 400, 1)}


@dataclass(frozen=True)
class Took:
    """The seconds of the processor and of the clock for a number of events."""

    events: int
    processor: float
    clock: float

    @property
    def events_per_processor_second(self) -> float:
        """Events for each second that one core works."""
        return self.events / self.processor

    @property
    def events_per_second(self) -> float:
        """Events for each second of the clock."""
        return self.events / self.clock


async def serve(redis_url: str) -> None:
    """Serve the routes with the worker's client of Redis, print the address, and end with the input."""
    rate = {"events_per_second": 1_000_000, "burst": 1_000_000}
    async with open_redis(redis_url, PREFIX) as redis, intake_port(redis, **rate) as port:  # type: ignore[arg-type]  # the rate has both
        print(port.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def over_http(url: str, pid: int, bodies: Iterable[bytes], *, events: int, at_a_time: int) -> Took:
    """Send the bodies on a few connections that stay open, and return what the server took for their events."""
    server, left, opened = psutil.Process(pid), iter(bodies), list[object]()
    tracing = aiohttp.TraceConfig()

    async def count(_session: object, _context: object, connection: object) -> None:
        opened.append(connection)

    tracing.on_connection_create_end.append(count)
    connector = aiohttp.TCPConnector(limit=at_a_time)
    async with aiohttp.ClientSession(headers=bearer(SHOP), connector=connector, trace_configs=[tracing]) as http:

        async def send() -> None:
            for body in left:
                async with http.post(url + PATH, data=body) as answer:
                    assert answer.status == 202, await answer.text()

        began, cpu_began = time.perf_counter(), sum(server.cpu_times()[:2])
        await asyncio.gather(*(send() for _ in range(at_a_time)))
        took = Took(events, sum(server.cpu_times()[:2]) - cpu_began, time.perf_counter() - began)
    assert len(opened) <= at_a_time, "the server closed a connection"
    return took


async def by_pipeline(redis: Redis, entries: Sequence[Any], lists: int) -> Took:
    """Add the entries as often, without checks, and return what this process took."""
    began, cpu_began = time.perf_counter(), time.process_time()
    for _ in range(lists):
        async with redis.pipeline(transaction=False) as pipe:
            for entry in entries:
                pipe.xadd(INBOX, entry)
            await pipe.execute()
    return Took(lists * len(entries), time.process_time() - cpu_began, time.perf_counter() - began)


async def by_single_commands(redis: Redis, entries: Iterable[Any], *, events: int) -> Took:
    """Add the entries on as many connections as single events have, without checks, and return what this took."""
    left = iter(entries)

    async def add() -> None:
        for entry in left:
            await redis.xadd(INBOX, entry)

    began, cpu_began = time.perf_counter(), time.process_time()
    await asyncio.gather(*(add() for _ in range(SINGLES_AT_A_TIME)))
    return Took(events, time.process_time() - cpu_began, time.perf_counter() - began)


async def measure(size: Size) -> None:
    """Let all ways take turns, and print the medians."""
    with embedded_redis(aof=False) as server:
        words = [sys.executable, "-m", "tests.benchmarks.intake", "--serve", server.url]
        process = await asyncio.create_subprocess_exec(*words, stdin=PIPE, stdout=PIPE)
        assert process.stdout is not None
        lines = [line.decode().strip() async for line in _first(process.stdout)]
        rounds = []
        async with Redis.from_url(server.url) as redis:
            for _ in range(size.rounds):
                rounds.append([took async for took in _one_round(redis, lines[-1], process.pid, size)])
                await redis.delete(INBOX)
        await process.communicate(b"")
    print(machine())
    http, bare, single_http, single_bare = zip(*rounds, strict=True)
    print(json.dumps({**_figures("", http, bare), **_figures("single_", single_http, single_bare)}))


async def _one_round(redis: Redis, url: str, pid: int, size: Size) -> Any:
    """Yield what each way took: lists over HTTP and in a pipeline, then single events over HTTP and by XADD."""
    entries: list[Any] = [new_update(**event).fields() for event in EVENTS]
    whole, single = json.dumps(EVENTS).encode(), [json.dumps(event).encode() for event in EVENTS]
    in_lists, singles = size.lists * EVENTS_AT_MOST, size.singles
    yield await over_http(url, pid, repeat(whole, size.lists), events=in_lists, at_a_time=LISTS_AT_A_TIME)
    yield await by_pipeline(redis, entries, size.lists)
    bodies: Iterator[bytes] = islice(cycle(single), singles)
    yield await over_http(url, pid, bodies, events=singles, at_a_time=SINGLES_AT_A_TIME)
    yield await by_single_commands(redis, islice(cycle(entries), singles), events=singles)


def _figures(prefix: str, http: Sequence[Took], bare: Sequence[Took]) -> dict[str, float]:
    """Return the medians of all rounds, by name."""
    ours, theirs = (median(each.events_per_processor_second for each in took) for took in (http, bare))
    return {
        f"{prefix}http_events_per_processor_second": round(ours),
        f"{prefix}bare_events_per_processor_second": round(theirs),
        f"{prefix}http_events_per_second": round(median(each.events_per_second for each in http)),
        f"{prefix}bare_events_per_second": round(median(each.events_per_second for each in bare)),
        f"{prefix}ratio": round(ours / theirs, 3),
    }


async def _first(output: asyncio.StreamReader) -> Any:
    """Yield the lines up to the address."""
    async for line in output:
        yield line
        if line.startswith(b"http"):
            return


def main(
    form: Annotated[
        Form, typer.Option(help="quick: a tenth of the events. check: only whether it runs; its figures mean nothing.")
    ] = Form.FULL,
    redis_url: Annotated[str, typer.Option("--serve", hidden=True)] = "",
) -> None:
    """Measure events over HTTP beside events that are added to Redis directly."""
    uvloop.run(serve(redis_url) if redis_url else measure(SIZES[form]))


if __name__ == "__main__":
    typer.run(main)
