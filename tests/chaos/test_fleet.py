"""A fleet notices when its workers are ready and when they end, and leaves no pipe open."""

import random
import signal
from pathlib import Path

from sandbox.everything import sandbox
from tests.chaos.fleet import command_of, fleet
from tests.support.processes import free_port
from tests.support.scans import until


async def test_fleet_works_while_its_worker_is_ready(tmp_path: Path) -> None:
    ports, rng = [free_port()], random.Random(0)
    async with sandbox(aof=False) as box:
        async with fleet(command_of(""), box.environment, ports=ports, folder=tmp_path, rng=rng) as running:
            assert not running.is_working
            await running.all_ready()
            assert running.is_working
            await running.strike(signal.SIGKILL, 0)
            await until(lambda: not running.is_working)
            await running.all_ready()
            assert running.is_working
            assert running.starts == 2
        process = running.slots[0].process
        assert process is not None
        assert process.stdout is not None
        assert process.stdout.at_eof()
