"""The four clients: sync and async, over Redis and over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis

from autumn_sync_client import AsyncClient, Client, Outcome, Update
from sandbox.redis import EmbeddedRedis
from tests.support.intake import SHOP, intake


@dataclass(frozen=True)
class Threaded:
    """A sync client that is used in another thread, so that a test awaits both kinds."""

    client: Client

    async def send(self, update: Update) -> str:
        return await asyncio.to_thread(self.client.send, update)

    async def send_many(self, updates: Iterable[Update]) -> list[str]:
        return await asyncio.to_thread(self.client.send_many, updates)

    async def outcome(self, event_id: str, *, wait_seconds: float = 0.0) -> Outcome | None:
        return await asyncio.to_thread(self.client.outcome, event_id, wait_seconds=wait_seconds)


AnyClient = Threaded | AsyncClient


@asynccontextmanager
async def over_redis(kind: str, url: str) -> AsyncIterator[AnyClient]:
    """Open a client of a kind over Redis."""
    if kind == "sync":
        with Client.over_redis(url) as client:
            yield Threaded(client)
    else:
        async with AsyncClient.over_redis(url) as client:
            yield client


@asynccontextmanager
async def over_http(kind: str, url: str, token: str = SHOP) -> AsyncIterator[AnyClient]:
    """Open a client of a kind over HTTP."""
    if kind == "sync":
        with Client.over_http(url, token) as client:
            yield Threaded(client)
    else:
        async with AsyncClient.over_http(url, token) as client:
            yield client


@pytest.fixture(params=["sync over redis", "async over redis", "sync over http", "async over http"])
async def client(request: pytest.FixtureRequest, redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[AnyClient]:
    """Each of the four clients of an empty Redis."""
    assert await redis.dbsize() == 0
    kind, _, way = request.param.split()
    if way == "redis":
        async with over_redis(kind, redis_server.url) as opened:
            yield opened
    else:
        async with intake(redis_server.url) as url, over_http(kind, url) as opened:
            yield opened
