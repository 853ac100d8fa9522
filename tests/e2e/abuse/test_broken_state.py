"""Broken state of a customer in Redis is reported once, and the customer continues with an empty record."""

import json

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from jobs.queue.dead_letters import NewestLetters
from jobs.queue.record import read_totals
from jobs.queue.status import read_standing
from tests.conftest import PREFIX, World
from tests.support.busy import assert_untroubled, attacked_box
from tests.support.processes import worker
from tests.support.steps import change, seed
from worker.status.customer_text import standing_lines
from worker.status.json import standing_json

FAR = 10**30
KNOWN = {"at": 1.0, "newest": [], "older": [], "overwritten": [], "unaccepted": "", "kept": []}
REPORT = {"at_ms": 1, "events": 1, "actions": [], "findings": []}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, value) for name in ("attempts", "unexpected", "reapplies", "takes") for value in ("many", "1.5", "-")),
        ("recheck_tries", "x"),
        ("create_tries", "9" * 400),
        ("create_generation", "first"),
        ("failing_since", "yesterday"),
        ("failing_since", "nan"),
        ("failing_since", "1e300"),
        ("create_sent_at", "inf"),
        ("refused", "{"),
        ("refused", '{"email": 1}'),
        ("refused", "[" * 100_000),
        ("reports", "no json"),
        ("reports", '{"a": 1}'),
        ("reports", "[1]"),
        ("reports", json.dumps([REPORT | {"at_ms": FAR}])),
        ("reports", json.dumps([REPORT | {"findings": [{"kind": "gone", "text": []}]}])),
        ("last_applied", "never"),
    ],
)
async def test_broken_customer_record_stops_no_sync(world: World, field: str, value: str) -> None:
    seed(world, "ann")
    await change(world, "ann", name="First")
    await world.run()
    await world.redis.hset(f"{PREFIX}:customer:ann", field, value)  # type: ignore[misc]  # one type for both clients
    await change(world, "ann", name="Second")
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Second"
    assert await world.redis.hget(f"{PREFIX}:customer:ann", field) != value.encode()  # type: ignore[misc]  # one type for both clients


async def test_broken_record_is_reported_once_and_shown(world: World) -> None:
    seed(world, "ann")
    broken = {"attempts": "x", "failing_since": "x", "reports": "x", "waits_for": "create_failed_before"}
    await world.redis.hset(f"{PREFIX}:customer:ann", mapping=broken)  # type: ignore[misc]  # one type for both clients
    await change(world, "ann", name="Ann")
    await world.mailbox.move()
    standing = await read_standing(world.redis, PREFIX, "ann")

    assert standing_lines(standing, NewestLetters())
    assert standing_json(standing, NewestLetters())["failed_tries"] == 0
    with capture_logs() as logs:
        await world.run()
    (told,) = [line for line in logs if line["event"] == "customer_state_reset"]
    assert (told["customer"], set(told["parts"])) == ("ann", set(broken))
    assert (await read_totals(world.redis, PREFIX))["customer_states_reset"] == 1


@pytest.mark.parametrize(
    "kept",
    [
        "no json",
        "[]",
        "5",
        "[" * 100_000,
        '{"fields": 5}',
        '{"fields": {"name": 5}}',
        '{"fields": {"name": {}}}',
        '{"in_doubt_until": "soon"}',
        json.dumps({"in_doubt_until": FAR}),
        json.dumps({"stripe_id": []}),
        json.dumps({"fields": {"name": KNOWN | {"at": "x"}}}),
        json.dumps({"fields": {"name": KNOWN | {"at": FAR}}}),
        json.dumps({"fields": {"name": KNOWN | {"newest": [[]]}}}),
        json.dumps({"fields": {"name": KNOWN | {"kept": "x"}}}),
        b"\xff\xfe",
    ],
)
async def test_broken_memory_stops_no_sync(world: World, kept: str | bytes) -> None:
    seed(world, "ann")
    await world.redis.set(f"{PREFIX}:remembered:ann", kept)
    await change(world, "ann", name="Ann")
    with capture_logs() as logs:
        await world.run()
    assert world.autumn.customers["ann"]["name"] == "Ann"
    assert [line["parts"] for line in logs if line["event"] == "customer_state_reset"] == [["remembered"]]


@pytest.mark.parametrize(
    "fields", [{"closed": "1"}, {"closed": "1", "probe_at": "x", "wait_ms": "x"}, {"failures": "x"}]
)
async def test_broken_breaker_stops_no_sync(world: World, fields: dict[str, str]) -> None:
    seed(world, "ann")
    await world.redis.hset(f"{PREFIX}:breaker", mapping=fields)  # type: ignore[misc]  # one type for both clients
    await change(world, "ann", name="Ann")
    assert (await read_standing(world.redis, PREFIX, "ann")).entries == 0
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Ann"


@pytest.mark.parametrize("total", ["x", "1.5", "9" * 40])
async def test_broken_total_stops_no_sync(world: World, total: str) -> None:
    seed(world, "ann")
    await world.redis.hset(f"{PREFIX}:totals", mapping={"received": total, "applied": total})  # type: ignore[misc]  # one type for both clients
    await change(world, "ann", name="Ann")
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Ann"
    assert (await read_totals(world.redis, PREFIX)).get("applied") is None


@pytest.mark.parametrize("rate", ["autumn:updates", "stripe"])
async def test_broken_rate_stops_no_sync(world: World, rate: str) -> None:
    seed(world, "ann")
    await world.redis.set(f"{PREFIX}:limit:{rate}", "x")
    await world.redis.hset(f"{PREFIX}:limit:{rate}:slow", mapping={"steps": "x"})  # type: ignore[misc]  # one type for both clients
    await change(world, "ann", name="Ann")
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Ann"


@pytest.mark.parametrize("remembered", ["no json", json.dumps({"fields": {"name": KNOWN | {"at": "x"}}})])
async def test_running_worker_resets_broken_state_once_and_continues(remembered: str) -> None:
    async with attacked_box() as box, Redis.from_url(box.redis.url) as redis, worker(box.environment) as running:
        await redis.set(f"{PREFIX}:remembered:user_0", remembered)
        await redis.hset(f"{PREFIX}:customer:user_0", mapping={"attempts": "x", "failing_since": "x"})
        for name in ("First", "Second"):
            event = await send(redis, new_update(customer_id="user_0", changes={"name": name}))
            outcome = await outcome_of(redis, event, wait_seconds=60)
            assert outcome is not None
            assert outcome.status == "applied"
            assert box.autumn.customers["user_0"]["name"] == name
        assert (await read_totals(redis, PREFIX))["customer_states_reset"] == 1
    resets = [json.loads(line) for line in running.log if "customer_state_reset" in line]
    assert [(line["customer"], set(line["parts"])) for line in resets] == [
        ("user_0", {"remembered", "attempts", "failing_since"})
    ]
    assert_untroubled(running.log)
