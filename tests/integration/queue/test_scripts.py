"""Concurrent calls of scripts share a round trip, and each caller gets its own answer."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from jobs.queue.scripts import Scripts
from sandbox.redis import EmbeddedRedis, embedded_redis
from tests.benchmarks.proxy import counting


async def throttle(scripts: Scripts, slots: str, token: str = "") -> int:
    """Return the microseconds to wait, or -1 while another token holds the only slot."""
    return int(await scripts.run("throttle", [slots], [token, int(bool(token)), 60_000, 1]))


async def test_concurrent_calls_share_one_round_trip(redis_server: EmbeddedRedis, redis: Redis) -> None:
    await redis.script_flush()
    async with counting(redis_server.port) as (url, waits), Redis.from_url(url) as client:
        scripts = Scripts(client, "throttle", "free_slot")
        await asyncio.gather(throttle(scripts, "a"), scripts.run("free_slot", ["a"], ["x"]))
        before = waits.count
        answers = await asyncio.gather(*(throttle(scripts, f"slots-{number}", "me") for number in range(50)))
        assert answers == [0] * 50
        assert waits.count - before == 1


async def test_each_call_gets_answer_of_its_script(redis: Redis) -> None:
    scripts = Scripts(redis, "throttle", "free_slot")
    # Load both scripts first: a script that Redis does not know runs after the others.
    await throttle(scripts, "other")
    await scripts.run("free_slot", ["other"], [""])
    calls = [
        throttle(scripts, "slots", "ann"),
        throttle(scripts, "slots", "ben"),
        scripts.run("free_slot", ["slots"], ["ann"]),
        throttle(scripts, "slots", "ben"),
    ]
    assert await asyncio.gather(*calls) == [0, -1, 1, 0]


async def test_forgotten_scripts_are_loaded_again(redis: Redis) -> None:
    scripts = Scripts(redis, "throttle")
    for _ in range(2):
        await redis.script_flush()
        assert await asyncio.gather(*(throttle(scripts, slots) for slots in "ab")) == [0, 0]


async def test_failure_is_raised_only_to_its_caller_without_arguments(redis: Redis) -> None:
    scripts = Scripts(redis, "free_slot")
    await redis.set("text", "x")
    await redis.zadd("slots", {"ann": 1})
    failing = asyncio.create_task(scripts.run("free_slot", ["text"], ["ann@example.com"]))
    following = asyncio.create_task(scripts.run("free_slot", ["slots"], ["ann"]))
    assert await following == 1
    with pytest.raises(ResponseError) as failed:
        await failing
    assert "ann@example.com" not in str(failed.value)


async def test_call_cancelled_before_sending_is_never_sent(redis: Redis) -> None:
    scripts = Scripts(redis, "free_slot")
    await redis.zadd("slots", {"ann": 1, "ben": 1})
    impatient = asyncio.create_task(scripts.run("free_slot", ["slots"], ["ann"]))
    patient = asyncio.create_task(scripts.run("free_slot", ["slots"], ["ben"]))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == 1
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert await redis.zrange("slots", 0, -1) == [b"ann"]


async def test_lost_connection_fails_pending_calls_but_not_later_ones(tmp_path: Path) -> None:
    with embedded_redis(directory=tmp_path) as server:
        async with Redis.from_url(server.url, retry=Retry(NoBackoff(), 0)) as client:
            scripts = Scripts(client, "free_slot")
            await asyncio.to_thread(server.stop)
            ended = await asyncio.gather(
                *(scripts.run("free_slot", ["slots"], ["ann"]) for _ in range(3)), return_exceptions=True
            )
            assert [type(each) for each in ended] == [RedisConnectionError] * 3
            await asyncio.to_thread(server.start)
            assert await scripts.run("free_slot", ["slots"], ["ann"]) == 0


async def test_cancelling_all_tasks_also_ends_their_pending_calls(redis: Redis) -> None:
    scripts = Scripts(redis, "free_slot")
    await scripts.run("free_slot", ["slots"], ["ann"])

    async def work() -> None:
        try:
            while True:
                await scripts.run("free_slot", ["slots"], ["ann"])
        finally:
            await scripts.run("free_slot", ["slots"], ["ben"])

    # The order of the calls and of the end of the sender differs from run to run, so repeat it.
    for _ in range(20):
        working = [asyncio.create_task(work()) for _ in range(5)]
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        _, left = await asyncio.wait(working, timeout=60)
        assert not left
