"""`customer-sync forget` beside a running worker."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from sandbox.everything import Sandbox
from tests.e2e.test_redis_tls import command
from tests.integration.queue.test_erase import ANN, about_ann
from tests.support.processes import wait_until, worker
from tests.support.unlimited import unlimited_sandbox


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with unlimited_sandbox() as everything:
        everything.autumn.seed(ANN)
        yield everything


async def test_erase_beside_a_worker_removes_everything_and_lists_remains(
    box: Sandbox,
) -> None:
    async with worker(box.environment), Redis.from_url(box.environment["REDIS_URL"]) as redis:
        for number in range(3):
            await command(box, "send", ANN, f'{{"name": "Ann {number}"}}', "--wait", "100")
        code, output = await command(box, "forget", ANN, "--yes")
        assert code == 0
        assert output.startswith(
            f"{ANN}: erased its customer record, its latest values, 0 dead letters, 3 outcomes, 3 "
        )
        for elsewhere in ("Autumn: the customer;", "events sent through arq", "digests of"):
            assert elsewhere in output
        await wait_until(lambda: _nothing(redis))
        # The recheck is gone too, and a later change is applied normally.
        await command(box, "send", ANN, '{"name": "Ann later"}', "--wait", "100")
        assert box.autumn.customers[ANN]["name"] == "Ann later"


async def _nothing(redis: Redis) -> bool:
    return await about_ann(redis) == []


async def test_erase_confirms_first_and_refuses_while_changes_wait(box: Sandbox) -> None:
    await command(box, "send", ANN, '{"name": "Ann"}')
    code, output = await command(box, "forget", ANN)
    assert code == 64
    assert "Not a terminal: pass --yes to confirm." in output
    code, output = await command(box, "forget", ANN, "--yes")
    assert code == 75
    assert "nothing was erased" in output


async def test_unknown_customer_reports_nothing_removed(box: Sandbox) -> None:
    code, output = await command(box, "forget", "a_typing_error", "--yes")
    assert code == 0
    assert output.startswith("a_typing_error: Redis has no data about it. Check that this is its id in Autumn.\n")
