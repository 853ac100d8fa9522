"""Calling who is due: wake-ups in arq's queue, each for a few customers."""

import json
from collections.abc import AsyncIterator

import pytest
from arq.connections import ArqRedis
from redis.asyncio import Redis

from jobs.queue.mailbox import Mailbox
from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX, PREFIX
from worker.loops.dispatch import CALLED_AT_MOST, CUSTOMERS_OF_A_JOB, Supervisor
from worker.redis_client import open_redis, queue_name


@pytest.fixture
async def arq(redis_server: EmbeddedRedis) -> AsyncIterator[ArqRedis]:
    client = open_redis(redis_server.url, PREFIX)
    yield client
    await client.aclose(close_connection_pool=True)


async def send(redis: Redis, mailbox: Mailbox, count: int) -> list[str]:
    customers = [f"user_{number}" for number in range(count)]
    for customer in customers:
        await redis.xadd(INBOX, {"customer_id": customer, "changes": '{"name": "Ann"}'})
    await mailbox.move()
    return customers


async def woken(redis: Redis) -> list[list[str]]:
    """The customers that each wake-up in the queue names."""
    names = await redis.zrange(queue_name(PREFIX), 0, -1)
    jobs = [json.loads(await redis.get(f"arq:job:{name.decode()}")) for name in names]
    return [job["a"] for job in jobs]


async def test_those_who_are_due_share_wake_ups_and_each_is_named_once(redis: Redis, arq: ArqRedis) -> None:
    mailbox = Mailbox(arq, inbox=INBOX, prefix=PREFIX)
    customers = await send(redis, mailbox, 25)
    await Supervisor(mailbox, arq).call_who_is_due()
    named = await woken(redis)
    assert sorted(customer for some in named for customer in some) == sorted(customers)
    assert sorted(map(len, named)) == [5, CUSTOMERS_OF_A_JOB, CUSTOMERS_OF_A_JOB]


async def test_no_more_are_called_than_can_be_worked_on(redis: Redis, arq: ArqRedis) -> None:
    mailbox = Mailbox(arq, inbox=INBOX, prefix=PREFIX)
    await send(redis, mailbox, CALLED_AT_MOST + 10)
    supervisor = Supervisor(mailbox, arq)
    for _ in range(2):
        supervisor.look_now()
        await supervisor.call_who_is_due()
    assert sum(map(len, await woken(redis))) == CALLED_AT_MOST
