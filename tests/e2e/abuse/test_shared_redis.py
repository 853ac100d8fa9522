"""Two deployments on one Redis with the same customer ids each apply their own changes."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from jobs.queue.record import read_totals
from sandbox.everything import Sandbox
from tests.conftest import INBOX, PREFIX, read_dead
from tests.support.busy import assert_untroubled, attacked_box
from tests.support.processes import worker

CUSTOMER = "user_0"
ROUNDS = 10
DEPLOYMENTS = {PREFIX: INBOX, "other-sync": "other-inbox"}


@pytest.fixture
async def boxes() -> AsyncIterator[tuple[Sandbox, Sandbox]]:
    """Yield the services of two deployments, each with a customer of the same id."""
    async with attacked_box() as one, attacked_box() as other:
        yield one, other


async def test_two_deployments_apply_changes_of_the_same_customer_id(boxes: tuple[Sandbox, Sandbox]) -> None:
    shared = boxes[0].redis.url
    first, second = (
        {**box.environment, "REDIS_URL": shared, "KEY_PREFIX": prefix, "INBOX_STREAM": inbox}
        for box, (prefix, inbox) in zip(boxes, DEPLOYMENTS.items(), strict=True)
    )
    async with Redis.from_url(shared) as redis, worker(first) as one, worker(second) as other:
        for number in range(ROUNDS):
            updates = {
                prefix: new_update(customer_id=CUSTOMER, changes={"name": f"{prefix} {number}"})
                for prefix in DEPLOYMENTS
            }
            events = await asyncio.gather(
                *(send(redis, updates[prefix], stream=inbox) for prefix, inbox in DEPLOYMENTS.items())
            )
            outcomes = await asyncio.gather(
                *(
                    outcome_of(redis, event, wait_seconds=60, prefix=prefix)
                    for event, prefix in zip(events, DEPLOYMENTS, strict=True)
                )
            )
            assert [outcome and outcome.status for outcome in outcomes] == ["applied", "applied"]
            names = [box.autumn.customers[CUSTOMER]["name"] for box in boxes]
            assert names == [f"{prefix} {number}" for prefix in DEPLOYMENTS]
        for prefix in DEPLOYMENTS:
            # A lost wake-up is repeated after some time.
            assert (await read_totals(redis, prefix)).get("dispatched_again", 0) == 0
            assert await read_dead(redis, prefix) == []
    assert_untroubled([*one.log, *other.log])
