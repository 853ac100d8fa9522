"""The worker as the Procfile starts it, against real Redis and both services over HTTP."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest
from arq.connections import ArqRedis
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send, send_sync
from jobs.events import new_update
from jobs.queue.record import read_totals
from sandbox.everything import Sandbox
from tests.conftest import INBOX, PREFIX, read_dead
from tests.support.processes import command_of, ended, wait_until, worker
from tests.support.unlimited import FAST, seed, unlimited_sandbox

DOZEN = 12
PICKED_UP_SECONDS = 0.05


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    """Run Redis and both services without rate limits, so that only the worker sets the pace."""
    async with unlimited_sandbox() as everything:
        everything.environment.update(FAST)
        yield everything


@pytest.fixture
async def redis(box: Sandbox) -> AsyncIterator[Redis]:
    async with Redis.from_url(box.environment["REDIS_URL"]) as client:
        yield client


def app_queue(redis: Redis) -> ArqRedis:
    """Return an arq client as an app makes it: with JSON, on the worker's queue."""
    return ArqRedis(
        redis.connection_pool, job_serializer=lambda job: json.dumps(job).encode(), default_queue_name=f"{PREFIX}:queue"
    )


async def send_names(redis: Redis, customers: list[str], rounds: range) -> None:
    for index in rounds:
        for customer in customers:
            await send(redis, new_update(customer_id=customer, changes={"name": f"Name {index}"}))


async def all_settled(redis: Redis) -> bool:
    left = await asyncio.gather(
        redis.xlen(INBOX), redis.zcard(f"{PREFIX}:waiting"), redis.zcard(f"{PREFIX}:dispatched")
    )
    return not any(left)


def names(box: Sandbox) -> set[tuple[Any, Any]]:
    """Return the name of each customer in Autumn and in Stripe."""
    return {
        (customer["name"], box.stripe.customers[customer["stripe_id"]]["name"])
        for customer in box.autumn.customers.values()
    }


@pytest.mark.parametrize("version", ["2.1", "2.2.0"])
async def test_events_are_applied_at_a_version_without_cursors(box: Sandbox, redis: Redis, version: str) -> None:
    seed(box, 1)
    async with worker(box.environment | {"AUTUMN_API_VERSION": version}):
        event = await send(redis, new_update(customer_id="user_0", changes={"name": "Ann", "email": "ann@example.com"}))
        outcome = await outcome_of(redis, event, wait_seconds=100)
    assert outcome is not None
    assert outcome.status == "applied"
    assert names(box) == {("Ann", "Ann")}


async def test_event_of_each_entry_path_reaches_both_services(box: Sandbox, redis: Redis) -> None:
    customers = seed(box, 4)
    queue = app_queue(redis)
    async with worker(box.environment):
        sent = await send(redis, new_update(customer_id=customers[0], changes={"name": "Name"}))
        entry = (await redis.xadd(INBOX, {"customer_id": customers[1], "changes": '{"name": "Name"}'})).decode()
        await queue.enqueue_job(
            "customer_updated", customer_id=customers[2], changes={"name": "Name"}, event_id="by arq"
        )
        from redis import Redis as SyncRedis  # noqa: PLC0415 - only this way in is without an event loop

        with SyncRedis.from_url(box.environment["REDIS_URL"]) as client:
            synced = send_sync(client, new_update(customer_id=customers[3], changes={"name": "Name"}))
        for event in (sent, entry, "by arq", synced):
            outcome = await outcome_of(redis, event, wait_seconds=100)
            assert outcome is not None
            assert outcome.status == "applied"
    assert names(box) == {("Name", "Name")}


async def test_invalid_event_by_arq_is_dead_lettered(box: Sandbox, redis: Redis) -> None:
    queue = app_queue(redis)
    async with worker(box.environment):
        await queue.enqueue_job("customer_updated", customer_id="ann", changes={"emial": "x"}, _job_id="j1")
        await queue.enqueue_job("customer_updated", "ann", {"name": "Ann"}, _job_id="j2")
        for event in ("arq-j1", "arq-j2"):
            outcome = await outcome_of(redis, event, wait_seconds=100)
            assert outcome is not None
            assert (outcome.status, outcome.reason) == ("dead", "invalid_event")


