"""Reconciles that the watch requested: dropped if Autumn does not know the customer, and timed up to agreement."""

import time
from dataclasses import dataclass, field, replace

import pytest

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from jobs.observer import Nobody
from jobs.queue.record import read_customer, read_totals
from jobs.queue.watch.request_ids import request_id
from jobs.queue.watch.state import WatchKeys
from jobs.sync.report import read_reports
from sandbox.faults import Fault
from tests.conftest import PREFIX, World, read_dead
from tests.support.steps import change, reconcile, seed, time_passes


@dataclass(frozen=True)
class Happened:
    """An event of Stripe."""

    id: str
    created: int


@dataclass
class Clock(Nobody):
    """An observer that keeps the seconds up to agreement."""

    agreed: list[float] = field(default_factory=list)

    def event_agreed(self, seconds: float) -> None:
        self.agreed.append(seconds)


async def watched(world: World, customer: str, *, seconds_ago: int = 0, later: bool = False) -> str:
    """Request a reconcile as the watch does, and return its event id."""
    happened = Happened(f"evt_{seconds_ago}", int(time.time()) - seconds_ago)
    event_id = request_id(happened, customer, later=later)
    return await send(world.redis, new_update(customer_id=customer, type="customer.reconcile", event_id=event_id))


def observing(world: World, clock: Clock) -> World:
    return replace(world, deps=replace(world.deps, observer=clock))


@pytest.mark.parametrize("later", [False, True])
async def test_request_for_unknown_customer_leaves_no_dead_letter(world: World, later: bool) -> None:
    event = await watched(world, "ann", later=later)
    await world.run()
    assert await read_dead(world.redis) == []
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    assert outcome.status == "applied"
    assert (await read_totals(world.redis, PREFIX))["watch_requests_dropped"] == 1


async def test_other_events_of_unknown_customer_become_dead_letters(world: World) -> None:
    sent = [await reconcile(world, "ann"), await change(world, "ann", name="Ann")]
    await watched(world, "ann")
    # An app chose this id for a change.
    id_of_watch = request_id(Happened("evt_app", 1), "ann", later=False)
    sent.append(await change(world, "ann", event_id=id_of_watch, name="Ann"))
    await world.run()
    outcomes = [await outcome_of(world.redis, event) for event in sent]
    assert [outcome.reason for outcome in outcomes if outcome is not None] == ["customer_not_found"] * 3
    assert (await read_totals(world.redis, PREFIX))["watch_requests_dropped"] == 1
    assert len(await read_dead(world.redis)) == 3


async def test_request_that_needs_a_person_leaves_a_finding_only(world: World) -> None:
    seed(world, "ann")
    stripe_id = world.autumn.customers["ann"]["stripe_id"]
    world.stripe.customers[stripe_id]["metadata"]["autumn_id"] = "bob"
    event = await watched(world, "ann")
    await world.run()
    assert await read_dead(world.redis) == []
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    assert (outcome.status, outcome.reason) == ("applied", "needs-review")
    for stream in (f"{PREFIX}-outcomes", f"{PREFIX}:reviews"):
        ((_, fields),) = await world.redis.xrange(stream)
        assert (fields[b"customer"], fields[b"reason"]) == (b"ann", b"needs-review")
    report = read_reports((await read_customer(world.redis, PREFIX, "ann")).reports)[0]
    assert [finding.kind for finding in report.findings] == ["foreign"]
    assert (await read_totals(world.redis, PREFIX))["watch_requests_dropped"] == 1


async def test_unknown_customer_leaves_index_of_watch(world: World) -> None:
    seed(world, "ann")
    await reconcile(world, "ann")
    await world.run()
    assert await world.redis.exists(WatchKeys(PREFIX).links)
    del world.autumn.customers["ann"]
    await watched(world, "ann")
    await world.run()
    assert not await world.redis.exists(WatchKeys(PREFIX).links)


async def test_agreement_is_timed_from_event_of_stripe(world: World) -> None:
    seed(world, "ann")
    clock = Clock()
    await watched(world, "ann", seconds_ago=100)
    await reconcile(world, "ann")
    await observing(world, clock).run()
    (seconds,) = clock.agreed
    assert seconds >= 100


async def test_failed_and_dropped_requests_are_not_timed(world: World) -> None:
    seed(world, "ann")
    clock = Clock()
    await watched(world, "nobody", seconds_ago=1)
    await watched(world, "ann", seconds_ago=1)
    world.autumn.switches.add(Fault("503"))
    await observing(world, clock).run()
    assert clock.agreed == []
    world.autumn.switches.clear()
    await time_passes(world)
    await observing(world, clock).run()
    assert len(clock.agreed) == 1
