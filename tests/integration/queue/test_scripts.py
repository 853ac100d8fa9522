"""Scripts that are asked for together travel together, and each caller gets its own answer."""

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
    """The microseconds to wait, or -1 while the only place is another's."""
    return int(await scripts.run("throttle", [slots], [token, int(bool(token)), 60_000, 1]))


async def test_what_is_asked_for_at_once_takes_one_round_trip(redis_server: EmbeddedRedis, redis: Redis) -> None:
    await redis.script_flush()
    async with counting(redis_server.port) as (url, waits), Redis.from_url(url) as client:
        scripts = Scripts(client, "throttle", "free_slot")
        await asyncio.gather(throttle(scripts, "a"), scripts.run("free_slot", ["a"], ["x"]))
        before = waits.count
        answers = await asyncio.gather(*(throttle(scripts, f"slots-{number}", "me") for number in range(50)))
        assert answers == [0] * 50
        assert waits.count - before == 1


async def test_each_is_answered_by_its_own_script(redis: Redis) -> None:
    scripts = Scripts(redis, "throttle", "free_slot")
    # A script that Redis has to be told first comes after the others.
    await throttle(scripts, "other")
    await scripts.run("free_slot", ["other"], [""])
    asked = [
        throttle(scripts, "slots", "ann"),
        throttle(scripts, "slots", "ben"),
        scripts.run("free_slot", ["slots"], ["ann"]),
        throttle(scripts, "slots", "ben"),
    ]
    assert await asyncio.gather(*asked) == [0, -1, 1, 0]


async def test_a_redis_that_has_forgotten_the_scripts_is_told_them_again(redis: Redis) -> None:
    scripts = Scripts(redis, "throttle")
    for _ in range(2):
        await redis.script_flush()
        assert await asyncio.gather(*(throttle(scripts, slots) for slots in "ab")) == [0, 0]


async def test_the_failure_of_one_is_raised_to_its_caller_alone_without_what_was_sent(redis: Redis) -> None:
    scripts = Scripts(redis, "free_slot")
    await redis.set("text", "x")
    await redis.zadd("slots", {"ann": 1})
    failing = asyncio.create_task(scripts.run("free_slot", ["text"], ["ann@example.com"]))
    following = asyncio.create_task(scripts.run("free_slot", ["slots"], ["ann"]))
    assert await following == 1
    with pytest.raises(ResponseError) as failed:
        await failing
    assert "ann@example.com" not in str(failed.value)


async def test_who_is_cancelled_before_it_went_out_never_asked(redis: Redis) -> None:
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


async def test_a_redis_that_is_away_fails_all_who_wait_and_none_who_come_later(tmp_path: Path) -> None:
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


async def test_a_loop_that_cancels_all_that_runs_ends_also_those_who_still_ask_for_something(redis: Redis) -> None:
    scripts = Scripts(redis, "free_slot")
    await scripts.run("free_slot", ["slots"], ["ann"])

    async def work() -> None:
        try:
            while True:
                await scripts.run("free_slot", ["slots"], ["ann"])
        finally:
            await scripts.run("free_slot", ["slots"], ["ben"])

    # Whether they ask before the sender has ended or after it is another one each time.
    for _ in range(20):
        working = [asyncio.create_task(work()) for _ in range(5)]
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        _, left = await asyncio.wait(working, timeout=5)
        assert not left
