"""Steps of tests of the watch: a poller of a world, polls, and what they led to."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from jobs.plan.policy import Policy
from jobs.queue.record import read_totals
from jobs.queue.watch.links import Links
from jobs.queue.watch.queue import WatchQueue
from jobs.queue.watch.state import WatchKeys
from jobs.scan.record import ScanRecord
from jobs.stripe.events import EventAnswer
from jobs.watch.act import Actor
from jobs.watch.poller import Poller
from tests.conftest import INBOX, PREFIX, World

KEYS: Final = WatchKeys(PREFIX)


@dataclass
class Clock:
    """A clock of Stripe that a test may move. `ahead_seconds` is its difference from the real one."""

    ahead_seconds: float = 0.0

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return time.time() + self.ahead_seconds


def plant_linked(world: World, *customers: str) -> None:
    """Plant linked customers with an e-mail address."""
    for each in customers:
        stripe = world.stripe.seed_customer(email=f"{each}@example.com", metadata={"autumn_id": each})
        world.autumn.seed(each, stripe_id=stripe["id"], email=f"{each}@example.com")


def queue_of(redis: Redis, poll_seconds: float = 60) -> WatchQueue:
    """Return the client of the watch's state of a new process."""
    return WatchQueue(redis, inbox=INBOX, prefix=PREFIX, poll_seconds=poll_seconds)


def actor_of(world: World, policy: Policy | None = None) -> Actor:
    """Return an actor of a world."""
    deps = world.deps
    return Actor(
        queue_of(world.redis), Links(world.redis, PREFIX), deps.autumn, policy or deps.policy, deps.mode, time.time
    )


def poller_of(world: World, *, policy: Policy | None = None, poll_seconds: float = 60) -> Poller:
    """Return a poller of a new process."""
    queue = queue_of(world.redis, poll_seconds)
    return Poller(queue, world.deps.stripe, actor_of(world, policy), ScanRecord(world.redis, PREFIX))


async def watch_is_current(redis: Redis, *, poll_seconds: float = 60) -> None:
    """Store the state of a watch whose last poll was complete."""
    fields = {"position": int(time.time()), "pause_ms": int(poll_seconds * 1000), "off": "", "error": ""}
    await redis.hset(KEYS.watch, mapping=fields)  # type: ignore[misc]  # one type for both clients


async def make_due(redis: Redis) -> None:
    """Make the next poll due now."""
    if await redis.exists(KEYS.watch):
        await redis.hset(KEYS.watch, "next_poll_ms", "0")  # type: ignore[misc]  # one type for both clients


async def poll(world: World, poller: Poller | None = None) -> None:
    """Poll now. Without a poller, in a new process."""
    await make_due(world.redis)
    await (poller or poller_of(world)).tick()


async def pass_backlog(world: World) -> None:
    """Make the backlog due, and move it to the inbox."""
    for customer in await world.redis.zrange(KEYS.backlog, 0, -1):
        await world.redis.zadd(KEYS.backlog, {customer: 1})
    await poller_of(world).tick()


async def by_webhook(world: World, event: dict[str, Any], policy: Policy | None = None) -> None:
    """Act on an event as if a webhook had brought it."""
    await actor_of(world, policy).receive(EventAnswer.model_validate(event))


async def requested(redis: Redis) -> list[str]:
    """Return the customers whose reconciles are in the inbox, and then those in the backlog."""
    entries = await redis.xrange(INBOX)
    assert all(fields[b"type"] == b"customer.reconcile" for _, fields in entries)
    queued = await redis.zrange(KEYS.backlog, 0, -1)
    return [each.decode() for each in [*(fields[b"customer_id"] for _, fields in entries), *queued]]


async def counted(redis: Redis) -> Counter[str]:
    """Return the counted events of Stripe, by type and outcome."""
    totals = await read_totals(redis, PREFIX)
    return Counter(
        {name.removeprefix("watch:"): number for name, number in totals.items() if name.startswith("watch:")}
    )


async def link(redis: Redis, stripe_id: str, customer: str, *, receipts: bool = False) -> None:
    """Store a link in the index, as a sync does."""
    await redis.hset(KEYS.links, stripe_id, f"{int(receipts)}:{customer}")  # type: ignore[misc]  # one type for both clients
