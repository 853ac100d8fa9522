"""The environment of a benchmark part: its own Redis, both services in one process, and workers."""

import asyncio
import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

import aiohttp
from redis.asyncio import Redis

from sandbox.redis import EmbeddedRedis, embedded_redis
from tests.benchmarks.processes import CHECK_SECONDS, ROOT, Launcher, Program
from tests.benchmarks.services import Options

INBOX: Final = "customer-updates"
PREFIX: Final = "customer-sync"
TOTALS: Final = f"{PREFIX}:totals"
DONE_SECONDS: Final = 1800.0
ADDED_AT_A_TIME: Final = 1000
OWN_NAME: Final = "benchmark"
NO_LIMITS: Final = {
    "AUTUMN_UPDATES_PER_SECOND": "1000",
    "AUTUMN_MAX_IN_FLIGHT": "100",
    "STRIPE_REQUESTS_PER_SECOND": "10000",
    "STRIPE_ENDPOINT_REQUESTS_PER_SECOND": "10000",
}
"""The largest numbers that the settings accept, more than one machine can do."""

Event = Mapping[str, str]


class Form(StrEnum):
    """The size of a run. `check` only proves that every part works: its figures mean nothing."""

    FULL = "full"
    QUICK = "quick"
    CHECK = "check"


@dataclass(frozen=True)
class Bench:
    """The launcher of the processes, and the size of the run."""

    launcher: Launcher
    form: Form

    def size(self, full: int, quick: int, check: int) -> int:
        """Return the number for this form."""
        return {Form.FULL: full, Form.QUICK: quick, Form.CHECK: check}[self.form]


@dataclass(frozen=True)
class Stage:
    """The Redis, services and launcher of one part."""

    launcher: Launcher
    server: EmbeddedRedis
    redis: Redis
    addresses: Mapping[str, str]
    control: aiohttp.ClientSession

    def environment(self, *, live: bool = False, redis_url: str = "") -> dict[str, str]:
        """Return the environment variables of a worker. Limits have their defaults."""
        mode = "live" if live else "test"
        return {
            "REDIS_URL": redis_url or self.server.url,
            "AUTUMN_API_URL": self.addresses["autumn"],
            "AUTUMN_SECRET_KEY": f"am_sk_{mode}_benchmark",
            "STRIPE_API_BASE": self.addresses["stripe"],
            "STRIPE_API_KEY": f"sk_{mode}_benchmark",
        }

    async def begin(self, options: Options) -> None:
        """Reset the services."""
        async with self.control.post(self.addresses["control"], json=asdict(options)) as answer:
            answer.raise_for_status()

    async def counts(self) -> dict[str, Any]:
        """Return the counts of the services."""
        async with self.control.get(self.addresses["control"]) as answer:
            counts: dict[str, Any] = await answer.json()
        return counts

    async def add(self, events: Sequence[Event]) -> None:
        """Add events to the inbox, many at a time."""
        for first in range(0, len(events), ADDED_AT_A_TIME):
            async with self.redis.pipeline(transaction=False) as pipe:
                for event in events[first : first + ADDED_AT_A_TIME]:
                    pipe.xadd(INBOX, dict(event.items()))
                await pipe.execute()

    async def applied(self) -> int:
        """Return the number of events applied since the beginning."""
        return int(await self.redis.hget(TOTALS, "applied") or 0)  # type: ignore[misc]  # redis-py's two clients

    async def all_applied(self, count: int) -> None:
        """Wait until `count` events have been applied since the beginning. Raises TimeoutError."""

        async def are() -> bool:
            return await self.applied() >= count

        await wait_until(are)

    @asynccontextmanager
    async def worker(self, environment: Mapping[str, str], settings: str = "") -> AsyncIterator[Program]:
        """Run a worker as the Procfile starts it, or with other arq settings, and yield it when it is ready."""
        async with self.launcher.started(worker_command(settings), environment) as program:
            await program.says('"process_started"')
            yield program


@dataclass
class Sent:
    """The number of commands that clients have sent to Redis, without those within scripts and the benchmark's own."""

    number: int = 0


@asynccontextmanager
async def sent_commands(stage: Stage) -> AsyncIterator[Sent]:
    """Count the commands of the workers during the block. The number is set at its end."""
    sent, by = Sent(), Counter[str]()
    async with stage.redis.monitor() as monitor, asyncio.TaskGroup() as group:

        async def count() -> None:
            async for each in monitor.listen():
                by[f"{each['client_address']}:{each['client_port']}"] += each["client_type"] != "lua"

        counting = group.create_task(count())
        yield sent
        counting.cancel()
    own = {client["addr"] for client in await stage.redis.client_list() if client["name"] == OWN_NAME}
    sent.number = sum(number for address, number in by.items() if address not in own)


async def wait_until(holds: Callable[[], Awaitable[bool]], seconds: float = DONE_SECONDS) -> None:
    """Check until `holds` is true. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not await holds():
        if time.monotonic() > deadline:
            raise TimeoutError("the benchmark waited too long for a condition")
        await asyncio.sleep(CHECK_SECONDS)


def worker_command(settings: str = "") -> list[str]:
    """Return the Procfile's command line of a worker, with other arq settings if they are given."""
    for line in (ROOT / "Procfile").read_text(encoding="utf-8").splitlines():
        name, _, command = line.partition(":")
        if name == "worker":
            parts = shlex.split(command)
            return [*parts[:-1], settings] if settings else parts
    raise LookupError("the Procfile has no worker")


@asynccontextmanager
async def staged(bench: Bench) -> AsyncIterator[Stage]:
    """Open a stage for one part."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(embedded_redis())
        redis = await stack.enter_async_context(Redis.from_url(server.url, client_name=OWN_NAME))
        command = [sys.executable, "-m", "tests.benchmarks.services"]
        services = await stack.enter_async_context(bench.launcher.started(command, {}))
        await services.says("}\n")
        control = await stack.enter_async_context(aiohttp.ClientSession())
        yield Stage(bench.launcher, server, redis, json.loads(services.log.read_text()), control)


def change(customer_id: str, number: int, *, receipts: bool = True) -> Event:
    """An event as apps send them: three of four change metadata, the fourth turns the receipts on or off."""
    plan = {"metadata": {"plan": f"pro-{number}"}}
    return _event(customer_id, plan if number % 4 else {"send_email_receipts": receipts})


def rename(customer_id: str, name: str) -> Event:
    """An event that changes the name."""
    return _event(customer_id, {"name": name})


def _event(customer_id: str, changes: Mapping[str, Any]) -> Event:
    return {"customer_id": customer_id, "changes": json.dumps(changes)}
