"""`customer-sync` as separate processes, as a person or a schedule runs it."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.forked import Forked


@dataclass(frozen=True)
class Command:
    """A running `customer-sync`. Files keep its outputs until the block ends."""

    process: Forked
    output: Path
    errors: Path

    def kill(self) -> None:
        """Kill it without a warning, as the system does."""
        self.process.kill()

    async def wait(self) -> int:
        """Wait for its end and return its exit code; -9 if it was killed."""
        return await self.process.wait()


@asynccontextmanager
async def started(
    *words: str, folder: Path, environment: Mapping[str, str], keyboard: str = os.devnull
) -> AsyncIterator[Command]:
    """Start `customer-sync` as `customer_sync` does. At the end of the block it is killed if it still runs."""
    with TemporaryDirectory() as kept:
        output, errors = Path(kept, "output"), Path(kept, "errors")
        process = await Forked.start(
            "customer-sync",
            *words,
            folder=folder,
            environment=environment,
            keyboard=keyboard,
            outputs=(str(output), str(errors)),
        )
        try:
            yield Command(process, output, errors)
        finally:
            process.kill()
            await process.wait()


async def customer_sync(
    *words: str, folder: Path, environment: Mapping[str, str], keyboard: str = os.devnull
) -> tuple[int, str, str]:
    """Run `customer-sync` with these words in this folder, and return its exit code, output and errors."""
    async with started(*words, folder=folder, environment=environment, keyboard=keyboard) as command:
        return await command.wait(), _text(command.output), _text(command.errors)


def _text(file: Path) -> str:
    return file.read_text("utf-8")