async def test_arq_events_without_event_id_stay_separate(box: Sandbox, redis: Redis) -> None:
    customers = seed(box, 2)
    queue = app_queue(redis)
    said = [(customer, {"name": "Name"}) for customer in customers]
    said.append((customers[0], {"fingerprint": "second"}))  # arq may start this job before the first one
    async with worker(box.environment):
        for customer, changes in said:
            await queue.enqueue_job("customer_updated", customer_id=customer, changes=changes, event_id=None)
        await wait_until(lambda: _all_taken_over(box, customers))
    assert (await read_totals(redis, PREFIX)).get("duplicates", 0) == 0


async def _all_taken_over(box: Sandbox, customers: list[str]) -> bool:
    return names(box) == {("Name", "Name")} and box.autumn.customers[customers[0]]["fingerprint"] == "second"


async def test_jobs_of_other_apps_are_left_alone(box: Sandbox, redis: Redis) -> None:
    (customer,) = seed(box, 1)
    await ArqRedis(redis.connection_pool).enqueue_job("send_mail", "ann")
    async with worker(box.environment):
        event = await send(redis, new_update(customer_id=customer, changes={"name": "Name"}))
        outcome = await outcome_of(redis, event, wait_seconds=100)
    assert outcome is not None
    assert outcome.status == "applied"
    assert await redis.zcard("arq:queue") == 1


async def test_two_workers_never_overlap_and_the_last_value_wins(box: Sandbox, redis: Redis) -> None:
    customers = seed(box, 30)
    box.autumn.switches.latency_seconds = 0.01
    async with worker(box.environment), worker(box.environment):
        await send_names(redis, customers, range(10))
        await send_names(redis, customers[:2], range(10, 100))
        await send_names(redis, customers, range(100, 103))
        await wait_until(lambda: all_settled(redis))
    assert names(box) == {("Name 102", "Name 102")}
    assert max(box.autumn.max_parallel_updates.values()) == 1
    assert box.autumn.max_updates_in_flight <= 6
    totals = await read_totals(redis, PREFIX)
    assert (totals["applied"], totals.get("dead", 0)) == (30 * 13 + 180, 0)
    assert all(call.status == 200 for call in box.autumn.calls)


async def test_losing_every_wake_up_loses_no_event(box: Sandbox, redis: Redis) -> None:
    customers = seed(box, 40)
    box.autumn.switches.latency_seconds = 0.02

    async def are_deleted() -> bool:
        keys = [*await redis.keys("arq:*"), *await redis.keys(f"{PREFIX}:queue*")]
        return bool(keys) and await redis.delete(*keys) > 0

    async with worker(box.environment):
        for index in range(5):
            await send_names(redis, customers, range(index, index + 1))
            await wait_until(are_deleted)
        await wait_until(lambda: all_settled(redis))
    assert names(box) == {("Name 4", "Name 4")}


async def test_another_worker_takes_over_a_killed_workers_customers(box: Sandbox, redis: Redis) -> None:
    customers = seed(box, 10)
    box.autumn.switches.latency_seconds = 0.2
    async with worker(box.environment) as first:
        await send_names(redis, customers, range(1))
        await wait_until(lambda: _has_called(redis))
        first.process.kill()
        await first.process.wait()
    async with worker(box.environment):
        await wait_until(lambda: all_settled(redis), seconds=60)
    assert names(box) == {("Name 0", "Name 0")}


async def _passed(begin: float, seconds: float) -> bool:
    return time.monotonic() - begin > seconds


async def _has_called(redis: Redis) -> bool:
    return bool(await redis.keys(f"{PREFIX}:lease:*"))


async def test_stopping_worker_finishes_running_syncs_and_leaves_the_rest(box: Sandbox, redis: Redis) -> None:
    customers = seed(box, 60)
    box.autumn.switches.latency_seconds = 0.3
    async with worker(box.environment) as first:
        await send_names(redis, customers, range(1))
        await wait_until(lambda: _has_called(redis))
        first.process.send_signal(signal.SIGTERM)
        assert await first.process.wait() == 0
    assert 0 < (await read_totals(redis, PREFIX))["applied"] < 60
    assert not await redis.keys(f"{PREFIX}:lease:*")
    box.autumn.switches.clear()
    async with worker(box.environment):
        await wait_until(lambda: all_settled(redis))
    assert names(box) == {("Name 0", "Name 0")}
    assert (await read_totals(redis, PREFIX))["applied"] == 60
    assert await read_dead(redis, PREFIX) == []


