"""A scan killed at any page boundary is resumed by the next one, which misses nothing."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from redis.asyncio import Redis

from jobs.scan.record import ScanRecord
from sandbox.autumn.server import AutumnSimulator
from sandbox.redis import EmbeddedRedis
from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator
from tests.conftest import PREFIX
from tests.support.commands import Command, started
from tests.support.planting import PLANTINGS, Expected, Field
from tests.support.processes import ROOT, environment_with

AUTUMN_LIST, STRIPE_LIST = "/v1/customers.list", "/v1/customers"
PAGES = {AUTUMN_LIST: 3, STRIPE_LIST: 3}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Executioner:
    """A middleware between a scan and a service that kills the scan at a chosen page."""

    process: Command | None = None
    path: str = ""
    after_seconds: float | None = None
    """The delay after the answer, in seconds; None kills before the answer."""
    requested: Counter[str] = field(default_factory=Counter)

    def aim_at(self, process: Command, path: str, after_seconds: float | None) -> None:
        """Kill this process at its next request for a page of the list."""
        self.process, self.path, self.after_seconds = process, path, after_seconds

    @web.middleware
    async def watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Serve a request, and kill the process that sent it if it is due."""
        self.requested[request.path] += 1
        if request.path != self.path or self.process is None:
            return await handler(request)
        process, self.process = self.process, None
        if self.after_seconds is None:
            process.kill()
            return await handler(request)
        response = await handler(request)
        asyncio.get_running_loop().call_later(self.after_seconds, process.kill)
        return response


@dataclass(frozen=True)
class Scene:
    """Both services behind an executioner, and the environment of a scan."""

    planted: Expected
    executioner: Executioner
    redis: Redis
    environment: dict[str, str]
    report: Path

    @asynccontextmanager
    async def scan(self) -> AsyncIterator[Command]:
        """Start a scan after the marker of the killed scan has expired."""
        await self.redis.delete(f"{PREFIX}:scan:lease")
        async with started("scan", "--json", str(self.report), folder=ROOT, environment=self.environment) as command:
            yield command


@pytest.fixture
async def scene(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> AsyncIterator[Scene]:
    stripe = StripeSimulator(requests_per_second=None, endpoint_requests_per_second=None, search_per_second=None)
    executioner = Executioner()
    async with AsyncExitStack() as running:
        urls = {}
        stripe_app = stripe.app()
        stripe_app.middlewares.append(executioner.watch)
        urls["STRIPE_API_BASE"] = await running.enter_async_context(serving(stripe_app))
        autumn = AutumnSimulator(stripe_url=urls["STRIPE_API_BASE"], stripe_key=stripe.key, updates_per_second=None)
        autumn_app = autumn.app()
        autumn_app.middlewares.append(executioner.watch)
        urls["AUTUMN_API_URL"] = await running.enter_async_context(serving(autumn_app))
        keys = {"AUTUMN_SECRET_KEY": autumn.key, "STRIPE_API_KEY": stripe.key, "SCAN_SPOOL": str(tmp_path / "spool")}
        rates = {"STRIPE_REQUESTS_PER_SECOND": "1000", "STRIPE_ENDPOINT_REQUESTS_PER_SECOND": "1000"}
        environment = environment_with({"REDIS_URL": redis_server.url, **urls, **keys, **rates})
        planted = _plant(Field(autumn, stripe))
        yield Scene(planted, executioner, redis, environment, tmp_path / "report.json")


def _plant(field: Field) -> Expected:
    """Plant three pages of customers on each side, with one of each kind of drift."""
    planted = [plant(field, name) for name, plant in PLANTINGS.items()]
    for index in range(200):
        field.agreeing(f"both_{index}")
    planted += [PLANTINGS["unlinked"](field, f"one_{index}") for index in range(1900)]
    return set[tuple[str, str, str]]().union(*planted)


async def test_scan_killed_at_every_page_misses_nothing(scene: Scene) -> None:
    kills, jitter = 0, random.Random(7)
    for path, pages in PAGES.items():
        for _ in range(pages):
            for after_seconds in (None, jitter.choice((0.0, jitter.uniform(0.0005, 0.003)))):
                async with scene.scan() as process:
                    scene.executioner.aim_at(process, path, after_seconds)
                    kills += await process.wait() == -9
    async with scene.scan() as last:
        assert await last.wait() == 2
    report = json.loads(scene.report.read_text())
    assert {(each["customer"], each["kind"], each["field"]) for each in report["findings"]} == scene.planted
    assert len(report["findings"]) == len(scene.planted)
    assert kills >= sum(PAGES.values())
    runs = await ScanRecord(scene.redis, PREFIX).history()
    assert [run.state for run in runs] == ["done"] * len(runs)
    # Only the page in flight when the scan was killed is requested again.
    requested = sum(scene.executioner.requested[path] for path in PAGES)
    assert requested <= len(runs) * sum(PAGES.values()) + 2 * kills
