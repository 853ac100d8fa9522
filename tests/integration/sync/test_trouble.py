"""No event is lost, and no value is stale, after a failure, a wrong key, a dead worker or a late write."""

import asyncio
import json
from typing import Any

import pytest

from jobs.enqueue import outcome_of
from jobs.queue.breaker import read_breaker
from jobs.queue.record import read_customer, read_totals
from jobs.sync.job import sync_customer
from sandbox.faults import Fault, Kind
from tests.conftest import INBOX, PREFIX, World, read_dead
from tests.support.processes import wait_until
from tests.support.steps import autumn_goes_down, change, seed, time_passes, under


def names(world: World, customer: str) -> tuple[Any, Any]:
    autumn = world.autumn.customers[customer]
    return autumn["name"], world.stripe.customers[autumn["stripe_id"]]["name"]


@pytest.mark.parametrize("kind", ["500", "503", "cut", "lost", "garbage", "429"])
@pytest.mark.parametrize("service", ["autumn", "stripe"])
async def test_each_fault_ends_in_sync_after_retry(world: World, service: str, kind: Kind) -> None:
    seed(world, "ann")
    simulator = world.autumn if service == "autumn" else world.stripe
    simulator.switches.add(Fault(kind, route="POST /v1/customers", times=1))
    event = await change(world, "ann", name="Ann")
    await world.run()
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    assert outcome.status == "waiting"
    await time_passes(world)
    await world.run()
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    assert outcome.status == "applied"
    assert names(world, "ann") == ("Ann", "Ann")
    assert await read_dead(world.redis, PREFIX) == []


async def test_changes_behind_waiting_one_keep_order_and_merge(world: World) -> None:
    seed(world, "ann")
    world.autumn.switches.add(Fault("500", route="customers.update", times=1))
    await change(world, "ann", name="First", metadata={"a": 1})
    await world.run()
    await change(world, "ann", name="Second")
    await world.run()
    assert world.autumn.customers["ann"]["name"] is None
    await time_passes(world)
    await world.run()
    assert names(world, "ann") == ("Second", "Second")
    sent = [call.body["name"] for call in world.autumn.calls if "name" in call.body]
    assert sent == ["First", "Second"]


async def test_outage_allows_one_probe_until_service_recovers(world: World) -> None:
    customers = [f"user_{index}" for index in range(30)]
    seed(world, *customers)
    world.autumn.switches.add(Fault("503"))
    for customer in customers:
        await change(world, customer, name="Name")
    await world.run()
    breaker = await read_breaker(world.redis, PREFIX)
    assert breaker is not None
    assert (breaker.kind, breaker.service, breaker.reason) == ("outage", "autumn", "service_unavailable")
    assert len(world.autumn.calls) == 5, "after five failures nobody else tries"
    for tries in (6, 7, 8):
        await time_passes(world)
        await world.mailbox.move()
        (probe,) = (await world.mailbox.dispatch(100))[1]
        assert (await world.mailbox.dispatch(100))[1] == [], "one probe at a time"
        await sync_customer(world.deps, probe)
        assert len(world.autumn.calls) == tries
    world.autumn.switches.clear()
    await time_passes(world)
    await world.run()
    assert await read_breaker(world.redis, PREFIX) is None
    await time_passes(world)
    await world.run()
    assert {names(world, customer) for customer in customers} == {("Name", "Name")}
    assert await read_dead(world.redis, PREFIX) == []


async def test_probe_of_dead_worker_is_followed_by_another(world: World) -> None:
    seed(world, "ann", "bob")
    await autumn_goes_down(world)
    await change(world, "bob", name="Bob")
    await time_passes(world)
    await world.mailbox.move()
    (probe,) = (await world.mailbox.dispatch(100))[1]
    assert await world.mailbox.take(probe) is not None
    await world.redis.zadd(f"{PREFIX}:dispatched", {probe: 1})
    await time_passes(world)
    assert len((await world.mailbox.dispatch(100))[1]) == 1


async def test_customer_dispatched_before_breaker_opened_is_not_taken(world: World) -> None:
    seed(world, "ann", "bob")
    await change(world, "ann", name="Ann")
    await change(world, "bob", name="Bob")
    await world.mailbox.move()
    await world.mailbox.dispatch(100)
    world.autumn.key = "am_sk_test_rotated"
    await sync_customer(world.deps, "ann")
    assert await world.mailbox.take("bob") is None
    assert await world.redis.zscore(f"{PREFIX}:waiting", "bob") is not None


