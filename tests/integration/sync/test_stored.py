"""The runbook lists every key that exists in Redis."""

import re
from pathlib import Path

from jobs.queue.status import read_overview
from tests.conftest import INBOX, PREFIX, World
from tests.integration.queue.test_erase import store_data_of_each_kind
from tests.support.steps import autumn_goes_down
from worker.status.history import History
from worker.web.credentials import Credentials, Tries

RUNBOOK = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")


def patterns() -> list[re.Pattern[str]]:
    """Return patterns of the keys in the table. A word in capitals matches anything."""
    table = RUNBOOK[RUNBOOK.index("| key | what |") :]
    keys = [key for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for key in re.findall("`(.*?)`", row)]
    return [re.compile(re.sub(r"[A-Z_]+", ".+", key)) for key in keys]


async def test_every_key_is_in_table_of_runbook(world: World) -> None:
    await store_data_of_each_kind(world)
    await autumn_goes_down(world)
    await History(world.redis, PREFIX).note(await read_overview(world.redis, PREFIX, INBOX), {"stripe": 1})
    await Tries(world.redis, PREFIX).begin()
    await Credentials(world.redis, PREFIX, password=None, token="", read_seconds=60).sessions()
    keys = [key.decode() async for key in world.redis.scan_iter()]
    assert len(keys) > 10
    assert [key for key in keys if not any(pattern.fullmatch(key) for pattern in patterns())] == []
