"""POST /v1/events: the rate of each source, and many connections at once."""

import asyncio
from functools import partial

import httpx
import pytest
from redis.asyncio import Redis

from tests.conftest import INBOX, PREFIX
from tests.support.intake import CRM, SHOP, SHOP_NEXT, bearer, intake_port, is_read_again
from tests.support.processes import wait_until
from tests.support.raw import port_of
from worker.web.api.events import PATH
from worker.web.server import connections_at_most

ANN = {"customer_id": "ann", "changes": {"email": "ann@hidden.example"}}


async def test_rate_holds_for_each_name_over_all_workers(redis: Redis) -> None:
    worker = partial(intake_port, redis, events_per_second=1, burst=10)
    async with worker() as one, worker() as other:
        assert (await one.post([ANN] * 6)).status == 202
        assert (await other.post([ANN] * 4, token=SHOP_NEXT)).status == 202
        refused = await other.post([ANN] * 9)
        assert (refused.status, refused.body["error"]) == (429, "rate_limited")
        assert 1 <= int(refused.headers["Retry-After"]) <= 9
        assert await redis.xlen(INBOX) == 10
        assert (await one.post([ANN] * 10, token=CRM)).status == 202
        for _ in range(20):
            await one.post([ANN] * 10)

        async def is_accepted() -> bool:
            return (await one.post(ANN)).status == 202

        await wait_until(is_accepted, what="a share: a refused request takes none")


async def test_large_events_count_as_more(redis: Redis) -> None:
    large = {**ANN, "changes": {"name": "x" * 5_000}}
    async with intake_port(redis, events_per_second=1, burst=10) as port:
        assert (await port.post(large)).status == 202
        assert (await port.post([ANN] * 5)).status == 202
        assert (await port.post([ANN] * 9)).status == 429
        huge = {**ANN, "changes": {"name": "x" * 100_000}}
        assert (await port.post(huge, token=CRM)).status == 202, "it needs a whole burst, and not more"


@pytest.mark.parametrize("value", ["9" * 18, "x", b"\xff"])
async def test_rate_forgets_a_time_that_no_request_set(redis: Redis, value: str | bytes) -> None:
    await redis.set(f"{PREFIX}:intake-rate:shop", value)
    async with intake_port(redis, events_per_second=1000) as port:

        async def is_accepted() -> bool:
            return (await port.post(ANN)).status == 202

        await wait_until(is_accepted, what="a share")


async def test_rate_of_the_wrong_type_is_replaced(redis: Redis) -> None:
    await redis.xadd(f"{PREFIX}:intake-rate:shop", {"x": "x"})
    async with intake_port(redis) as port:
        assert (await port.post(ANN)).status == 202


async def test_every_app_without_a_shared_connection_is_answered(redis: Redis) -> None:
    # Each client would load the certificates of all authorities again.
    context = httpx.create_ssl_context()

    async def send(number: int) -> int:
        async with httpx.AsyncClient(headers=bearer(SHOP), timeout=60, verify=context) as client:
            event = {**ANN, "event_id": f"e{number}"}
            return (await client.post(port.url + PATH, json=event)).status_code

    async with intake_port(redis) as port:
        assert set(await asyncio.gather(*map(send, range(150)))) == {202}
    assert await redis.xlen(INBOX) == 150


async def test_silent_connections_end_no_request_with_a_token(redis: Redis) -> None:
    # aiohttp's client would send the request again.
    async with intake_port(redis) as port, httpx.AsyncClient(headers=bearer(SHOP), timeout=60) as client:
        await port.post({**ANN, "event_id": "signup-42"})
        await redis.config_resetstat()
        waiting = asyncio.create_task(client.get(f"{port.url}{PATH}/signup-42?wait=5"))
        await wait_until(partial(is_read_again, redis))
        writers = []
        for _ in range(connections_at_most() + 8):
            _, writer = await asyncio.open_connection("127.0.0.1", port_of(port.url))
            writers.append(writer)
        assert (await waiting).json()["status"] == "waiting"
        for writer in writers:
            writer.close()
