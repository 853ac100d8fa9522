"""Request bodies that could block the worker's event loop or use up its memory or connections."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import psutil
import pytest

from tests.support.busy import busy_worker
from tests.support.raw import exchange, gzip_bomb, port_of, post, status_of
from tests.support.watching import Watched
from worker.web.server import FORM_BYTES

AT_A_TIME = 50
PROBE_DELAY_SECONDS = 0.5
PATHS = ("/sign-in", "/customer", "/healthz", "/no-such-path")
CHUNKED = ("POST /sign-in", "GET /no-such-path", "POST /healthz")


async def longest_probe(one: Watched, attack: "asyncio.Future[list[bytes]]") -> float:
    """Return the most processor time, in seconds, that the worker took to answer /healthz during the attack.

    Wall-clock time would also measure the machine.
    """
    process = psutil.Process(one.running.pid)
    longest, probes = 0.0, 0
    while not attack.done() or not probes:
        begin = sum(process.cpu_times()[:2])
        assert (await one.answer("/healthz"))[0] == 200
        longest, probes = max(longest, sum(process.cpu_times()[:2]) - begin), probes + 1
    return longest


@asynccontextmanager
async def refuser() -> AsyncIterator[int]:
    """Run a server that refuses every request after reading its headers; yield its port."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 415 Unsupported Media Type\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.alone
async def test_gzip_bombs_delay_no_probe_and_cost_no_lease() -> None:
    bomb = gzip_bomb(1024)
    requests = [post(PATHS[n % len(PATHS)], bomb, Content_Encoding="gzip") for n in range(AT_A_TIME)]
    async with busy_worker({"OPERATOR_PASSWORD": "a long password"}) as one:
        answers = await delays_no_probe(one, requests)
    assert {status_of(answer) for answer in answers} <= {0, 413, 415}


@pytest.mark.alone
async def test_thousands_of_tiny_chunks_delay_no_probe() -> None:
    async with busy_worker({"OPERATOR_PASSWORD": "a long password"}) as one:
        for line in CHUNKED:
            head = f"{line} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            answers = await delays_no_probe(one, [head + b"1\r\na\r\n" * 60_000] * AT_A_TIME)
            assert {status_of(answer) for answer in answers} <= {0, 411}, line


async def delays_no_probe(one: Watched, requests: Sequence[bytes]) -> list[bytes]:
    """Send all requests at once to a worker, assert that probes are not delayed, and return the answers."""
    async with refuser() as elsewhere:
        # The test's own work delays probes too, as much as if another server got the requests.
        delay = await longest_probe(one, asyncio.gather(*(exchange(elsewhere, request) for request in requests)))
        attack = asyncio.gather(*(exchange(port_of(one.url), request) for request in requests))
        assert await longest_probe(one, attack) <= delay + PROBE_DELAY_SECONDS
        return await attack


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"Content-Length: {FORM_BYTES + 1}\r\n", 413),
        ("Content-Length: 9\r\nContent-Encoding: gzip\r\n", 415),
        ("Content-Length: 9\r\nContent-Encoding: identity\r\n", 415),
        ("Transfer-Encoding: chunked\r\n", 411),
    ],
)
async def test_unwanted_body_is_refused_by_its_headers(
    watched_worker: Watched, path: str, head: str, status: int
) -> None:
    request = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode()
    answer = await exchange(port_of(watched_worker.url), request)
    assert status_of(answer) == status
    assert b"connection: close" in answer.lower()


async def test_small_body_is_read_and_connection_stays_open(watched_worker: Watched) -> None:
    request = post("/no-such-path", b"a=b")
    answer = await exchange(port_of(watched_worker.url), request + request + b"GET /healthz HTTP/1.0\r\n\r\n")
    assert [answer.count(b" 404 Not Found"), answer.count(b" 200 OK")] == [2, 1]
