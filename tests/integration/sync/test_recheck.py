"""Rechecks and the circuit breaker when several things fail at once."""

import asyncio

import pytest

from jobs.errors import Limited, TimedOut
from jobs.queue.breaker import read_breaker
from jobs.rate_limit import Limits, Rates
from jobs.sync.job import sync_customer
from sandbox.faults import Fault
from tests.conftest import PREFIX, World, read_dead
from tests.support.processes import wait_until
from tests.support.steps import autumn_goes_down, change, lose_an_answer, seed, time_passes


async def test_failed_recheck_is_repeated(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Old")
    await world.run()
    await lose_an_answer(world, name="New")
    world.autumn.customers["ann"]["name"] = "Old"
    world.autumn.switches.add(Fault("503", route="customers.get", times=1))
    await time_passes(world)
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Old"
    await time_passes(world)
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "New"
    # A reapplied value may come back as an echo, so there is another recheck; it finds nothing.
    await time_passes(world)
    await world.run()
    await time_passes(world)
    assert (await world.mailbox.dispatch(100))[1] == []


async def test_recheck_leaves_link_alone(world: World) -> None:
    seed(world, "ann")
    await lose_an_answer(world, stripe_id=None, name="Ann")
    await change(world, "ann", metadata={"k": 1})
    await world.run()
    linked = world.autumn.customers["ann"]["stripe_id"]
    assert linked is not None
    await time_passes(world)
    await world.run()
    assert world.autumn.customers["ann"]["stripe_id"] == linked


@pytest.mark.parametrize("newer", ["another link", "no link", "another link, deleted since"])
async def test_late_older_link_gives_way_to_last_requested_one(world: World, newer: str) -> None:
    seed(world, "ann")
    older, other = (world.stripe.seed_customer()["id"] for _ in range(2))
    wanted = None if newer == "no link" else other
    world.autumn.switches.add(Fault("lost", route="customers.update", times=1))
    await change(world, "ann", stripe_id=older, name="Old")
    await world.run()
    await change(world, "ann", stripe_id=wanted, name="Ann")
    await world.redis.zadd(f"{PREFIX}:waiting", {"ann": 1})
    await world.run()
    assert world.autumn.customers["ann"]["stripe_id"] == wanted
    world.autumn.customers["ann"].update(stripe_id=older, name="Old")
    if "deleted" in newer:
        world.stripe.customers[other] = {"id": other, "object": "customer", "deleted": True}
    await time_passes(world)
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Ann"
    assert world.autumn.customers["ann"]["stripe_id"] == (older if "deleted" in newer else wanted)
    claimed = "autumn_id" in world.stripe.customers[older]["metadata"]
    assert claimed == ("deleted" in newer)


async def test_refused_recheck_stops_no_event(world: World) -> None:
    seed(world, "ann")
    await lose_an_answer(world, name="Ann")
    healthy = world.stripe.seed_customer()
    gone = world.autumn.customers["ann"]["stripe_id"]
    world.stripe.customers[gone] = {"id": gone, "object": "customer", "deleted": True}
    world.autumn.customers["ann"]["name"] = "Old"
    await change(world, "ann", stripe_id=healthy["id"])
    await time_passes(world)
    await world.run()
    assert world.autumn.customers["ann"]["stripe_id"] == healthy["id"]
    assert await read_dead(world.redis) == []


async def test_failed_probes_dead_letter_nothing(world: World) -> None:
    seed(world, "ann", "bob")
    world.autumn.switches.add(Fault("500"))
    await change(world, "ann", name="Ann")
    for _ in range(20):
        await world.run()
        await time_passes(world)
    world.autumn.switches.clear()
    await change(world, "bob", name="Bob")
    await world.run()
    world.autumn.switches.add(Fault("500", times=1))
    for _ in range(3):
        await time_passes(world)
        await world.run()
    assert await read_dead(world.redis) == []
    assert world.autumn.customers["ann"]["name"] == "Ann"


async def test_time_of_halt_does_not_expire_events(world: World) -> None:
    seed(world, "ann")
    world.autumn.switches.add(Fault("503", times=1))
    await world.redis.xadd("customer-updates", {"customer_id": "ann", "changes": '{"name": "Ann"}'}, id="1000-0")
    await world.run()
    await world.redis.hset(f"{PREFIX}:customer:ann", "failing_since", "1.0")  # type: ignore[misc]  # see above
    world.autumn.switches.add(Fault("429", times=1))
    for _ in range(2):
        await time_passes(world)
        await world.run()
    assert world.autumn.customers["ann"]["name"] == "Ann"
    assert await read_dead(world.redis) == []


async def test_refused_event_does_not_close_breaker_during_outage(world: World) -> None:
    seed(world, *[f"user_{index}" for index in range(12)])
    world.stripe.switches.add(Fault("503", route="GET "))
    for index in range(12):
        await change(world, f"user_{index}", name="x")
        await change(world, f"nobody_{index}", name="x")
        await world.run()
    breaker = await read_breaker(world.redis, PREFIX)
    assert breaker is not None
    assert (breaker.kind, breaker.service) == ("outage", "stripe")


async def test_probe_without_result_is_followed_by_pause(world: World) -> None:
    seed(world, "ann", "bob")
    await autumn_goes_down(world)
    assert await read_breaker(world.redis, PREFIX) is not None
    world.autumn.switches.clear()
    world.autumn.switches.add(Fault("garbage"))
    await time_passes(world)
    await world.run()
    assert (await world.mailbox.dispatch(100))[1] == []


async def test_failure_from_before_opening_does_not_affect_probe(world: World) -> None:
    customers = [f"user_{index}" for index in range(7)]
    seed(world, *customers)
    for customer in customers:
        await change(world, customer, name="x")
    await world.mailbox.move()
    await world.mailbox.dispatch(100)
    world.autumn.switches.add(Fault("hang", times=1, seconds=3600))
    world.autumn.switches.add(Fault("503"))
    late = asyncio.create_task(sync_customer(world.deps, customers[0]))

    async def hangs() -> bool:
        return world.autumn.switches.fired.get("hang") == 1

    await wait_until(hangs)
    for customer in customers[1:6]:
        await sync_customer(world.deps, customer)
    world.stripe.switches.add(Fault("503"))
    await time_passes(world)
    (probe,) = (await world.mailbox.dispatch(100))[1]
    assert await world.mailbox.take(probe) is not None
    world.autumn.switches.release()
    await late
    await time_passes(world)
    assert (await world.mailbox.dispatch(100))[1] == [], "one probe at a time"


def test_text_cut_within_character_can_be_stored() -> None:
    error = Limited("autumn", "http_429", "cut \ud83d", limit="autumn")
    error.message.encode()
    assert error.message.startswith("cut ")


async def test_cancelled_waiter_leaves_no_place_behind(world: World) -> None:
    rates = Rates(autumn_updates=0.01, autumn_max_in_flight=3, stripe_requests=1, stripe_endpoint_requests=1)
    limits = Limits(world.redis, rates, prefix=PREFIX)

    async def update() -> None:
        async with limits.autumn_update(stripe_endpoints=[]):
            raise TimedOut("autumn", "timeout", may_land_for_seconds=60)

    with pytest.raises(TimedOut):
        await update()
    assert await world.redis.zcard(f"{PREFIX}:limit:autumn-slots") == 1
    waiting = asyncio.create_task(update())
    while await world.redis.zcard(f"{PREFIX}:limit:autumn-slots") == 1:
        await world.redis.ping()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await world.redis.zcard(f"{PREFIX}:limit:autumn-slots") == 1
