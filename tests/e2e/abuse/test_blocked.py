"""A blocked worker reports the cause within seconds: on /readyz, in status and in the doctor."""

import json
from collections.abc import AsyncIterator
from functools import partial

import pytest
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from sandbox.everything import Sandbox
from tests.conftest import INBOX, PREFIX
from tests.support.processes import command_of, ended, wait_until, worker
from tests.support.unlimited import unlimited_sandbox
from tests.support.watching import Watched, watched

CLI = ["customer-sync"]
LONGEST_SECONDS = 60.0


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with unlimited_sandbox() as everything:
        everything.autumn.seed("ann")
        yield everything


@pytest.fixture
async def redis(box: Sandbox) -> AsyncIterator[Redis]:
    async with Redis.from_url(box.redis.url) as client:
        yield client


async def set_user(redis: Redis, *rule: str) -> None:
    await redis.execute_command("ACL", "SETUSER", "app", *rule)  # type: ignore[no-untyped-call]  # of redis-py


async def reports(shown: Watched, text: str) -> bool:
    status, body = await shown.readiness()
    blocked = [reason["text"] for reason in body["reasons"] if reason["alert"] == "CustomerSyncBlocked"]
    return status == 503 and any(text in each for each in blocked)


async def is_well(shown: Watched) -> bool:
    return (await shown.readiness())[0] == 200


async def applied(redis: Redis, name: str) -> str | None:
    event = await send(redis, new_update(customer_id="ann", changes={"name": name}))
    outcome = await outcome_of(redis, event, wait_seconds=100)
    return None if outcome is None else outcome.status


@pytest.mark.parametrize(("key", "loop"), [(f"{PREFIX}:waiting", "dispatch"), (INBOX, "intake")])
async def test_wrong_key_turns_everything_red_and_is_named(box: Sandbox, redis: Redis, key: str, loop: str) -> None:
    async with watched(box.environment) as shown:
        await redis.delete(key)
        await redis.set(key, "wrong")
        await wait_until(partial(reports, shown, f"{key} holds a value of the wrong type"), seconds=LONGEST_SECONDS)
        await wait_until(partial(reports, shown, f"loop {loop} has failed"), seconds=LONGEST_SECONDS)
        code, output = await ended(box.environment, *CLI, "status", "--json")
        assert code == 0, output
        body = json.loads(output)
        assert body["verdict"] == "needs-a-person"
        assert key in body["sentence"]
        code, output = await ended(box.environment, *CLI, "doctor")
        assert code == 1
        assert f"{key} is a string and must be a" in output
        await redis.delete(key)
        await wait_until(partial(is_well, shown), seconds=LONGEST_SECONDS)
        assert await applied(redis, "Ann") == "applied"


async def test_user_that_lost_a_permission_turns_readyz_red(box: Sandbox, redis: Redis) -> None:
    await set_user(redis, "reset", "on", ">word", "~*", "+@all")
    url = box.redis.url.replace("redis://", "redis://app:word@")
    async with watched(box.environment | {"REDIS_URL": url}) as shown:
        await set_user(redis, "-xread")
        await wait_until(partial(reports, shown, "loop intake has failed"), seconds=LONGEST_SECONDS)
        await wait_until(partial(reports, shown, "NoPermissionError"), seconds=LONGEST_SECONDS)
        await set_user(redis, "+xread")
        await wait_until(partial(is_well, shown), seconds=LONGEST_SECONDS)


async def test_app_that_writes_to_our_keys_stops_nothing(box: Sandbox, redis: Redis) -> None:
    async with worker(box.environment):
        seconds, _ = await redis.time()
        for bucket in range(int(seconds // 43_200) - 3, int(seconds // 43_200) + 2):
            await redis.xadd(f"{PREFIX}:events:{bucket}", {"by": "an app"})
        assert await applied(redis, "Ann") == "applied"


@pytest.mark.parametrize(
    "inbox", ["customer-sync:dead", "customer-sync-outcomes", "customer-sync:queue", "customer-sync:x", "arq:queue"]
)
async def test_inbox_that_is_a_key_of_the_worker_is_refused(box: Sandbox, redis: Redis, inbox: str) -> None:
    await redis.xadd("customer-sync:dead", {"reason": "invalid_event"})
    for process in ("worker", "scanner"):
        words = ["arq", f"worker.main.{'Worker' if process == 'worker' else 'ScanWorker'}Settings"]
        code, output = await ended(box.environment | {"INBOX_STREAM": inbox}, *words)
        assert code == 78
        assert f"INBOX_STREAM: {inbox} is one of the worker's own keys" in output
    code, output = await ended(box.environment | {"INBOX_STREAM": inbox}, *CLI, "send", "ann")
    assert code == 78
    assert await redis.xlen("customer-sync:dead") == 1


async def test_inbox_that_is_not_a_stream_is_refused(box: Sandbox, redis: Redis) -> None:
    await redis.lpush("jobs-of-another-app", "x")  # type: ignore[misc]  # one type for both clients
    code, output = await ended(box.environment | {"INBOX_STREAM": "jobs-of-another-app"}, *command_of("worker"))
    assert code == 78
    assert "jobs-of-another-app is a list and must be a stream" in output
