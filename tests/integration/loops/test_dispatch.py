"""Dispatch adds jobs to arq's queue, each for a few customers that are due."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from arq.connections import ArqRedis
from redis.asyncio import Redis

from jobs.queue.mailbox import Mailbox
from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX, PREFIX
from tests.support.processes import wait_until
from worker.loops.dispatch import CUSTOMERS_PER_JOB, MAX_DISPATCHED, Dispatcher
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


async def dispatched(redis: Redis) -> list[list[str]]:
    """Return the customers of each job in the queue."""
    names = await redis.zrange(queue_name(PREFIX), 0, -1)
    jobs = [json.loads(await redis.get(f"arq:job:{name.decode()}")) for name in names]
    return [job["a"] for job in jobs]


async def test_due_customers_share_jobs_and_each_is_in_one(redis: Redis, arq: ArqRedis) -> None:
    mailbox = Mailbox(arq, inbox=INBOX, prefix=PREFIX)
    customers = await send(redis, mailbox, 25)
    await Dispatcher(mailbox, arq).dispatch_due()
    jobs = await dispatched(redis)
    assert sorted(customer for job in jobs for customer in job) == sorted(customers)
    assert sorted(map(len, jobs)) == [5, CUSTOMERS_PER_JOB, CUSTOMERS_PER_JOB]


async def test_dispatch_is_limited_over_all_jobs(redis: Redis, arq: ArqRedis) -> None:
    mailbox = Mailbox(arq, inbox=INBOX, prefix=PREFIX)
    await send(redis, mailbox, MAX_DISPATCHED + 10)
    dispatcher = Dispatcher(mailbox, arq)
    for _ in range(2):
        dispatcher.wake()
        await dispatcher.dispatch_due()
    assert sum(map(len, await dispatched(redis))) == MAX_DISPATCHED


async def test_idle_dispatcher_finds_the_customers_of_a_worker_that_died(redis: Redis, arq: ArqRedis) -> None:
    mailbox = Mailbox(arq, inbox=INBOX, prefix=PREFIX)
    dispatcher = Dispatcher(mailbox, arq)
    await dispatcher.dispatch_due()
    customers = await send(redis, mailbox, 1)

    async def repeat() -> None:
        while True:
            await dispatcher.dispatch_due()

    task = asyncio.create_task(repeat())
    try:

        async def are_dispatched() -> bool:
            return await dispatched(redis) == [customers]

        await wait_until(are_dispatched)
    finally:
        task.cancel()
