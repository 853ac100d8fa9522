"""The worker as the demo runs it: a process started as the Procfile says, known only by its exit code and its log.

Nothing of the worker may be imported here: the demo is an app like any other.
"""

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PROCESS_TYPE: Final = "worker"
STOP_SECONDS: Final = 25.0
"""What the worker may take to end in order; platforms kill after 30."""
STOP_AT_ONCE_SECONDS: Final = 2.0
KEPT: Final = ("HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR")
"""All that it gets of our environment: settings that somebody exported for a real worker are not for this one."""


class WorkerProcess:
    """A worker that runs, and where its log is."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        """`process` has just been started, its output going to `log`."""
        self.log = log
        self._process = process

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    def log_tail(self, lines: int) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def stop(self, wait_seconds: float = STOP_SECONDS) -> int:
        """Ask it to stop (SIGTERM) and give its exit code; after `wait_seconds` it is killed, which makes it -9."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(wait_seconds):
                    return await self._process.wait()
            except TimeoutError:
                self._process.kill()
        return await self._process.wait()


@asynccontextmanager
async def worker_process(environment: Mapping[str, str], folder: Path) -> AsyncIterator[WorkerProcess]:
    """Run the Procfile's worker for the length of the block, told by `environment` alone; its log is in `folder`.

    It runs in `folder` too, so that no `.env` of this checkout has a say.

    Raises: FileNotFoundError when the command is not installed beside this Python.
    """
    command = _command((ROOT / "Procfile").read_text())
    log = folder / "worker.log"
    with log.open("wb") as output:
        # A session of its own: a Ctrl-C in the terminal is for us, who then stop the worker in order.
        process = await asyncio.create_subprocess_exec(
            *command,
            env=_environment(environment),
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    worker = WorkerProcess(process, log)
    try:
        yield worker
    finally:
        await worker.stop(STOP_AT_ONCE_SECONDS)


def _command(procfile: str) -> list[str]:
    lines = (line.partition(":") for line in procfile.splitlines())
    commands = {name.strip(): command for name, _, command in lines}
    return shlex.split(commands[PROCESS_TYPE])


def _environment(told: Mapping[str, str]) -> dict[str, str]:
    """What the worker is told; its PATH begins where an unactivated virtual environment has its commands."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), **told}
