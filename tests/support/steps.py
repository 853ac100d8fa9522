"""Steps of trouble tests: a change comes, customers are planted, time passes."""

from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from jobs.enqueue import send
from jobs.events import new_update
from jobs.plan.policy import Policy
from sandbox.faults import Fault
from tests.conftest import PREFIX, World


async def change(world: World, customer: str, /, event_id: str | None = None, **changes: Any) -> str:
    """An app says that a customer changed; the event's id."""
    return await send(world.redis, new_update(customer_id=customer, changes=changes, event_id=event_id))


async def reconcile(world: World, customer: str) -> str:
    """An app asks for a look at both sides; the event's id."""
    return await send(world.redis, new_update(customer_id=customer, type="customer.reconcile"))


def under(world: World, **settings: Any) -> World:
    """The same world, the operator having decided otherwise."""
    return replace(world, deps=replace(world.deps, policy=Policy(**settings)))


def seed(world: World, *customers: str) -> None:
    """Plant customers that are linked and claimed."""
    for customer in customers:
        stripe = world.stripe.seed_customer(metadata={"autumn_id": customer})
        world.autumn.seed(customer, stripe_id=stripe["id"])


async def time_passes(world: World) -> None:
    """Make everything that waits for a later time due now, the next probe and the rechecks too."""
    await make_due(world.redis)


async def make_due(redis: Redis) -> None:
    """Make every customer, the next probe and the rechecks due now."""
    for key in (f"{PREFIX}:waiting", f"{PREFIX}:rechecks"):
        for customer in await redis.zrange(key, 0, -1):
            # Not those that were taken since.
            await redis.zadd(key, {customer: 1}, xx=True)
    if await redis.exists(f"{PREFIX}:breaker"):
        await redis.hset(f"{PREFIX}:breaker", "probe_at", "0")  # type: ignore[misc]  # one type for both clients


async def lose_an_answer(world: World, **changes: Any) -> None:
    """A change whose answer is lost and that is applied at the second try, so that a look is due."""
    world.autumn.switches.add(Fault("lost", route="customers.update", times=1))
    await change(world, "ann", **changes)
    await world.run()
    await world.redis.zadd(f"{PREFIX}:waiting", {"ann": 1})
    await world.run()


async def autumn_goes_down(world: World) -> None:
    """Autumn answers 503 from now on, and the circuit breaker opens over it."""
    world.autumn.switches.add(Fault("503"))
    for _ in range(5):
        await change(world, "ann", name="Ann")
        await world.run()
        await time_passes(world)
