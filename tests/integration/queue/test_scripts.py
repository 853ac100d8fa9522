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


async def admit(scripts: Scripts, place: str, token: str = "") -> int:
    """The microseconds to wait, or -1 while the only place is another's."""
    return int(await scripts.run("admit", [place], [token, int(bool(token)), 60_000, 1]))


async def test_what_is_asked_for_at_once_takes_one_round_trip(redis_server: EmbeddedRedis, redis: Redis) -> None:
    await redis.script_flush()
    async with counting(redis_server.port) as (url, waits), Redis.from_url(url) as client:
        scripts = Scripts(client, "admit", "leave")
        await asyncio.gather(admit(scripts, "a"), scripts.run("leave", ["a"], ["x"]))
        before = waits.count
        answers = await asyncio.gather(*(admit(scripts, f"place-{number}", "me") for number in range(50)))
        assert answers == [0] * 50
        assert waits.count - before == 1


async def test_each_is_answered_by_its_own_script(redis: Redis) -> None:
    scripts = Scripts(redis, "admit", "leave")
    # A script that Redis has to be told first comes after the others.
    await admit(scripts, "other")
    await scripts.run("leave", ["other"], [""])
    asked = [
        admit(scripts, "place", "ann"),
        admit(scripts, "place", "ben"),
        scripts.run("leave", ["place"], ["ann"]),
        admit(scripts, "place", "ben"),
    ]
    assert await asyncio.gather(*asked) == [0, -1, 1, 0]


async def test_a_redis_that_has_forgotten_the_scripts_is_told_them_again(redis: Redis) -> None:
    scripts = Scripts(redis, "admit")
    for _ in range(2):
        await redis.script_flush()
        assert await asyncio.gather(*(admit(scripts, place) for place in "ab")) == [0, 0]


async def test_the_failure_of_one_is_raised_to_its_caller_alone_without_what_was_sent(redis: Redis) -> None:
    scripts = Scripts(redis, "leave")
    await redis.set("text", "x")
    await redis.zadd("place", {"ann": 1})
    failing = asyncio.create_task(scripts.run("leave", ["text"], ["ann@example.com"]))
    following = asyncio.create_task(scripts.run("leave", ["place"], ["ann"]))
    assert await following == 1
    with pytest.raises(ResponseError) as failed:
        await failing
    assert "ann@example.com" not in str(failed.value)


async def test_who_is_cancelled_before_it_went_out_never_asked(redis: Redis) -> None:
    scripts = Scripts(redis, "leave")
    await redis.zadd("place", {"ann": 1, "ben": 1})
    impatient = asyncio.create_task(scripts.run("leave", ["place"], ["ann"]))
    patient = asyncio.create_task(scripts.run("leave", ["place"], ["ben"]))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == 1
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert await redis.zrange("place", 0, -1) == [b"ann"]


async def test_a_redis_that_is_away_fails_all_who_wait_and_none_who_come_later(tmp_path: Path) -> None:
    with embedded_redis(directory=tmp_path) as server:
        async with Redis.from_url(server.url, retry=Retry(NoBackoff(), 0)) as client:
            scripts = Scripts(client, "leave")
            await asyncio.to_thread(server.stop)
            ended = await asyncio.gather(
                *(scripts.run("leave", ["place"], ["ann"]) for _ in range(3)), return_exceptions=True
            )
            assert [type(each) for each in ended] == [RedisConnectionError] * 3
            await asyncio.to_thread(server.start)
            assert await scripts.run("leave", ["place"], ["ann"]) == 0


async def test_a_loop_that_cancels_all_that_runs_ends_also_those_who_still_ask_for_something(redis: Redis) -> None:
    scripts = Scripts(redis, "leave")
    await scripts.run("leave", ["place"], ["ann"])

    async def work() -> None:
        try:
            while True:
                await scripts.run("leave", ["place"], ["ann"])
        finally:
            await scripts.run("leave", ["place"], ["ben"])

    # Whether they ask before the sender has ended or after it is another one each time.
    for _ in range(20):
        working = [asyncio.create_task(work()) for _ in range(5)]
        await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        _, left = await asyncio.wait(working, timeout=5)
        assert not left
