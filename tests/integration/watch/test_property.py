"""Any order, lateness, repetition and death of polls: each event that the list shows is acted on exactly once."""

import asyncio
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from jobs.queue.watch.queue import WAITING_AT_MOST
from jobs.queue.watch.state import read_watch
from jobs.watch.poller import OVERLAP_SECONDS
from sandbox.redis import EmbeddedRedis
from tests.conftest import PREFIX, World, opened_world
from tests.support.examples import examples
from tests.support.watches import KEYS, Clock, by_webhook, counted, poll, poller_of, requested

LATEST_SECONDS = OVERLAP_SECONDS - 10
STEPS = st.one_of(
    st.tuples(st.just("empty"), st.integers(1, 40)),
    st.tuples(st.just("wait"), st.integers(0, 400)),
    st.tuples(st.just("poll"), st.just(0)),
    st.tuples(st.just("killed poll"), st.integers(0, 300)),
    st.tuples(st.just("webhooks and poll"), st.integers(1, 10)),
)
TROUBLES = st.fixed_dictionaries(
    {
        "list_delay_seconds": st.sampled_from([(0.0, 0.0), (0.0, 20.0), (0.0, float(LATEST_SECONDS))]),
        "withheld": st.sampled_from([0.0, 0.2]),
        "ids_in_order": st.booleans(),
        "shifts": st.sampled_from([0.0, 0.5]),
        "repeats": st.sampled_from([0.0, 0.3]),
    }
)
BEGIN_SECONDS = -6600
"""The difference of Stripe's clock at first, so that time can pass in all steps."""


class Run:
    """One example: a world, and the customers that are still whole."""

    def __init__(self, world: World, clock: Clock) -> None:
        """Begin the watch before the first event."""
        self.world = world
        self.clock = clock
        self.customers = 0

    async def step(self, name: str, number: int) -> None:
        """Do one step."""
        match name:
            case "empty":
                self.empty(number)
            case "wait":
                self.clock.ahead_seconds = min(0.0, self.clock.ahead_seconds + number)
            case "poll":
                await self.poll(None)
            case "killed poll":
                await self.poll(number)
            case _:
                # Stripe may send an event twice at the same time.
                sent = self.world.stripe.events.made[-number:] * 2
                await asyncio.gather(self.poll(None), *(by_webhook(self.world, each) for each in sent))

    def empty(self, number: int) -> None:
        """Empty the address of some new customers, one event each."""
        for _ in range(number):
            name, email = f"c{self.customers}", f"c{self.customers}@example.com"
            shown = self.world.stripe.seed_customer(email=email, metadata={"autumn_id": name})
            self.world.autumn.seed(name, stripe_id=shown["id"], email=email)
            self.world.stripe.edit(shown["id"], email="")
            self.customers += 1

    async def poll(self, dies_after: int | None) -> None:
        """Poll in a new process, which dies after some steps of the event loop."""
        begin = int(self.clock())
        poller = poller_of(self.world)
        task = asyncio.create_task(poll(self.world, poller))
        if dies_after is not None:
            for _ in range(dies_after):
                await asyncio.sleep(0)
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await self.world.redis.delete(KEYS.lease)
        # Redis has the real time. Its position would be this one, if it had the time of Stripe.
        state = await read_watch(self.world.redis, PREFIX)
        if (state.position_ms or 0) > begin * 1000:
            await self.set_position(begin)

    async def set_position(self, position: int) -> None:
        await self.world.redis.hset(KEYS.watch, "position", str(position))  # type: ignore[misc]  # one type for both clients


async def run(url: str, troubles: dict[str, Any], steps: list[tuple[str, int]], seed: int) -> None:
    clock = Clock(BEGIN_SECONDS)
    async with Redis.from_url(url) as redis:
        await redis.flushall()
        async with opened_world(redis, clock) as world:
            example = Run(world, clock)
            await example.set_position(int(clock()))
            for name, value in troubles.items():
                setattr(world.stripe.events, name, value)
            world.stripe.events.random = Random(seed)
            for name, number in steps:
                await example.step(name, number)
            # No event is later than this. The position may be older.
            await example.step("wait", LATEST_SECONDS)
            await example.step("poll", 0)
            shown = [each["data"]["object"]["metadata"]["autumn_id"] for each in world.stripe.events.made]
            assert sorted(await requested(redis)) == sorted(shown)
            at_once = min(len(shown), WAITING_AT_MOST)
            expected = {"customer.updated:requested": at_once, "customer.updated:queued": len(shown) - at_once}
            assert await counted(redis) == Counter({name: number for name, number in expected.items() if number})


@settings(max_examples=examples(25))
@given(troubles=TROUBLES, steps=st.lists(STEPS, max_size=14), seed=st.integers(0, 2**16))
def test_each_listed_event_is_acted_on_once(
    redis_server: EmbeddedRedis, troubles: dict[str, Any], steps: list[tuple[str, int]], seed: int
) -> None:
    asyncio.run(run(redis_server.url, troubles, steps, seed))
