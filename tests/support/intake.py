"""The routes of worker.web.api.events on a real port, for apps that send over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from pydantic import SecretStr
from redis.asyncio import Redis

from jobs.inbox import BURST, EVENTS_PER_SECOND, READS_PER_SECOND, Inbox
from tests.conftest import INBOX, PREFIX
from tests.support.processes import free_port, wait_until
from worker.loops.heartbeat import Heartbeat
from worker.status.shared_state import SharedState
from worker.telemetry.metrics import Metrics
from worker.web.api.events import PATH, intake_of
from worker.web.server import make_app, serving

SHOP, SHOP_NEXT, CRM = "shop-token-0123456789", "shop-token-next-012345", "crm-token-0123456789"
HGETS_OF_A_SEARCH = 3
TOKENS = (f"shop:{SHOP}", f"shop:{SHOP_NEXT}", f"crm:{CRM}")


@dataclass(frozen=True)
class Answer:
    """One answer of the port."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Port:
    """The served routes."""

    url: str
    http: aiohttp.ClientSession

    async def post(self, events: Any, *, token: str | None = SHOP, raw: bytes | None = None) -> Answer:
        """Send events, or the `raw` body."""
        body = json.dumps(events).encode() if raw is None else raw
        async with self.http.post(self.url + PATH, data=body, headers=bearer(token)) as answer:
            return await _read(answer)

    async def get(self, path: str, *, token: str | None = SHOP, **query: str) -> Answer:
        """Read a path, such as `/v1/events/signup-42`."""
        async with self.http.get(self.url + path, headers=bearer(token), params=query) as answer:
            return await _read(answer)

    async def outcome(self, event_id: str, **query: str) -> Answer:
        """Read what became of an event."""
        return await self.get(f"{PATH}/{event_id}", **query)


async def is_read_again(redis: Redis) -> bool:
    """Return whether a waiting request has read the outcome after its first search, since the last CONFIG RESETSTAT."""
    calls = await redis.info("commandstats")
    # Outside of a script, one read asks for four half days. The search of a script asks for up to three.
    return int(calls.get("cmdstat_hget", {}).get("calls", 0)) > HGETS_OF_A_SEARCH


def bearer(token: str | None) -> dict[str, str]:
    """Return the headers of a request with this token."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


async def _read(answer: aiohttp.ClientResponse) -> Answer:
    is_json = answer.content_type == "application/json"
    return Answer(answer.status, answer.headers, await (answer.json() if is_json else answer.text()))


async def no_state() -> SharedState | None:
    """Return no state of the workers, so that /readyz is not part of a test."""
    return None


@asynccontextmanager
async def intake_port(
    redis: Redis,
    tokens: Sequence[str] = TOKENS,
    *,
    may_add: bool = True,
    events_per_second: int = EVENTS_PER_SECOND,
    burst: int = BURST,
    reads_per_second: int = READS_PER_SECOND,
) -> AsyncIterator[Port]:
    """Serve the routes as a worker does, with its limits of connections and bodies."""
    is_owner = asyncio.Event()
    if may_add:
        is_owner.set()
    inbox = Inbox(
        redis,
        inbox=INBOX,
        prefix=PREFIX,
        events_per_second=events_per_second,
        burst=burst,
        reads_per_second=reads_per_second,
    )
    intake = intake_of([SecretStr(token) for token in tokens], inbox, is_owner)
    metrics, port = Metrics(), free_port()
    app = make_app(Heartbeat(metrics.lagged), no_state, metrics, add_more=intake)
    connector = aiohttp.TCPConnector(force_close=True)
    async with serving(app, port), aiohttp.ClientSession(connector=connector) as http:
        one = Port(f"http://127.0.0.1:{port}", http)

        async def answers() -> bool:
            try:
                return (await one.get("/v1/openapi.json")).status == 200
            except aiohttp.ClientError:
                return False

        await wait_until(answers, what="the port")
        yield one


@asynccontextmanager
async def intake(redis_url: str) -> AsyncIterator[str]:
    """Serve the routes on this Redis, and yield the base URL. `SHOP` is a token."""
    async with Redis.from_url(redis_url) as redis, intake_port(redis) as port:
        yield port.url