@pytest.mark.alone
async def test_idle_worker_takes_an_event_at_once_cheaply(box: Sandbox, redis: Redis) -> None:
    (customer,) = seed(box, 1)
    waits: list[float] = []
    async with worker(box.environment) as running:
        # Half of the last dozen, because the machine may be busy. A poll of half a second would fail this clearly.
        while len(waits) < DOZEN or sorted(waits[-DOZEN:])[DOZEN // 2] >= PICKED_UP_SECONDS:
            assert len(waits) < 10 * DOZEN, waits
            sent = time.time()
            event = await send(redis, new_update(customer_id=customer, changes={"name": f"{len(waits)}"}))
            await outcome_of(redis, event, wait_seconds=100)
            waits.append(box.autumn.calls[-1].started - sent)
        process = psutil.Process(running.pid)
        before, begin = sum(process.cpu_times()[:2]), time.monotonic()
        await wait_until(lambda: _passed(begin, 3))
        share = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - begin)
    assert share < 0.1


async def test_log_holds_no_address_and_no_key(box: Sandbox, redis: Redis) -> None:
    (customer,) = seed(box, 1)
    changes = {"name": "Ann Secretname", "email": "ann@example.com", "metadata": {"note": "private"}}
    async with worker(box.environment | {"LOG_LEVEL": "DEBUG"}) as running:
        for update in (changes, changes | {"name": "Ann Other"}, {"stripe_id": "cus_doesnotexist"}):
            event = await send(redis, new_update(customer_id=customer, changes=update))
            await outcome_of(redis, event, wait_seconds=100)
        await redis.xadd(INBOX, {"customer_id": customer, "changes": '{"email": "ann#example.com"}'})
        await wait_until(lambda: all_settled(redis))
        await running.says('"dead": 1')
    log = "".join(running.log)
    for private in ("example.com", "Secretname", "private", box.autumn.key, box.stripe.key):
        assert private not in log
    assert all(json.loads(line)["event"] for line in running.log if line.startswith("{"))


async def test_worker_names_missing_settings_and_exits(box: Sandbox) -> None:
    settings = {"REDIS_URL": box.environment["REDIS_URL"], "STRIPE_API_KEY": "pk_test_visible"}
    code, output = await ended(settings, *command_of("worker"))
    assert code == 78
    assert "AUTUMN_SECRET_KEY: is not set" in output
    assert "STRIPE_API_KEY: must begin with" in output
    assert "visible" not in output
    assert "Traceback" not in output


async def test_wake_up_leaves_the_queue_when_it_is_answered(box: Sandbox, redis: Redis) -> None:
    customers = seed(box, 30)
    box.autumn.switches.latency_seconds = 60

    async def are_all_worked_on() -> bool:
        return len([key async for key in redis.scan_iter(f"{PREFIX}:lease:*")]) == len(customers)

    async def is_empty() -> bool:
        return not await redis.zcard(f"{PREFIX}:queue")

    async with worker(box.environment):
        await send_names(redis, customers, range(1))
        await wait_until(are_all_worked_on)
        # No sync is done yet, and no worker finds these jobs any more.
        await wait_until(is_empty)
        assert not await all_settled(redis)


async def test_each_failure_of_a_shared_wake_up_is_logged(box: Sandbox, redis: Redis) -> None:
    customers = seed(box, 3)
    # The rule lacks one key of each of the first two customers. The start does not check these keys.
    keys = [
        f"{PREFIX}:[^r]*",
        f"{PREFIX}:re[cv]*",
        f"{PREFIX}:remembered:*[^01]",
        f"{INBOX}*",
        f"{PREFIX}-outcomes",
        "arq:*",
    ]
    await redis.acl_setuser("narrow", enabled=True, passwords=["+a-password"], categories=["+@all"], keys=keys)
    as_user = {"REDIS_URL": box.redis.url.replace("redis://", "redis://narrow:a-password@")}
    await send_names(redis, customers, range(1))
    async with worker(box.environment | as_user) as running:
        await running.says("sync_customer failed")
        await wait_until(lambda: _has_name(box, customers[2]))
    line = next(json.loads(line) for line in running.log if "sync_customer failed" in line)
    assert line["exception"].count("NoPermissionError") == 2


async def _has_name(box: Sandbox, customer: str) -> bool:
    return bool(box.autumn.customers[customer]["name"] == "Name 0")
