"""A terminal of one's own for a command that draws: what it shows now, and keys to press."""

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
# Opening a terminal is what makes it the controlling one of a session, so that Ctrl-C is a signal.
ON_IT = 'exec "$@" <"$0" >"$0" 2>&1'


@dataclass
class PseudoTerminal:
    """A process that runs on it, and all that it has written."""

    process: Process
    keyboard: int
    written: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        """All that was written."""
        return self.written.decode(errors="replace")

    @property
    def screen(self) -> str:
        """The text drawn since the cursor was last sent home, without colours."""
        return CONTROL.sub("", self.text.rpartition(HOME)[2])

    async def shows(self, text: str) -> None:
        """Wait until the screen holds `text`."""

        async def is_so() -> bool:
            assert self.process.returncode is None, self.text
            return text in self.screen

        await wait_until(is_so, what=f"{text!r} on {self.screen}")

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.keyboard, keys)

    def read(self) -> None:
        """Take what there is; a terminal that nobody has open any more gives an error instead of an end."""
        try:
            self.written += os.read(self.keyboard, 65536)
        except OSError:
            asyncio.get_running_loop().remove_reader(self.keyboard)


@asynccontextmanager
async def on_a_terminal(*words: str, folder: Path, environment: Mapping[str, str]) -> AsyncIterator[PseudoTerminal]:
    """`customer-sync` with these words on a terminal; killed at the end at last."""
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
