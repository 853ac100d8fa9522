"""Steps of trouble tests: send a change, plant customers, let time pass."""

from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from jobs.enqueue import send
from jobs.events import new_update
from jobs.plan.policy import Policy
from sandbox.faults import Fault
from tests.conftest import PREFIX, World


async def change(world: World, customer: str, /, event_id: str | None = None, **changes: Any) -> str:
    """Send a change of a customer as an app does. Return the event's id."""
    return await send(world.redis, new_update(customer_id=customer, changes=changes, event_id=event_id))


async def reconcile(world: World, customer: str) -> str:
    """Request a reconcile as an app does. Return the event's id."""
    return await send(world.redis, new_update(customer_id=customer, type="customer.reconcile"))


def under(world: World, **settings: Any) -> World:
    """Return the same world with other settings."""
    return replace(world, deps=replace(world.deps, policy=Policy(**settings)))


def seed(world: World, *customers: str) -> None:
    """Plant customers that are linked and claimed."""
    for customer in customers:
        stripe = world.stripe.seed_customer(metadata={"autumn_id": customer})
        world.autumn.seed(customer, stripe_id=stripe["id"])


async def time_passes(world: World) -> None:
    """Make all waiting work due now, including the next probe and the rechecks."""
    await make_due(world.redis)


async def make_due(redis: Redis) -> None:
    """Make every customer, the next probe and the rechecks due now."""
    for key in (f"{PREFIX}:waiting", f"{PREFIX}:rechecks"):
        for customer in await redis.zrange(key, 0, -1):
            # Skip the customers that were taken since.
            await redis.zadd(key, {customer: 1}, xx=True)
    if await redis.exists(f"{PREFIX}:breaker"):
        await redis.hset(f"{PREFIX}:breaker", "probe_at", "0")  # type: ignore[misc]  # one type for both clients


async def lose_an_answer(world: World, **changes: Any) -> None:
    """Apply a change at the second try, after the first answer was lost, so a recheck is due."""
    world.autumn.switches.add(Fault("lost", route="customers.update", times=1))
    await change(world, "ann", **changes)
    await world.run()
    await world.redis.zadd(f"{PREFIX}:waiting", {"ann": 1})
    await world.run()


async def autumn_goes_down(world: World) -> None:
    """Make Autumn answer 503 from now on, until the circuit breaker opens."""
    world.autumn.switches.add(Fault("503"))
    for _ in range(5):
        await change(world, "ann", name="Ann")
        await world.run()
        await time_passes(world)
