"""Our processes as a platform starts them: the Procfile's command lines, in a separate environment."""

import asyncio
import os
import shlex
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis

from sandbox.redis import EmbeddedRedis
from tests.support.forked import Forked

ROOT = Path(__file__).parents[2]


def command_of(process_type: str) -> list[str]:
    """Return the Procfile's command line for a process type."""
    for line in (ROOT / "Procfile").read_text(encoding="utf-8").splitlines():
        name, _, command = line.partition(":")
        if name == process_type:
            return shlex.split(command)
    raise LookupError(f"the Procfile has no {process_type}")


def environment_with(more: Mapping[str, str]) -> dict[str, str]:
    """Return this environment without our settings, with the commands of this Python first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": os.environ.get("HOME", ""), **more}


@dataclass
class Running:
    """A running process, and the lines that it has written so far, to either output."""

    process: Process | Forked
    log: list[str] = field(default_factory=list)
    is_read: bool = False
    """Whether both outputs are closed and the log is complete."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    async def read(self) -> None:
        """Collect its lines until it ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.log.append(line.decode())
        self.is_read = True

    async def says(self, text: str) -> None:
        """Wait until a line contains `text`. Fail with the log if the process ends before."""

        async def is_logged() -> bool:
            return any(text in line for line in self.log)

        async def is_decided() -> bool:
            return self.is_read or await is_logged()

        try:
            await wait_until(is_decided, what=repr(text))
        finally:
            assert await is_logged(), f"it has not logged {text!r}: {''.join(self.log)}"


async def wait_until(holds: Callable[[], Awaitable[bool]], *, seconds: float = 60.0, what: str = "it") -> None:
    """Wait until `holds` is true, checking often. Fail with the name of the missing condition."""
    try:
        async with asyncio.timeout(seconds):
            while not await holds():  # noqa: ASYNC110 - it happens in another process
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited {seconds} s for {what}") from None


@asynccontextmanager
async def worker(
    environment: Mapping[str, str],
    process_type: str = "worker",
    *,
    command: Sequence[str] = (),
    ready: str = '"process_started"',
) -> AsyncIterator[Running]:
    """Run a process type of the Procfile, or `command`, and yield it when it has logged `ready`. Kill it at the end.

    A process type of the Procfile is forked, unless its environment has variables for the interpreter.
    """
    process = await _start(environment, process_type, command)
    running = Running(process)
    reading = asyncio.create_task(running.read())
    try:
        await running.says(ready)
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def ended(environment: Mapping[str, str], *command: str) -> tuple[int, str]:
    """Run an installed script that ends by itself. Return its exit code and its output."""
    running = Running(await Forked.start(*command, folder=ROOT, environment=environment_with(environment)))
    reading = asyncio.create_task(running.read())
    try:
        async with asyncio.timeout(120):
            code = await running.process.wait()
    finally:
        running.process.send_signal(signal.SIGKILL)
        await reading
    return code, "".join(running.log)


async def _start(environment: Mapping[str, str], process_type: str, command: Sequence[str]) -> Process | Forked:
    full = environment_with(environment)
    if command or any(name.startswith("PYTHON") for name in full):
        command = command or command_of(process_type)
        return await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=full, stdout=PIPE, stderr=STDOUT)
    return await Forked.start(*command_of(process_type), folder=ROOT, environment=full)


def free_port() -> int:
    """Return a TCP port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class HungUp:
    """The number of connections ended so far."""

    connections: int = 0

    async def reaches(self, connections: int) -> None:
        """Wait until the number reaches `connections`."""

        async def are_so_many() -> bool:
            return self.connections >= connections

        await wait_until(are_so_many, seconds=60)


@asynccontextmanager
async def hanging_up(port: int) -> AsyncIterator[HungUp]:
    """Accept connections on a port of the loopback interface, and end each at once."""
    so_far = HungUp()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        so_far.connections += 1
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", port):
        yield so_far


@contextmanager
def hanging(server: EmbeddedRedis) -> Iterator[None]:
    """Let Redis answer nothing during the block."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def its_disk_fails(redis: Redis) -> None:
    """Make Redis unable to save its data, so it refuses every write."""
    # A folder replaces its file, because its settings for that are protected since Redis 7.
    (await _its_dump(redis)).mkdir()
    await redis.config_set("save", "3600 1")
    await redis.bgsave()

    async def has_failed() -> bool:
        return bool((await redis.info("persistence"))["rdb_last_bgsave_status"] == "err")

    await wait_until(has_failed)


async def its_disk_works(redis: Redis) -> None:
    """Make Redis accept writes again, and let it end without saving."""
    await redis.config_set("save", "")
    await redis.config_set("stop-writes-on-bgsave-error", "no")
    (await _its_dump(redis)).rmdir()


async def _its_dump(redis: Redis) -> Path:
    folder, name = [(await redis.config_get(setting))[setting] for setting in ("dir", "dbfilename")]
    return Path(folder, name)
