"""Processes of a benchmark: started, found ready, told to stand still while others are measured, and gone with us.

Knows nothing of what they do.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

ROOT: Final = Path(__file__).parents[2]
READY_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.005
# A shell in whose process group all are: the end of its input is the end of us, and then of all of them.
_OUTLIVE_NOBODY: Final = "read -r _; kill -9 -$$"


@dataclass(frozen=True)
class Program:
    """A process that runs, and the file that it logs to."""

    process: Process
    log: Path

    @property
    def cpu_seconds(self) -> float:
        """The processor time used so far, in user and system mode."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    @property
    def rss_mb(self) -> float:
        """Its resident memory, in units of 2**20 bytes."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 2**20)

    async def says(self, text: str) -> None:
        """Wait until its log holds `text`. Raises TimeoutError, or ChildProcessError where it ended."""
        deadline = time.monotonic() + READY_SECONDS
        while text not in self.log.read_text(errors="replace"):
            if self.process.returncode is not None:
                raise ChildProcessError(self.log.read_text(errors="replace")[-2000:])
            if time.monotonic() > deadline:
                raise TimeoutError(f"{text!r} was not said in {READY_SECONDS} s")
            await asyncio.sleep(LOOK_SECONDS)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let it run for the length of the block only: it stands still before and after."""
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def stand_still(self) -> None:
        """Stop it where it is, until `running`."""
        self.process.send_signal(signal.SIGSTOP)


class Launcher:
    """Starts processes in one process group."""

    def __init__(self, group: int, folder: Path) -> None:
        """`folder` is where they run and log: no `.env` of this checkout has a say there."""
        self._group = group
        self.folder = folder

    @asynccontextmanager
    async def started(self, command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Program]:
        """Run a command for the length of the block; the environment has nothing of ours but what is given."""
        handle, name = tempfile.mkstemp(suffix=".log", dir=self.folder)
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment_with(environment),
            cwd=self.folder,
            stdin=PIPE,
            stdout=handle,
            stderr=handle,
            process_group=self._group,
        )
        os.close(handle)
        try:
            yield Program(process, Path(name))
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def environment_with(more: Mapping[str, str]) -> dict[str, str]:
    """An environment without settings of its own, with the commands of this Python first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {"PATH": path, "HOME": os.environ.get("HOME", ""), "PYTHONPATH": str(ROOT), **more}


@asynccontextmanager
async def launching(folder: Path) -> AsyncIterator[Launcher]:
    """A launcher; all that it started dies with us, also when we are killed."""
    guard = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", _OUTLIVE_NOBODY, stdin=PIPE, stdout=DEVNULL, process_group=0
    )
    try:
        yield Launcher(guard.pid, folder)
    finally:
        await guard.communicate(b"")
