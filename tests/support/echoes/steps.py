"""Helpers of the tests about echoes: one customer, `ann`, on both sides, and the syncs and rechecks for her."""

from dataclasses import replace
from typing import Any

from jobs.enqueue import outcome_of
from jobs.queue.record import read_customer
from jobs.sync.report import read_reports
from tests.conftest import PREFIX, World
from tests.support.steps import change, time_passes

RIGHT, STALE = "ann.right@example.com", "ann.stale@example.com"
MOST_RECHECKS = 50


def plant(world: World, *, owner: str | None = "ann", is_linked: bool = True, **stripe_fields: Any) -> str:
    """Plant Ann with her right address in Autumn, and a Stripe customer with these fields."""
    metadata = {} if owner is None else {"autumn_id": owner}
    fields = {"name": "Ann", "email": RIGHT, **stripe_fields}
    stripe_id = str(world.stripe.seed_customer(metadata=metadata, **fields)["id"])
    world.autumn.seed("ann", name="Ann", email=RIGHT, stripe_id=stripe_id if is_linked else None)
    return stripe_id


def both(world: World, field: str) -> tuple[Any, Any]:
    """Return the value of a field on both sides."""
    row = world.autumn.customers["ann"]
    return row[field], world.stripe.customers[row["stripe_id"]][field]


async def update_by_another_app(world: World, **fields: Any) -> None:
    """Change the customer in Autumn itself, as another app does."""
    await world.deps.autumn.update("ann", fields)


async def apply(world: World, **changes: Any) -> None:
    """Send an event and apply it."""
    event = await change(world, "ann", **changes)
    await world.run()
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    assert outcome.status == "applied", outcome


def later(world: World, seconds: float) -> World:
    """Return the world `seconds` later, with all waiting work due."""
    now = world.deps.now() + seconds
    return replace(world, deps=replace(world.deps, now=lambda: now))


async def recheck(world: World) -> int:
    """Run rechecks until none waits. Return how many there were."""
    done = 0
    while await world.redis.zcard(f"{PREFIX}:rechecks"):
        assert done < MOST_RECHECKS, "rechecks never end"
        await time_passes(world)
        await world.run()
        done += 1
    return done


async def retry(world: World) -> None:
    """Run the next try of a change that failed, but no recheck."""
    await world.redis.zadd(f"{PREFIX}:waiting", {"ann": 1})
    await world.run()


async def findings(world: World) -> list[str]:
    report = read_reports((await read_customer(world.redis, PREFIX, "ann")).reports)[0]
    return [finding.kind for finding in report.findings]
