"""Failures of a real Redis while the TypeScript client sends events: what is stored, and what the error says."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from sandbox.redis import EmbeddedRedis, embedded_redis
from tests.conftest import INBOX
from tests.e2e.clients.typescript.test_send import NODE_REDIS, opened
from tests.support.node import NodeApp

EVENTS = 1000
EVENT_BYTES = 4000
LAST_ID_BUT_TWO = "18446744073709551615-18446744073709551613"
NOTHING_STORED = "nothing was stored"
MAY_BE_STORED = "may have been stored"
WORD = "a-password"


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    with embedded_redis() as redis:
        yield redis


def sending(count: int, *, extra_bytes: int = 0) -> str:
    """Return a script that sends many events and prints the error."""
    return f"""
        redis.on("error", () => {{}});
        const events = Array.from({{ length: {count} }}, (_, at) => ({{
          customer_id: "user_42", changes: {{ name: `${{at}}`, metadata: {{ text: "x".repeat({extra_bytes}) }} }},
        }}));
        const error = await client.sendMany(events).catch((thrown) => thrown);
        const {{ code, message }} = error;
        // It comes after every command that node-redis repeats.
        await redis.ping();
        console.log(JSON.stringify({{ code, message }}));
        await close();
    """


async def stored(redis: Redis) -> list[str]:
    """Return the names in the stored events, in order."""
    return [json.loads(fields[b"changes"])["name"] for _, fields in await redis.xrange(INBOX)]


def names(count: int) -> list[str]:
    return [str(at) for at in range(count)]


@asynccontextmanager
async def cutting(server: EmbeddedRedis, after_bytes: int) -> AsyncIterator[str]:
    """Yield the URL of a proxy that ends its first connection after so many bytes to Redis."""
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        left = after_bytes if connections == 1 else None
        to_redis = await asyncio.open_connection("127.0.0.1", server.port)
        answers = asyncio.create_task(pass_on(to_redis[0], writer))
        with suppress(ConnectionError):
            await pass_on(reader, to_redis[1], left)
            # Redis executes what it has before it sees the end.
            to_redis[1].write_eof()
            await answers
        answers.cancel()
        for each in (writer, to_redis[1]):
            each.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as proxy:
        yield f"redis://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, at_most: int | None = None) -> None:
    with suppress(ConnectionError):
        while at_most != 0 and (received := await reader.read(65536)):
            passed = received[:at_most]
            at_most = None if at_most is None else at_most - len(passed)
            writer.write(passed)
            await writer.drain()


@pytest.mark.parametrize("version", NODE_REDIS)
async def test_redis_that_becomes_full_stores_no_event(node_app: NodeApp, server: EmbeddedRedis, version: str) -> None:
    script = opened(node_app, version) + sending(EVENTS, extra_bytes=EVENT_BYTES)
    async with Redis.from_url(server.url) as redis:
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", used + EVENTS * EVENT_BYTES // 2)
        error = await node_app.result_of(script, REDIS_URL=server.url)
        assert await stored(redis) == []
        assert (error["code"], NOTHING_STORED in error["message"]) == ("redis_unavailable", True)
        await redis.config_set("maxmemory", 0)
        assert await node_app.result_of(script, REDIS_URL=server.url) == {}
        assert await stored(redis) == names(EVENTS)


@pytest.mark.parametrize("version", NODE_REDIS)
async def test_lost_connection_stores_no_part_of_many_events(
    node_app: NodeApp, server: EmbeddedRedis, version: str
) -> None:
    script = opened(node_app, version) + sending(EVENTS, extra_bytes=EVENT_BYTES)
    async with cutting(server, after_bytes=EVENTS * EVENT_BYTES // 2) as url, Redis.from_url(server.url) as redis:
        error = await node_app.result_of(script, REDIS_URL=url)
        assert await stored(redis) == []
    assert (error["code"], MAY_BE_STORED in error["message"]) == ("redis_unavailable", True)


@pytest.mark.parametrize("version", NODE_REDIS)
async def test_error_counts_the_events_that_redis_stored(
    node_app: NodeApp, server: EmbeddedRedis, version: str
) -> None:
    script = opened(node_app, version) + sending(3)
    async with Redis.from_url(server.url) as redis:
        await redis.xadd(INBOX, {"changes": '{"name": "before"}'}, LAST_ID_BUT_TWO)
        error = await node_app.result_of(script, REDIS_URL=server.url)
        assert await stored(redis) == ["before", "0", "1"]
        assert "stored only 2 of 3 events" in error["message"]
        error = await node_app.result_of(script, REDIS_URL=server.url)
        assert await redis.xlen(INBOX) == 3
    assert (error["code"], NOTHING_STORED in error["message"]) == ("redis_unavailable", True)


@pytest.mark.parametrize("version", NODE_REDIS)
@pytest.mark.parametrize(
    ("commands", "count", "text", "entries"),
    [
        (["+multi", "+exec"], 2, NOTHING_STORED, 0),
        (["+xadd", "+multi"], 2, NOTHING_STORED, 0),
        # Without a transaction, Redis adds each event by itself.
        (["+xadd", "+exec"], 2, MAY_BE_STORED, 2),
        (["+multi", "+exec"], 1, NOTHING_STORED, 0),
    ],
    ids=["no xadd", "no exec", "no multi", "no xadd for one event"],
)
async def test_error_for_refused_user_says_what_is_stored(
    node_app: NodeApp, server: EmbeddedRedis, version: str, commands: list[str], count: int, text: str, entries: int
) -> None:
    script = opened(node_app, version) + sending(count)
    async with Redis.from_url(server.url) as redis:
        await redis.execute_command("ACL", "SETUSER", "app", "on", f">{WORD}", "~*", "+ping", *commands)
        url = server.url.replace("://", f"://app:{WORD}@")
        error = await node_app.result_of(script, REDIS_URL=url)
        assert await redis.xlen(INBOX) == entries
    assert (error["code"], text in error["message"]) == ("redis_unavailable", True)


async def test_one_event_needs_no_transaction(node_app: NodeApp, server: EmbeddedRedis) -> None:
    script = opened(node_app, "redis") + sending(1)
    async with Redis.from_url(server.url) as redis:
        await redis.execute_command("ACL", "SETUSER", "app", "on", f">{WORD}", "~*", "+ping", "+xadd")
        url = server.url.replace("://", f"://app:{WORD}@")
        result: Any = await node_app.result_of(script, REDIS_URL=url)
        assert await stored(redis) == ["0"]
    assert result == {}
