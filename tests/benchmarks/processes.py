"""Processes of a benchmark: started, awaited, stopped while others are measured, and killed with this process.

Knows nothing of their work.
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
READY_SECONDS: Final = 300.0
CHECK_SECONDS: Final = 0.005
# A shell whose process group has all of them. When this process ends, the shell's input ends and it kills them all.
_OUTLIVE_NOBODY: Final = "read -r _; kill -9 -$$"


@dataclass(frozen=True)
class Program:
    """A running process, and its log file."""

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
        """Wait until its log contains `text`. Raises TimeoutError, or ChildProcessError if the process ended."""
        deadline = time.monotonic() + READY_SECONDS
        while text not in self.log.read_text(errors="replace"):
            if self.process.returncode is not None:
                raise ChildProcessError(self.log.read_text(errors="replace")[-2000:])
            if time.monotonic() > deadline:
                raise TimeoutError(f"{text!r} was not logged in {READY_SECONDS} s")
            await asyncio.sleep(CHECK_SECONDS)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the process run during the block only. It is stopped before and after."""
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def stand_still(self) -> None:
        """Stop the process until `running`."""
        self.process.send_signal(signal.SIGSTOP)


class Launcher:
    """Starts processes in one process group."""

    def __init__(self, group: int, folder: Path) -> None:
        """`folder` is the working folder with the logs. No `.env` of this checkout applies there."""
        self._group = group
        self.folder = folder

    @asynccontextmanager
    async def started(self, command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Program]:
        """Run a command during the block. The environment has only those of our settings that are given."""
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
    """Return an environment without our settings, with the commands of this Python first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {"PATH": path, "HOME": os.environ.get("HOME", ""), "PYTHONPATH": str(ROOT), **more}


@asynccontextmanager
async def launching(folder: Path) -> AsyncIterator[Launcher]:
    """Yield a launcher. All its processes die with this process, also if this one is killed."""
    guard = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", _OUTLIVE_NOBODY, stdin=PIPE, stdout=DEVNULL, process_group=0
    )
    try:
        yield Launcher(guard.pid, folder)
    finally:
        await guard.communicate(b"")