async def test_wrong_key_halts_work_until_it_is_fixed(world: World) -> None:
    seed(world, "ann", "bob")
    right, world.autumn.key = world.autumn.key, "am_sk_test_rotated"
    for customer in ("ann", "bob"):
        await change(world, customer, name="Name")
    for _ in range(4):
        await world.run()
        await time_passes(world)
    breaker = await read_breaker(world.redis, PREFIX)
    assert breaker is not None
    assert (breaker.kind, breaker.reason) == ("halt", "invalid_secret_key")
    assert "AUTUMN_SECRET_KEY" in breaker.message
    assert await read_dead(world.redis, PREFIX) == []
    assert (await read_customer(world.redis, PREFIX, "ann")).attempts == 0
    world.autumn.key = right
    for _ in range(2):
        await time_passes(world)
        await world.run()
    assert names(world, "ann") == names(world, "bob") == ("Name", "Name")


async def test_refused_event_does_not_count_as_outage(world: World) -> None:
    for index in range(8):
        await change(world, f"nobody_{index}", name="x")
    await world.run()
    assert await read_breaker(world.redis, PREFIX) is None
    assert len(await read_dead(world.redis, PREFIX)) == 8


async def test_breaker_closes_when_no_customer_waits(world: World) -> None:
    world.autumn.switches.add(Fault("503"))
    for index in range(5):
        await change(world, f"nobody_{index}", name="x")
    await world.run()
    world.autumn.switches.clear()
    for buried in range(5):
        assert (len(await read_dead(world.redis)), await read_breaker(world.redis, PREFIX) is None) == (buried, False)
        await time_passes(world)
        await world.run()
    assert await read_breaker(world.redis, PREFIX) is None


async def test_event_that_fails_too_long_is_dead_lettered_with_history(world: World) -> None:
    seed(world, "ann")
    world.autumn.switches.add(Fault("503"))
    old = await world.redis.xadd(INBOX, {"customer_id": "ann", "changes": '{"name": "Ann"}'}, id="1000000-0")
    event = old.decode()
    young = await change(world, "ann", name="Young")
    await world.run()
    history = {"failing_since": "1000.000", "attempts": "5"}
    await world.redis.hset(f"{PREFIX}:customer:ann", mapping=history)  # type: ignore[misc]  # see above
    await time_passes(world)
    await world.run()
    waiting = await outcome_of(world.redis, young)
    assert waiting is not None
    assert waiting.status == "waiting", "what came later has its own time"
    (letter,) = await read_dead(world.redis, PREFIX)
    assert (letter["reason"], letter["attempts"], letter["since"]) == ("service_unavailable", "6", "1000.000")
    assert json.loads(letter["sent.changes"]) == {"name": "Ann"}
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    assert outcome.status == "dead"


async def test_repeated_internal_error_of_one_change_dead_letters_it(world: World) -> None:
    seed(world, "ann")
    world.autumn.switches.add(Fault("500", route="customers.update"))
    await change(world, "ann", name="Ann")
    await world.run()
    await world.redis.hset(f"{PREFIX}:customer:ann", "attempts", "8")  # type: ignore[misc]  # see above
    await world.redis.delete(f"{PREFIX}:breaker")
    await time_passes(world)
    await world.run()
    assert [letter["reason"] for letter in await read_dead(world.redis, PREFIX)] == ["internal_error"]


async def test_newer_value_is_reapplied_after_late_write(world: World) -> None:
    seed(world, "ann")
    world.autumn.switches.add(Fault("lost", route="customers.update", times=1))
    await change(world, "ann", name="Old", metadata={"k": "old", "gone": 1})
    await world.run()
    await change(world, "ann", name="New", metadata={"k": "new", "gone": None})
    await world.redis.zadd(f"{PREFIX}:waiting", {"ann": 1})
    await world.run()
    assert names(world, "ann") == ("New", "New")
    world.autumn.customers["ann"].update(name="Old", metadata={"k": "old", "gone": 1})
    world.stripe.customers[world.autumn.customers["ann"]["stripe_id"]]["name"] = "Old"
    await time_passes(world)
    await world.run()
    assert names(world, "ann") == ("New", "New")
    assert world.autumn.customers["ann"]["metadata"] == {"k": "new"}
    assert (await read_totals(world.redis, PREFIX))["reapplied"] == 1


async def test_recheck_without_drift_writes_nothing_and_is_last(world: World) -> None:
    seed(world, "ann")
    world.autumn.switches.add(Fault("lost", route="customers.update", times=1))
    await change(world, "ann", name="Ann")
    await world.run()
    await world.redis.zadd(f"{PREFIX}:waiting", {"ann": 1})
    await world.run()
    updates = len(world.autumn.calls)
    await time_passes(world)
    await world.run()
    assert [call.path for call in world.autumn.calls[updates:]] == ["/v1/customers.get"]
    assert await world.redis.zcard(f"{PREFIX}:rechecks") == 0
    await time_passes(world)
    assert (await world.mailbox.dispatch(100))[1] == []


