"""Processes of the installed scripts, forked so that they start at once.

Importing a worker or the command line takes a second of processor time, and the tests start hundreds of both. So each
is forked from a process that has imported them already. Only the start differs from the installed script: the
arguments, the environment, the folder, the inputs and outputs, the signals and the exit code are the process's own. The
interpreter does not start again, so of its own variables (PYTHON…) only PYTHONIOENCODING has an effect.
"""

import asyncio
import importlib.metadata
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final, Self

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["worker.cli.app", "arq.cli", "worker.main", "worker.web.pages", "worker.web.server"])
_LONGEST_LINE: Final = 2**20


@dataclass(frozen=True)
class Forked:
    """A forked process, with the part of asyncio's `Process` that the tests use."""

    _process: ForkServerProcess
    _ended: asyncio.Task[int]
    pid: int
    stdout: asyncio.StreamReader | None

    @classmethod
    async def start(
        cls,
        *command: str,
        folder: Path,
        environment: Mapping[str, str],
        keyboard: str = os.devnull,
        outputs: tuple[str, str] | None = None,
        group: int | None = None,
    ) -> Self:
        """Start an installed script with arguments.

        `environment` is the complete environment. `keyboard` is the file or terminal for standard input. `outputs` are
        the files for its output and its errors; without them both are read from `stdout`. `group` is the process group
        to join.
        """
        reader, writer = _CONTEXT.Pipe(duplex=False) if outputs is None else (None, None)
        process = _CONTEXT.Process(
            target=_run, args=(command, str(folder), dict(environment), keyboard, outputs or writer, group)
        )
        process.start()
        assert process.pid is not None
        lines = None
        if reader is not None and writer is not None:
            writer.close()
            lines = await _lines(reader)
        return cls(process, asyncio.create_task(_end_of(process)), process.pid, lines)

    @property
    def returncode(self) -> int | None:
        """The exit code if the process has ended; minus the signal's number if it was killed."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it without a warning, as the system does."""
        self.send_signal(signal.SIGKILL)

    async def drain(self) -> None:
        """Read its output to the end, which also closes the pipe, and wait for its end."""
        if self.stdout is not None:
            await self.stdout.read()
        await self.wait()

    async def wait(self) -> int:
        """Wait for its end, and return its exit code."""
        return await asyncio.shield(self._ended)


async def _end_of(process: ForkServerProcess) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(process.sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(process.sentinel)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


async def _lines(pipe: Connection) -> asyncio.StreamReader:
    lines = asyncio.StreamReader(limit=_LONGEST_LINE)
    with pipe:
        file = os.fdopen(os.dup(pipe.fileno()), "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), file)
    return lines


def _run(
    command: Sequence[str],
    folder: str,
    environment: dict[str, str],
    keyboard: str,
    outputs: tuple[str, str] | Connection,
    group: int | None,
) -> None:
    if group is not None:
        os.setpgid(0, group)
    os.environ.clear()
    os.environ.update(environment)
    _replace(0, os.open(keyboard, os.O_RDONLY))
    if isinstance(outputs, Connection):
        os.dup2(outputs.fileno(), 1)
        os.dup2(outputs.fileno(), 2)
        outputs.close()
    else:
        for number, name in enumerate(outputs, start=1):
            _replace(number, os.open(name, os.O_WRONLY | os.O_CREAT))
    os.chdir(folder)
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = os.fdopen(0, encoding=encoding)
    sys.stdout = os.fdopen(1, "w", encoding=encoding)
    sys.stderr = os.fdopen(2, "w", encoding=encoding, errors="backslashreplace")
    sys.argv = list(command)
    (script,) = importlib.metadata.entry_points(group="console_scripts", name=command[0])
    sys.exit(script.load()())


def _replace(number: int, opened: int) -> None:
    os.dup2(opened, number)
    os.close(opened)
