"""The clients when a service is down, refuses, or gives another answer."""

import json
from pathlib import Path

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from autumn_sync_client import AsyncClient, Client, RateLimited, Unauthorized, Unavailable, UnexpectedAnswer
from jobs.events import read_entry
from sandbox.redis import EmbeddedRedis, embedded_redis
from tests.conftest import INBOX
from tests.integration.clients.conftest import Threaded, over_http, over_redis
from tests.support.intake import intake
from tests.support.processes import free_port, hanging_up
from tests.support.scripted import Answer, scripted

ANN = {"customer_id": "ann", "changes": {"name": "Secret Name"}}
LATER = (503, {"error": "redis_unavailable"}, {"Retry-After": "0"})
BOTH = pytest.mark.parametrize("kind", ["sync", "async"])


@BOTH
async def test_request_that_is_refused_for_now_is_repeated_unchanged(kind: str) -> None:
    taken: Answer = (202, {"ids": ["e1"]}, {})
    limited = (429, {"error": "rate_limited"}, {"Retry-After": "0"})
    async with scripted(LATER, limited, taken) as server, over_http(kind, server.url) as client:
        assert await client.send(ANN) == "e1"
    assert len(server.bodies) == 3
    assert len(set(server.bodies)) == 1
    assert json.loads(server.bodies[0])[0]["event_id"]


@BOTH
async def test_limit_with_a_longer_pause_is_raised_at_once(kind: str) -> None:
    limited = (429, {"error": "rate_limited", "message": "Slow down."}, {"Retry-After": "60"})
    async with scripted(limited) as server, over_http(kind, server.url) as client:
        with pytest.raises(RateLimited, match=r"rate_limited: Slow down\.") as raised:
            await client.send(ANN)
    assert raised.value.retry_after == 60


@BOTH
async def test_another_answer_is_raised_at_once(kind: str) -> None:
    page = "<h1>Not here</h1>"
    answers = [(404, page, {}), (200, page, {}), (302, page, {"Location": "/"})]
    async with scripted(*answers) as server, over_http(kind, server.url) as client:
        for _ in answers:
            with pytest.raises(UnexpectedAnswer) as raised:
                await client.send(ANN)
            assert "Not here" not in str(raised.value)


@BOTH
async def test_silent_service_is_tried_three_times(kind: str) -> None:
    port = free_port()
    async with hanging_up(port) as silent:
        async with over_http(kind, f"http://127.0.0.1:{port}") as client:
            with pytest.raises(Unavailable, match="does not answer"):
                await client.send(ANN)
        assert silent.connections == 3
        async with over_redis(kind, f"redis://127.0.0.1:{port}/0") as client:
            with pytest.raises(Unavailable, match="does not answer"):
                await client.send(ANN)
        assert silent.connections >= 6


@BOTH
async def test_wrong_token_and_password_are_refused(kind: str, redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with intake(redis_server.url) as url, over_http(kind, url, "another-token") as client:
        with pytest.raises(Unauthorized) as refused:
            await client.send(ANN)
        assert "another-token" not in str(refused.value)
        with pytest.raises(Unauthorized):
            await client.outcome("e1")
    await redis.acl_setuser("app", enabled=True, passwords=["+right"], keys=[INBOX], commands=["+xadd"])
    for password, call in (("wrong-password", "send"), ("right", "outcome")):
        url = redis_server.url.replace("redis://", f"redis://app:{password}@")
        async with over_redis(kind, url) as client:
            with pytest.raises(Unauthorized) as refused:
                await (client.send(ANN) if call == "send" else client.outcome("e1"))
            assert password not in str(refused.value).split()


@BOTH
async def test_full_redis_accepts_none_of_several_events(kind: str, redis: Redis, redis_server: EmbeddedRedis) -> None:
    await redis.config_set("maxmemory", "1")
    try:
        async with over_redis(kind, redis_server.url) as client:
            with pytest.raises(Unavailable, match="takes no writes now") as raised:
                await client.send_many([ANN, ANN])
            with pytest.raises(Unavailable):
                await client.send(ANN)
    finally:
        await redis.config_set("maxmemory", "0")
    assert "Secret" not in str(raised.value)
    assert raised.value.__context__ is None
    assert await redis.xlen(INBOX) == 0


@BOTH
async def test_connection_that_was_lost_is_opened_again(kind: str, tmp_path: Path) -> None:
    with embedded_redis(directory=tmp_path) as server:
        async with over_redis(kind, server.url) as client:
            first = await client.send(ANN)
            server.restart()
            second = await client.send(ANN)
        async with Redis.from_url(server.url) as redis:
            assert [read_entry(fields).event_id for _, fields in await redis.xrange(INBOX)] == [first, second]


@BOTH
async def test_key_of_the_wrong_type_is_named_by_its_code(kind: str, redis: Redis, redis_server: EmbeddedRedis) -> None:
    await redis.set(INBOX, "text")
    async with over_redis(kind, redis_server.url) as client:
        for updates in ([ANN], [ANN, ANN]):
            with pytest.raises(UnexpectedAnswer, match="WRONGTYPE"):
                await client.send_many(updates)


async def test_given_client_of_redis_is_used_and_stays_open(redis: Redis, redis_server: EmbeddedRedis) -> None:
    with SyncRedis.from_url(redis_server.url, decode_responses=True) as theirs:
        with Client.over_redis(theirs, stream="another", prefix="other") as client:
            assert await Threaded(client).outcome(await Threaded(client).send(ANN)) is None
        assert theirs.ping()
    async with AsyncClient.over_redis(redis, stream="another", prefix="other") as client:
        await client.send_many([ANN, ANN])
    assert await redis.xlen("another") == 3
