"""Signals that end a process at once unless it handles them: SIGHUP of a closed terminal and SIGQUIT of Ctrl-\\."""

import asyncio
import signal
import sys

import pytest
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from tests.conftest import PREFIX
from tests.support.busy import assert_untroubled, attacked_box
from tests.support.processes import command_of, wait_until, worker

STOP_SECONDS = 25
WITH_DEFAULTS = (
    "import os, signal, sys\n"
    "for number in (signal.SIGHUP, signal.SIGQUIT): signal.signal(number, signal.SIG_DFL)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


def as_a_platform(process_type: str) -> list[str]:
    """Return the command of a process type with default signal handling, even if the tests run under nohup."""
    return [sys.executable, "-Sc", WITH_DEFAULTS, *command_of(process_type)]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
async def test_worker_finishes_its_sync_before_it_stops(number: signal.Signals) -> None:
    async with attacked_box() as box, Redis.from_url(box.environment["REDIS_URL"]) as redis:
        async with worker(box.environment, command=as_a_platform("worker")) as running:
            box.autumn.switches.latency_seconds = 0.5
            event = await send(redis, new_update(customer_id="user_1", changes={"name": "Ann"}))

            async def holds_a_lease() -> bool:
                return bool(await redis.exists(f"{PREFIX}:lease:user_1"))

            await wait_until(holds_a_lease)
            running.process.send_signal(number)
            assert await asyncio.wait_for(running.process.wait(), STOP_SECONDS) == 0
        outcome = await outcome_of(redis, event)
        assert outcome is not None
        assert outcome.status == "applied"
        assert not await redis.exists(f"{PREFIX}:lease:user_1")
        assert any('"process_stopped"' in line for line in running.log)
        assert_untroubled(running.log)


async def test_scanner_stops_in_order() -> None:
    async with attacked_box() as box:
        async with worker(box.environment, command=as_a_platform("scanner")) as running:
            running.process.send_signal(signal.SIGHUP)
            assert await asyncio.wait_for(running.process.wait(), STOP_SECONDS) == 0
        assert any('"process_stopped"' in line for line in running.log)
        assert_untroubled(running.log)


async def test_worker_waiting_for_redis_stops_in_order() -> None:
    async with attacked_box() as box:
        box.redis.stop()
        async with worker(box.environment, command=as_a_platform("worker"), ready="redis_awaited") as running:
            running.process.send_signal(signal.SIGQUIT)
            assert await asyncio.wait_for(running.process.wait(), STOP_SECONDS) == 0
        assert_untroubled(running.log)


async def test_hangup_is_ignored_under_nohup() -> None:
    nohup = ["sh", "-c", "trap '' HUP; exec arq worker.main.WorkerSettings"]
    async with attacked_box() as box, worker(box.environment, command=nohup) as running:
        running.process.send_signal(signal.SIGHUP)
        async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
            event = await send(redis, new_update(customer_id="user_1", changes={"name": "Ann"}))
            outcome = await outcome_of(redis, event, wait_seconds=100)
        assert outcome is not None
        assert outcome.status == "applied"
        assert running.process.returncode is None
