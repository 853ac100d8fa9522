"""A fleet notices when its workers are ready and when they end."""

import random
import signal
from pathlib import Path

from sandbox.everything import sandbox
from tests.chaos.fleet import command_of, fleet
from tests.support.processes import free_port
from tests.support.scans import until


async def test_fleet_works_while_its_worker_is_ready(tmp_path: Path) -> None:
    async with (
        sandbox(aof=False) as box,
        fleet(command_of(""), box.environment, ports=[free_port()], folder=tmp_path, rng=random.Random(0)) as running,
    ):
        assert not running.is_working
        await running.all_ready()
        assert running.is_working
        await running.strike(signal.SIGKILL, 0)
        await until(lambda: not running.is_working)
        await running.all_ready()
        assert running.is_working
        assert running.starts == 2
