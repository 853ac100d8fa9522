"""Two workers with the same customers at the same time, and crashes after a create: one Stripe customer each."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from jobs.enqueue import outcome_of
from jobs.queue.mailbox import Mailbox
from jobs.sync.deps import Deps
from jobs.sync.job import sync_customer
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX, World, opened_deps, read_dead
from tests.support.steps import change, time_passes

REPEATS = 25
SLOW_REPEATS = 10
"""Repeats of the slow crash, in which a lease has to expire."""
LEASE_SECONDS = 0.2


@pytest.fixture
async def second(world: World) -> AsyncIterator[Deps]:
    """The dependencies of a second worker, which shares none with the first."""
    async with opened_deps(
        world.redis, world.autumn_url, world.autumn.key, world.autumn.stripe.url, world.stripe.key
    ) as deps:
        yield deps


def with_lease(world: World, deps: Deps, seconds: float) -> Deps:
    """Return the worker with a lease of `seconds`."""
    mailbox = Mailbox(world.redis, inbox=INBOX, prefix=PREFIX, lease_seconds=seconds)
    return replace(deps, mailbox=mailbox)


async def wait_for_create(world: World, before: int, by: asyncio.Task[bool]) -> None:
    """Wait until Stripe has executed a create. Its caller may not know yet."""
    while sum(write.endpoint == "customers.create" for write in world.stripe.writes) == before:
        assert not by.done(), "the sync ended without a create"
        await world.redis.ping()


async def sync_with_both(world: World, both: tuple[Deps, Deps], customer: str) -> None:
    """Sync the customer with both workers until nothing is left to do.

    The lease is longer each time, because a slow machine may need longer than the first lease.
    """
    lease_seconds = LEASE_SECONDS
    async with asyncio.timeout(60):
        while await world.redis.xlen(INBOX) or await world.redis.exists(f"{PREFIX}:mailbox:{customer}"):
            await world.mailbox.move()
            await time_passes(world)
            await world.mailbox.dispatch(100)
            await asyncio.gather(*(sync_customer(with_lease(world, each, lease_seconds), customer) for each in both))
            lease_seconds *= 1.5


@pytest.mark.parametrize("crash", ["the answer is lost", "the worker is killed", "the worker stands still"])
async def test_crash_after_create_makes_only_one_stripe_customer(world: World, second: Deps, crash: str) -> None:
    world.stripe.search_lag_seconds = 3600
    workers = (world.deps, second)
    for number in range(SLOW_REPEATS if crash == "the worker stands still" else REPEATS):
        customer = f"user_{number}"
        world.autumn.seed(customer, name="Ann")
        event = await change(world, customer, name=f"Ann {number}")
        if crash == "the answer is lost":
            world.stripe.switches.add(Fault("lost", route="POST /v1/customers", times=1))
        elif crash == "the worker stands still":
            world.stripe.switches.add(Fault("hang", route="POST /v1/customers", times=1, seconds=1.5 * LEASE_SECONDS))
        else:
            await kill_after_create(world, workers[number % 2], customer)
        await sync_with_both(world, workers, customer)
        outcome = await outcome_of(world.redis, event)
        assert outcome is not None
        assert outcome.status == "applied"
        mine = [each for each in world.stripe.customers.values() if each["metadata"].get("autumn_id") == customer]
        assert [each["id"] for each in mine] == [world.autumn.customers[customer]["stripe_id"]]
        assert mine[0]["name"] == f"Ann {number}"
    assert await read_dead(world.redis) == []


async def kill_after_create(world: World, worker: Deps, customer: str) -> None:
    """Kill the worker as soon as Stripe has created the customer. It learns nothing and settles nothing."""
    before = sum(write.endpoint == "customers.create" for write in world.stripe.writes)
    await world.mailbox.move()
    await world.mailbox.dispatch(100)
    dying = asyncio.create_task(sync_customer(worker, customer))
    await wait_for_create(world, before, dying)
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    # Expire its lease.
    assert await world.redis.delete(f"{PREFIX}:lease:{customer}") == 1


async def test_concurrent_claims_link_only_one_customer(world: World, second: Deps) -> None:
    for number in range(REPEATS):
        shared = world.stripe.seed_customer(name="Before")
        pair = [f"ann_{number}", f"bob_{number}"]
        events = {}
        for customer in pair:
            world.autumn.seed(customer, stripe_id=shared["id"])
            events[customer] = await change(world, customer, name=customer)
        await world.mailbox.move()
        await world.mailbox.dispatch(100)
        await asyncio.gather(*(sync_customer(each, who) for each, who in zip((world.deps, second), pair, strict=True)))
        for _ in range(3):
            await time_passes(world)
            await world.run()
        ends = {customer: await outcome_of(world.redis, event) for customer, event in events.items()}
        owner = world.stripe.customers[shared["id"]]["metadata"]["autumn_id"]
        other = next(customer for customer in pair if customer != owner)
        assert {who: end and (end.status, end.reason) for who, end in ends.items()} == {
            owner: ("applied", None),
            other: ("dead", "needs-review"),
        }
        assert world.stripe.customers[shared["id"]]["name"] == owner
        touched_by_other = [
            write.changed
            for write in world.stripe.writes
            if write.object_id == shared["id"] and ("Before", other) == write.changed.get("name")
        ]
        assert touched_by_other == []
