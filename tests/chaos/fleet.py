"""Worker processes as a platform runs them: each restarts a moment after it ends, for any reason.

Knows only processes and their logs. All processes die with the one that started them, also if that one is killed.
"""

import asyncio
import json
import os
import random
import shlex
import signal
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.forked import Forked

ROOT: Final = Path(__file__).parents[2]
STOP_SECONDS: Final = 300.0
READY_SECONDS: Final = 600.0
"""A guard against hanging. It is so long that a busy machine never exceeds it."""
RESTART_SECONDS: Final = (0.2, 0.8)
# A shell whose process group has all workers. When this process ends, the shell's input ends and it kills them all.
_OUTLIVE_NOBODY: Final = "read -r _; kill -9 -$$"


def command_of(worker_settings: str) -> list[str]:
    """Return the Procfile's command line of a worker, with other arq settings if they are given."""
    for line in (ROOT / "Procfile").read_text(encoding="utf-8").splitlines():
        name, _, command = line.partition(":")
        if name == "worker":
            parts = shlex.split(command)
            return [*parts[:-1], worker_settings] if worker_settings else parts
    raise LookupError("the Procfile has no worker")


class WorkerEndedError(Exception):
    """A worker ended before it was ready, without a disturbance. The text has the end of its log."""


@dataclass
class Slot:
    """One slot of the fleet, and its current process."""

    number: int
    port: int
    log: Path
    process: Forked | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    ended_early: asyncio.Event = field(default_factory=asyncio.Event)

    async def is_ready(self) -> None:
        """Wait until the worker logs that it has started. Raises WorkerEndedError, and TimeoutError after a long
        time."""
        waits = [asyncio.create_task(event.wait()) for event in (self.ready, self.ended_early)]
        try:
            done, _ = await asyncio.wait(waits, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not done:
            raise TimeoutError(f"worker {self.number} has not started in {READY_SECONDS:.0f} s: read {self.log}")
        if self.ended_early.is_set():
            last = self.log.read_text(encoding="utf-8", errors="replace").rstrip().rpartition("\n")[2]
            raise WorkerEndedError(f"worker {self.number} ended before it was ready: {last}")

    def send(self, which: signal.Signals) -> bool:
        """Send the process a signal. Return whether there was a process."""
        if self.process is None or self.process.returncode is not None:
            return False
        self.process.send_signal(which)
        return True


@dataclass
class Fleet:
    """All workers. `exits` counts their exit codes, `logged` their log events.

    `killed_at` is in seconds since the epoch. `deaf` names the workers that did not end when the run stopped them.
    """

    slots: Sequence[Slot]
    starts: int = 0
    exits: Counter[str] = field(default_factory=Counter)
    logged: Counter[str] = field(default_factory=Counter)
    signals: Counter[str] = field(default_factory=Counter)
    killed_at: list[float] = field(default_factory=list)
    stopping: bool = False
    deaf: list[str] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic
    _worked: float = 0.0
    _since: float = 0.0

    def __post_init__(self) -> None:
        """Begin to measure."""
        self._since = self.clock()

    @property
    def is_working(self) -> bool:
        """Whether at least one worker is ready."""
        return any(slot.ready.is_set() for slot in self.slots)

    @property
    def working_seconds(self) -> float:
        """The time in which at least one worker was ready."""
        return self._worked + (self.clock() - self._since if self.is_working else 0.0)

    @property
    def idle_seconds(self) -> float:
        """The time since a worker was ready, or since the begin if none was; 0 if one is."""
        return 0.0 if self.is_working else self.clock() - self._since

    def note(self, slot: Slot, *, is_ready: bool) -> None:
        """Note that the worker in a slot is ready, or is not ready any more."""
        if slot.ready.is_set() == is_ready:
            # A worker that ends before it is ready does not end the idle time.
            return
        self._worked, self._since = self.working_seconds, self.clock()
        if is_ready:
            slot.ready.set()
        else:
            slot.ready.clear()

    async def strike(self, which: signal.Signals, number: int | None) -> None:
        """Send a signal to the worker in a slot, or to all of them."""
        for slot in self.slots if number is None else [self.slots[number]]:
            if slot.send(which):
                self.signals[which.name] += 1
                if which is signal.SIGKILL:
                    self.killed_at.append(time.time())

    async def all_ready(self) -> None:
        """Wait until every slot has a worker that has started. Raises: as `Slot.is_ready`."""
        for slot in self.slots:
            await slot.is_ready()

    async def stop(self) -> None:
        """Stop all workers in order. Kill those that do not end."""
        self.stopping = True
        processes = [slot.process for slot in self.slots if slot.process is not None]
        for slot in self.slots:
            slot.send(signal.SIGCONT)
            slot.send(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(*(process.wait() for process in processes))
        self.deaf += [f"worker {slot.number}" for slot in self.slots if slot.send(signal.SIGKILL)]


@asynccontextmanager
async def fleet(
    command: Sequence[str], environment: Mapping[str, str], *, ports: Sequence[int], folder: Path, rng: random.Random
) -> AsyncIterator[Fleet]:
    """Keep a worker running on each port during the block, with their logs in `folder`."""
    running = Fleet([Slot(number, port, folder / f"worker-{number}.log") for number, port in enumerate(ports)])
    guard = await asyncio.create_subprocess_exec("/bin/sh", "-c", _OUTLIVE_NOBODY, stdin=PIPE, process_group=0)
    full = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", ""), **environment}
    keepers = [
        asyncio.create_task(_keep(running, slot, command, full, guard.pid, rng.random())) for slot in running.slots
    ]
    try:
        yield running
    finally:
        running.stopping = True
        for keeper in keepers:
            keeper.cancel()
        # The guard kills the group, so a keeper does not wait in vain for the end of an output.
        await guard.communicate(b"")
        endings = await asyncio.gather(*keepers, return_exceptions=True)
    for failure in (stopping for stopping in endings if isinstance(stopping, Exception)):
        raise failure


async def _keep(
    running: Fleet, slot: Slot, command: Sequence[str], environment: Mapping[str, str], group: int, chance: float
) -> None:
    least, most = RESTART_SECONDS
    environment = {**environment, "PORT": str(slot.port)}
    while not running.stopping:
        # A separate folder, so no .env of this checkout applies.
        slot.process = await Forked.start(*command, folder=slot.log.parent, environment=environment, group=group)
        running.starts += 1
        try:
            await _read(running, slot, slot.process)
            running.exits[_stopping(await slot.process.wait())] += 1
            if not slot.ready.is_set():
                slot.ended_early.set()
        finally:
            running.note(slot, is_ready=False)
            slot.send(signal.SIGKILL)
            await slot.process.drain()
        await asyncio.sleep(least + chance * (most - least))


async def _read(running: Fleet, slot: Slot, process: Forked) -> None:
    """Write the process's lines to the log, and count its events."""
    assert process.stdout is not None
    with slot.log.open("ab") as log:
        log.write(f"--- {time.time():.3f} process {process.pid}\n".encode())
        async for line in process.stdout:
            log.write(line)
            log.flush()
            event = _event(line)
            running.logged[event] += 1
            if event == "process_started":
                running.note(slot, is_ready=True)


def _event(line: bytes) -> str:
    if not line.startswith(b"{"):
        return "other"
    try:
        document = json.loads(line)
    except ValueError:
        return "other"
    return str(document.get("event")) if isinstance(document, dict) else "other"


def _stopping(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit {code}"
