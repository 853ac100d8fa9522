"""A worker process survives a lost or read-only Redis, a wrong key, and a pause longer than its lease."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from sandbox.everything import Sandbox
from tests.conftest import PREFIX, read_dead
from tests.support.processes import Running, command_of, ended, hanging_up, wait_until, worker
from tests.support.steps import make_due
from tests.support.unlimited import unlimited_sandbox


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    # A killed Redis must have what it accepted, also if the disk is busy.
    async with unlimited_sandbox(appendfsync="always") as everything:
        yield everything


def seed(box: Sandbox, *customers: str) -> None:
    for customer in customers:
        stripe = box.stripe.seed_customer(metadata={"autumn_id": customer})
        box.autumn.seed(customer, stripe_id=stripe["id"])


async def send_change(box: Sandbox, customer: str, name: str) -> str:
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        return await send(redis, new_update(customer_id=customer, changes={"name": name}))


async def has_name(box: Sandbox, customer: str, name: str) -> bool:
    autumn = box.autumn.customers[customer]
    return bool(autumn["name"] == name == box.stripe.customers[autumn["stripe_id"]]["name"])


async def end_of(running: Running) -> int:
    async with asyncio.timeout(30):
        return await running.process.wait()


@pytest.mark.parametrize("tries", [0, 40])
async def test_worker_survives_in_place_while_redis_restarts_or_is_away(box: Sandbox, tries: int) -> None:
    seed(box, "ann", "bob")
    async with worker(box.environment) as running:
        await send_change(box, "ann", "Before")
        await wait_until(lambda: has_name(box, "ann", "Before"))
        box.redis.stop()
        async with hanging_up(box.redis.port) as so_far:
            await so_far.reaches(tries)
        box.redis.start()
        await send_change(box, "bob", "After")
        await wait_until(lambda: has_name(box, "bob", "After"))
        assert running.process.returncode is None


async def test_killed_redis_loses_no_accepted_change(box: Sandbox) -> None:
    customers = [f"user_{index}" for index in range(20)]
    seed(box, *customers)
    box.autumn.switches.latency_seconds = 0.1
    async with worker(box.environment) as running:
        for customer in customers:
            await send_change(box, customer, "Name")
        await wait_until(lambda: has_name(box, customers[0], "Name"))
        box.redis.kill()
        box.redis.start()
        for customer in customers:
            await wait_until(partial(has_name, box, customer, "Name"))
        assert running.process.returncode is None


async def test_worker_clock_behind_redis_causes_no_delay(box: Sandbox, tmp_path: Path) -> None:
    behind = "import time\nright = time.time\ntime.time = lambda: right() - 3600\n"
    (tmp_path / "sitecustomize.py").write_text(behind)
    seed(box, "ann")
    async with worker(box.environment | {"PYTHONPATH": str(tmp_path)}):
        await send_change(box, "ann", "Name")
        await wait_until(lambda: has_name(box, "ann", "Name"))


async def test_read_only_redis_ends_the_worker_with_75(box: Sandbox) -> None:
    async with worker(box.environment) as running, Redis.from_url(box.environment["REDIS_URL"]) as redis:
        while not await redis.exists("customer-sync:queue:health-check"):
            await redis.ping()  # arq writes its health key in the first run, and would exit if it could not
        await redis.replicaof("127.0.0.1", "1")
        assert await end_of(running) == 75
    assert any("redis_write_refused" in line for line in running.log)


async def test_redis_that_may_evict_is_refused(box: Sandbox) -> None:
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        await redis.config_set("maxmemory", "100mb")
        await redis.config_set("maxmemory-policy", "allkeys-lru")
    code, output = await ended(box.environment, *command_of("worker"))
    assert code == 78
    assert "maxmemory-policy is allkeys-lru: set it to noeviction" in output
    assert "Traceback" not in output


async def test_redis_without_aof_causes_a_warning(box: Sandbox) -> None:
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        await redis.config_set("appendonly", "no")
    async with worker(box.environment) as running:
        assert any("redis_risk_found" in line and "appendonly is off" in line for line in running.log)


async def test_wrong_key_halts_until_the_right_key_is_set(box: Sandbox) -> None:
    seed(box, "ann", "bob")
    async with worker(box.environment | {"AUTUMN_SECRET_KEY": "am_sk_test_wrong"}) as running:
        events = [await send_change(box, customer, "Name") for customer in ("ann", "bob")]
        await running.says("invalid_secret_key")
        status = await _status(box)
        assert "Syncs have been halted since" in status
        assert "autumn invalid_secret_key" in status
        assert "AUTUMN_SECRET_KEY" in status
        assert "am_sk_test_wrong" not in status + "".join(running.log)
        running.process.send_signal(signal.SIGTERM)
        assert await end_of(running) == 0
    async with worker(box.environment), Redis.from_url(box.environment["REDIS_URL"]) as redis:
        await make_due(redis)
        for event in events:
            outcome = await outcome_of(redis, event, wait_seconds=60)
            assert outcome is not None
            assert outcome.status == "applied"
        assert await read_dead(redis, PREFIX) == []
    assert "halt" not in await _status(box)


async def _status(box: Sandbox) -> str:
    code, output = await ended(box.environment, "customer-sync", "status")
    assert code == 0
    return output


async def test_worker_paused_past_its_lease_neither_writes_nor_settles(box: Sandbox) -> None:
    seed(box, "ann")
    box.environment["ECHO_CHECK_SECONDS"] = "3"
    async with worker(box.environment) as still:
        box.autumn.switches.latency_seconds = 1.0
        await send_change(box, "ann", "Old")
        await wait_until(lambda: _updating(box))
        os.kill(still.pid, signal.SIGSTOP)
        try:
            async with worker(box.environment):
                event = await send_change(box, "ann", "New")
                box.autumn.switches.clear()
                async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
                    assert await outcome_of(redis, event, wait_seconds=60)
                assert await has_name(box, "ann", "New")
                writes = len(box.stripe.calls)
                os.kill(still.pid, signal.SIGCONT)
                await still.says("lease_lost")
                await wait_until(lambda: _is_rechecked(box))
        finally:
            still.process.send_signal(signal.SIGCONT)
        assert still.process.returncode is None, "".join(still.log)
    assert await has_name(box, "ann", "New")
    assert [call for call in box.stripe.calls[writes:] if call.method == "POST"] == []


async def _updating(box: Sandbox) -> bool:
    return bool(box.autumn.max_parallel_updates)


async def _is_rechecked(box: Sandbox) -> bool:
    """Return whether the requested recheck was made."""
    return box.autumn.calls[-1].path == "/v1/customers.get"


async def test_stop_during_a_hanging_call_loses_nothing(box: Sandbox) -> None:
    seed(box, "ann")
    async with worker(box.environment) as running:
        box.autumn.switches.latency_seconds = 40.0
        await send_change(box, "ann", "Name")
        await wait_until(lambda: _leased(box))
        running.process.send_signal(signal.SIGTERM)
        # Before the service answers.
        assert await end_of(running) == 0
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        assert await redis.xlen(f"{PREFIX}:mailbox:ann") == 1


async def _leased(box: Sandbox) -> bool:
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        return bool(await redis.exists(f"{PREFIX}:lease:ann"))