async def test_failing_recheck_backs_off(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Ann")
    await world.run()
    world.autumn.switches.add(Fault("500", route="customers.get", times=4))
    waits_ms = []
    for _ in range(4):
        await time_passes(world)
        await world.run()
        seconds, microseconds = await world.redis.time()
        due_ms = await world.redis.zscore(f"{PREFIX}:waiting", "ann")
        assert due_ms is not None
        waits_ms.append(due_ms - seconds * 1000 - microseconds / 1000)
    assert waits_ms[-1] - waits_ms[0] > 1000, "each wait was one of a first failure"
    await time_passes(world)
    await world.run()
    assert await world.redis.zcard(f"{PREFIX}:waiting") == 0


async def test_recheck_never_reapplies_field_of_waiting_change(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="First")
    await world.run()
    world.autumn.switches.add(Fault("lost", route="customers.update", times=1))
    await change(world, "ann", name="Second")
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Second"
    await time_passes(world)
    await world.run()
    sent = [call.body["name"] for call in world.autumn.calls if "name" in call.body]
    assert sent == ["First", "Second", "Second"]


async def test_worker_killed_during_write_is_followed_by_recheck(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Old")
    await world.mailbox.move()
    await world.mailbox.dispatch(100)
    assert await world.mailbox.take("ann") is not None
    await world.redis.delete(f"{PREFIX}:lease:ann")
    await change(world, "ann", name="New")
    await world.redis.zadd(f"{PREFIX}:dispatched", {"ann": 1})
    await world.run()
    assert names(world, "ann") == ("New", "New")
    assert await world.redis.zcard(f"{PREFIX}:rechecks") == 1
    world.autumn.customers["ann"]["name"] = "Old"
    await time_passes(world)
    await world.run()
    assert names(world, "ann") == ("New", "New")


async def test_lease_lost_after_write_schedules_recheck_and_settles_nothing(world: World) -> None:
    seed(world, "ann")
    world.stripe.switches.latency_seconds = 0.1
    await change(world, "ann", name="Old")
    await world.mailbox.move()
    await world.mailbox.dispatch(100)
    first = asyncio.create_task(sync_customer(world.deps, "ann"))
    await wait_until(lambda: _writing(world))
    await world.redis.set(f"{PREFIX}:lease:ann", "another worker's")
    await first
    assert await world.redis.zcard(f"{PREFIX}:rechecks") == 1
    assert await world.redis.xlen(f"{PREFIX}:mailbox:ann") == 1


async def _writing(world: World) -> bool:
    return any(call.method == "POST" for call in world.stripe.calls)


SLOTS = f"{PREFIX}:limit:autumn-slots"


@pytest.mark.parametrize(
    ("kind", "kept"), [("lost", 1), ("cut", 1), ("garbage", 1), ("500", 0), ("503", 0), ("429", 0)]
)
@pytest.mark.parametrize("route", ["customers.update", "customers.get_or_create"])
async def test_unanswered_write_of_autumn_keeps_its_slot(world: World, route: str, kind: Kind, kept: int) -> None:
    here = under(world, when_missing="create")
    if route == "customers.update":
        seed(here, "ann")
    here.autumn.switches.add(Fault(kind, route=route, times=1))
    await change(here, "ann", name="Ann")
    await here.run()
    assert await here.redis.zcard(SLOTS) == kept
    await time_passes(here)
    await here.run()
    assert here.autumn.customers["ann"]["name"] == "Ann"


async def test_create_in_autumn_holds_place_until_answer(world: World) -> None:
    here = under(world, when_missing="create")
    here.autumn.switches.add(Fault("hang", route="customers.get_or_create", times=1, seconds=3600))
    await change(here, "ann", name="Ann")
    running = asyncio.create_task(here.run())
    await wait_until(lambda: _is_creating(here))
    assert await here.redis.zcard(SLOTS) == 1
    here.autumn.switches.release()
    await running
    assert await here.redis.zcard(SLOTS) == 0


async def _is_creating(world: World) -> bool:
    return bool(world.autumn.switches.fired)


@pytest.mark.parametrize("size", [5_000_000])
async def test_huge_entry_is_dead_lettered_and_blocks_nothing(world: World, size: int) -> None:
    seed(world, "ann")
    await world.redis.xadd(INBOX, {"customer_id": "ann", "changes": '{"name": "' + "x" * size + '"}'})
    await change(world, "ann", name="Ann")
    await world.run()
    assert names(world, "ann") == ("Ann", "Ann")
    (letter,) = await read_dead(world.redis, PREFIX)
    assert letter["reason"] == "invalid_event"
    assert len(letter["sent.changes"]) > size
