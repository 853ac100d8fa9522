"""The worker process of the demo. The Procfile's command starts it; the demo reads only its exit code and its log.

Nothing of the worker may be imported here.
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
"""The time that the worker has to stop; platforms kill it after 30 seconds."""
STOP_AT_ONCE_SECONDS: Final = 2.0
KEPT: Final = ("HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR")
"""The variables that it inherits: variables that were exported for a real worker must not reach this one."""


class WorkerProcess:
    """A running worker and the path of its log."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        """`process` writes its output to `log`."""
        self.log = log
        self._process = process

    @property
    def exit_code(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._process.returncode

    def log_tail(self, lines: int) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def stop(self, wait_seconds: float = STOP_SECONDS) -> int:
        """Stop it with SIGTERM and return its exit code. Kill it after `wait_seconds`; the exit code is then -9."""
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
    """Run the Procfile's worker for the length of the block, with the settings in `environment` only.

    `folder` receives its log and is its working directory, so that it does not read this checkout's `.env`.

    Raises: FileNotFoundError when the command is not installed beside this Python.
    """
    command = _command((ROOT / "Procfile").read_text())
    log = folder / "worker.log"
    with log.open("wb") as output:
        # It has its own session, so that Ctrl-C reaches only the demo, which then stops the worker.
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


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the worker's environment. PATH begins with the folder of this Python, for a venv that is not activated."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), **given}
