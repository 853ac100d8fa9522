"""The state of a customer, read from a real Redis in each state that it can have."""

from jobs.queue.record import NO_RECORD
from jobs.queue.status import Standing, read_standing
from sandbox.faults import Fault
from tests.conftest import PREFIX, World
from tests.support.steps import autumn_goes_down, change, lose_an_answer, seed


async def standing_of(world: World, customer: str) -> Standing:
    return await read_standing(world.redis, PREFIX, customer)


async def test_customer_without_events_is_not_known(world: World) -> None:
    standing = await standing_of(world, "ann")
    assert standing == Standing("ann", "idle", None, 0, None, NO_RECORD)
    assert not standing.is_known


async def test_status_distinguishes_waiting_dispatched_and_idle(world: World) -> None:
    seed(world, "ann")
    entry = await change(world, "ann", name="Ann")
    await world.mailbox.move()
    waiting = await standing_of(world, "ann")
    assert (waiting.state, waiting.entries, waiting.oldest_entry) == ("waiting", 1, entry)
    assert waiting.due_ms is not None
    await world.mailbox.dispatch(1)
    working = await standing_of(world, "ann")
    assert (working.state, working.due_ms, working.is_known) == ("working", None, True)
    await world.redis.zadd(f"{PREFIX}:dispatched", {"ann": 1})
    await world.run()
    idle = await standing_of(world, "ann")
    assert (idle.state, idle.due_ms, idle.entries, idle.oldest_entry, idle.is_known) == ("idle", None, 0, None, True)


async def test_failed_sync_is_due_later(world: World) -> None:
    seed(world, "ann")
    world.autumn.switches.add(Fault("503", times=1))
    entry = await change(world, "ann", name="Ann")
    await world.run()
    standing = await standing_of(world, "ann")
    assert (standing.state, standing.record.last_error) == ("waiting", "service_unavailable")
    assert (standing.due_ms or 0) > int(entry.split("-")[0])


async def test_status_shows_pending_recheck(world: World) -> None:
    seed(world, "ann")
    await lose_an_answer(world, name="Ann")
    standing = await standing_of(world, "ann")
    due_ms = await world.redis.zscore(f"{PREFIX}:rechecks", "ann")
    assert due_ms is not None
    assert (standing.state, standing.recheck_due_ms, standing.record.recheck_kind) == ("idle", int(due_ms), "whole")


async def test_status_shows_open_breaker(world: World) -> None:
    seed(world, "ann")
    assert (await standing_of(world, "ann")).breaker is None
    await autumn_goes_down(world)
    breaker = (await standing_of(world, "ann")).breaker
    assert breaker is not None
    assert (breaker.kind, breaker.service) == ("outage", "autumn")
