"""`customer-sync status --watch` on a terminal: it refreshes in place, survives a lost Redis, and ends with Ctrl-C."""

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from sandbox.redis import EmbeddedRedis, embedded_redis
from tests.conftest import INBOX
from tests.e2e.cli.test_app import Terminal
from tests.support.processes import ROOT
from tests.support.pseudo_terminal import PseudoTerminal, on_a_terminal

CTRL_C = b"\x03"
GONE = "Redis does not answer within 2 s."


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    """Run a redis-server that the test may restart."""
    with embedded_redis() as one:
        yield one


@asynccontextmanager
async def watched(server: EmbeddedRedis, folder: Path, **more: str) -> AsyncIterator[PseudoTerminal]:
    environment = {"REDIS_URL": server.url, "PYTHONPATH": str(ROOT), **more}
    async with on_a_terminal("status", "--watch", folder=folder, environment=environment) as terminal:
        await terminal.shows("Everything is all right.")
        yield terminal


async def test_watch_updates_in_place_and_ctrl_c_exits_cleanly(server: EmbeddedRedis, tmp_path: Path) -> None:
    async with watched(server, tmp_path) as terminal, Redis.from_url(server.url) as redis:
        await terminal.shows("inbox         0  events")
        await redis.xadd(INBOX, {"customer_id": "ann"})
        await terminal.shows("inbox         1  events")
        terminal.press(CTRL_C)
        assert await terminal.process.wait() == 0
        assert "Traceback" not in terminal.text
        # The terminal is restored: the alternate screen is left and the cursor is shown.
        assert "\x1b[?1049l" in terminal.text.rpartition("\x1b[?1049h")[2]
        assert "\x1b[?25h" in terminal.text.rpartition("\x1b[?25l")[2]


def stop_and_start(server: EmbeddedRedis) -> tuple[Callable[[], None], Callable[[], None]]:
    return server.stop, server.start


def hang_and_go_on(server: EmbeddedRedis) -> tuple[Callable[[], None], Callable[[], None]]:
    return lambda: os.kill(server.pid, signal.SIGSTOP), lambda: os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize("absence", [stop_and_start, hang_and_go_on])
async def test_watch_reports_lost_redis_and_continues_afterwards(
    server: EmbeddedRedis,
    tmp_path: Path,
    absence: Callable[[EmbeddedRedis], tuple[Callable[[], None], Callable[[], None]]],
) -> None:
    leave, come_back = absence(server)
    async with watched(server, tmp_path) as terminal, Redis.from_url(server.url) as redis:
        await redis.xadd(INBOX, {"customer_id": "ann"})
        await terminal.shows("inbox         1  events")
        leave()
        try:
            await terminal.shows(GONE)
            assert "inbox         1  events" in terminal.screen, "what was told last stays"
        finally:
            come_back()
        await terminal.shows("Everything is all right.")
        assert GONE not in terminal.screen
        terminal.press(CTRL_C)
        assert await terminal.process.wait() == 0


async def test_redis_unreachable_from_the_start_is_an_error(tmp_path: Path) -> None:
    environment = {"REDIS_URL": "redis://127.0.0.1:1/0", "PYTHONPATH": str(ROOT)}
    async with on_a_terminal("status", "--watch", folder=tmp_path, environment=environment) as terminal:
        assert await terminal.process.wait() == 69


async def test_watch_without_a_terminal_is_refused_with_remedy(server: EmbeddedRedis, tmp_path: Path) -> None:
    code, output, errors = await Terminal(server.url, tmp_path).run("status", "--watch")
    assert (code, output) == (64, "")
    assert errors.startswith("--watch: needs a terminal")


@pytest.mark.parametrize("words", [["ann"], ["--event", "e1"], ["--json"], ["ann", "--live"]])
async def test_watch_cannot_be_combined(server: EmbeddedRedis, tmp_path: Path, words: list[str]) -> None:
    code, output, errors = await Terminal(server.url, tmp_path).run("status", "--watch", *words)
    assert (code, output) == (64, "")
    assert errors.startswith("--watch: cannot be used")


async def test_colours_are_for_terminals(server: EmbeddedRedis, tmp_path: Path) -> None:
    _, output, _ = await Terminal(server.url, tmp_path).run("status")
    assert "Everything is all right." in output
    assert "\x1b" not in output
    environment = {"REDIS_URL": server.url, "PYTHONPATH": str(ROOT)}
    async with on_a_terminal("status", folder=tmp_path, environment=environment) as terminal:
        assert await terminal.process.wait() == 0
    assert "\x1b[1;32mEverything is all right." in terminal.text
