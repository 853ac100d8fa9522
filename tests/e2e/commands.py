"""`customer-sync` as processes that start at once.

Importing the command line takes a second of processor time, and hundreds of commands are run. So each is forked from a
process that has imported it already. Only the start differs from the installed script: the arguments, the environment,
the folder, the outputs and the exit code are those of a process of its own.
"""

import asyncio
import multiprocessing
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from worker.cli import main

_forked: Final = multiprocessing.get_context("forkserver")
_forked.set_forkserver_preload(["worker.cli"])


@dataclass(frozen=True)
class Command:
    """A `customer-sync` that runs. What it writes is kept in files, to be read until the block ends."""

    process: ForkServerProcess
    output: Path
    errors: Path

    def kill(self) -> None:
        """End it as the system ends a process, without a word."""
        self.process.kill()

    async def wait(self) -> int:
        """Its exit code when it has ended; of a killed one -9."""
        await asyncio.to_thread(self.process.join)
        assert self.process.exitcode is not None
        return self.process.exitcode


@asynccontextmanager
async def started(
    *words: str, folder: Path, environment: Mapping[str, str], keyboard: str = os.devnull
) -> AsyncIterator[Command]:
    """Start `customer-sync` as `customer_sync` does; it is killed at the end of the block if it still runs."""
    with TemporaryDirectory() as kept:
        output, errors = Path(kept, "output"), Path(kept, "errors")
        files = (keyboard, str(output), str(errors))
        process = _forked.Process(target=_run, args=(words, str(folder), dict(environment), files))
        process.start()
        try:
            yield Command(process, output, errors)
        finally:
            process.kill()
            process.join()
            process.close()


async def customer_sync(
    *words: str, folder: Path, environment: Mapping[str, str], keyboard: str = os.devnull
) -> tuple[int, str, str]:
    """Run `customer-sync` with these words in this folder, and return its exit code, output and errors.

    `environment` is all that it has of one. `keyboard` is the file or terminal that standard input comes from. The
    interpreter itself is not started again: of its own variables only PYTHONIOENCODING has an effect.
    """
    async with started(*words, folder=folder, environment=environment, keyboard=keyboard) as command:
        return await command.wait(), _text(command.output), _text(command.errors)


def _text(file: Path) -> str:
    return file.read_text("utf-8")


def _run(words: tuple[str, ...], folder: str, environment: dict[str, str], files: tuple[str, str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    for number, name in enumerate(files):
        opened = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(folder)
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = os.fdopen(0, encoding=encoding)
    sys.stdout = os.fdopen(1, "w", encoding=encoding)
    sys.stderr = os.fdopen(2, "w", encoding=encoding, errors="backslashreplace")
    sys.argv = ["customer-sync", *words]
    main()
