"""A pseudo terminal for a command that draws: its current screen, and keys to press."""

import asyncio
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.processes import environment_with, wait_until

ROWS, COLUMNS = 60, 80
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HOME = "\x1b[H"
# Opening a terminal makes it the controlling one of a session, so Ctrl-C is a signal.
ON_IT = 'exec "$@" <"$0" >"$0" 2>&1'


@dataclass
class PseudoTerminal:
    """A process that runs on the terminal, and all its output."""

    process: Process
    keyboard: int
    written: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        """All output."""
        return self.written.decode(errors="replace")

    @property
    def screen(self) -> str:
        """The text drawn since the cursor was last moved home, without colours."""
        return CONTROL.sub("", self.text.rpartition(HOME)[2])

    async def shows(self, text: str) -> None:
        """Wait until the screen contains `text`."""

        async def is_so() -> bool:
            assert self.process.returncode is None, self.text
            return text in self.screen

        await wait_until(is_so, what=f"{text!r} on {self.screen}")

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.keyboard, keys)

    def read(self) -> None:
        """Read the available output. A terminal that no process has open gives an error instead of an end."""
        try:
            self.written += os.read(self.keyboard, 65536)
        except OSError:
            asyncio.get_running_loop().remove_reader(self.keyboard)


@asynccontextmanager
async def on_a_terminal(*words: str, folder: Path, environment: Mapping[str, str]) -> AsyncIterator[PseudoTerminal]:
    """Run `customer-sync` with these words on a terminal. Kill it at the end."""
    keyboard, screen = pty.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    command = [sys.executable, "-m", "worker", *words]
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        ON_IT,
        os.ttyname(screen),
        *command,
        cwd=folder,
        env=environment_with({"TERM": "xterm", "LANG": "C.UTF-8", **environment}),
        start_new_session=True,
    )
    terminal = PseudoTerminal(process, keyboard)
    asyncio.get_running_loop().add_reader(keyboard, terminal.read)
    try:
        yield terminal
    finally:
        asyncio.get_running_loop().remove_reader(keyboard)
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(keyboard)
        os.close(screen)
