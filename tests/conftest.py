"""Shared fixtures: a real Redis, both simulators over HTTP, and a job's dependencies."""

import gc
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from random import SystemRandom
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis

from jobs.autumn.client import open_autumn
from jobs.plan.policy import Policy
from jobs.queue.mailbox import Mailbox
from jobs.queue.record import as_text
from jobs.rate_limit import Limits, Rates
from jobs.stripe.client import open_stripe
from jobs.sync.deps import Deps
from jobs.sync.job import sync_customer
from sandbox.autumn.server import AutumnSimulator
from sandbox.redis import EmbeddedRedis, embedded_redis
from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator

DEFAULT_POLICY = Policy()
INBOX = "customer-updates"
PREFIX = "customer-sync"
TESTS = Path(__file__).parent
USE_PROCESSES = {"e2e", "chaos", "benchmarks"}
"""Folders whose tests start other processes, which may start a server. The others are in tests/unit."""
START_REDIS = {"sandbox.redis", "sandbox.everything", "tests.conftest"}
NO_SERVER = "this test is not marked as one that touches Redis (tests/conftest.py)"


def pytest_configure() -> None:
    """Enable Ctrl-C, and let no example of Hypothesis fail because the machine is busy."""
    settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("untimed")
    # A shell ignores it for background jobs and all processes that they start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect the tests without garbage collection, and exclude their objects from later collections.

    Modules and tests live as long as the process, so it is useless that each full collection visits them.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark the tests that touch Redis, so that `make test-servers` runs all of them, and begin with the longest tests.

    The marks are set before `-m` selects tests. The order is set after the tests are shuffled.
    """
    for item in items:
        if touches_redis(item):
            item.add_marker("redis")
    yield
    items[:] = longest_first(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def longest_first(items: Sequence[pytest.Item], processes: int) -> list[pytest.Item]:
    """Return the tests in an order in which each of the parallel processes begins with some of the longest tests.

    pytest-xdist divides the list into equal parts, one for each process. A long test at the end would keep the other
    processes waiting, and so would all long tests in one part.
    """
    longest = [item for item in items if item.path.parent.name == "chaos"]
    others = iter([item for item in items if item.path.parent.name != "chaos"])
    ordered: list[pytest.Item] = []
    for process in range(processes):
        part = longest[process::processes]
        size = (len(items) - len(ordered)) // (processes - process)
        ordered += [*part, *islice(others, max(0, size - len(part)))]
    return [*ordered, *others]


def touches_redis(item: pytest.Item) -> bool:
    """Return whether a test may start a server, by its folder, or by the imports of its file or a fixture's file."""
    if item.path.relative_to(TESTS).parts[0] in USE_PROCESSES:
        return True
    if not isinstance(item, pytest.Function):
        return False
    fixtures = [each for found in item._fixtureinfo.name2fixturedefs.values() for each in found]
    modules = {item.module, *(sys.modules[each.func.__module__] for each in fixtures)}
    return any(starts_redis(each) for each in modules)


@cache
def starts_redis(module: ModuleType) -> bool:
    """Return whether a module imports something that may start a server."""
    return any(getattr(value, "__module__", None) in START_REDIS for value in vars(module).values())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Give an unmarked test no server, so it fails if it starts one."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("redis") is None:
            patch.setenv("REDIS_SERVER", NO_SERVER)
        return (yield)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """Run one redis-server for the whole run. Each test starts with an empty database."""
    with embedded_redis(aof=False) as server:
        yield server


class _ClusterNode(EmbeddedRedis):
    def _options(self, port: int) -> list[str]:
        return [*super()._options(port), "--cluster-enabled", "yes"]


@contextmanager
def cluster_node(directory: Path) -> Iterator[EmbeddedRedis]:
    """Run a redis-server in cluster mode during the block. It owns no slot."""
    # Cluster nodes talk to each other on a port that is 10,000 higher. Other servers have ports from 26,000 on.
    node = _ClusterNode(directory=directory, port=SystemRandom().randrange(11_000, 16_000))
    node.start()
    try:
        yield node
    finally:
        node.stop()


@pytest.fixture
async def redis(redis_server: EmbeddedRedis) -> AsyncIterator[Redis]:
    """A client of an empty Redis."""
    async with Redis.from_url(redis_server.url) as client:
        await client.flushall()
        yield client


@dataclass(frozen=True)
class World:
    """Both services and one worker's dependencies. A test runs the worker's loops by hand, so it sees each step."""

    redis: Redis
    stripe: StripeSimulator
    autumn: AutumnSimulator
    deps: Deps
    autumn_url: str

    @property
    def mailbox(self) -> Mailbox:
        """The mailboxes of the dependencies."""
        return self.deps.mailbox

    async def run(self, rounds: int = 20) -> None:
        """Move events, dispatch and sync until nothing is due."""
        for _ in range(rounds):
            await self.mailbox.move()
            _, called, _ = await self.mailbox.dispatch(1000)
            if not called:
                return
            for customer in called:
                await sync_customer(self.deps, customer)
        raise AssertionError(f"still customers due after {rounds} rounds")


class AnHour(random.Random):
    """A random source that makes each wait the longest one plus an hour."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002 - the signature of the base class
        """Return the upper bound plus an hour, in seconds."""
        return b + 3600.0


@asynccontextmanager
async def opened_deps(
    redis: Redis,
    autumn_url: str,
    autumn_key: str,
    stripe_url: str,
    stripe_key: str,
    *,
    rate: float = 1000,
    policy: Policy = DEFAULT_POLICY,
    timeout_seconds: float = 60,
) -> AsyncIterator[Deps]:
    """Open the dependencies of a job, with rates that do not slow a test down.

    After a failure other than a halt, a sync is only due again when a test makes it due.
    """
    rates = Rates(
        autumn_updates=rate,
        autumn_max_in_flight=6,
        stripe_requests=rate,
        stripe_endpoint_requests=rate,
        autumn_lists=rate,
    )
    limits = Limits(redis, rates, prefix=PREFIX)
    async with (
        open_autumn(base_url=autumn_url, secret_key=autumn_key, timeout_seconds=timeout_seconds) as autumn,
        open_stripe(
            api_key=stripe_key, base_url=stripe_url, throttle=limits.stripe, timeout_seconds=timeout_seconds
        ) as stripe,
    ):
        yield Deps(
            mailbox=Mailbox(redis, inbox=INBOX, prefix=PREFIX),
            autumn=autumn,
            stripe=stripe,
            limits=limits,
            mode="live" if "_live_" in stripe_key else "test",
            policy=policy,
            retry_for_seconds=3600,
            recheck_after_seconds=60,
            link_trust_seconds=900,
            random=AnHour(),
            now=time.time,
        )


@pytest.fixture
async def world(redis: Redis) -> AsyncIterator[World]:
    """Both simulators without limits, and a job's dependencies."""
    async with opened_world(redis) as opened:
        yield opened


@pytest.fixture
async def world_with_timeouts(redis: Redis) -> AsyncIterator[World]:
    """A world whose worker waits only 5 s for an answer."""
    async with opened_world(redis, timeout_seconds=5) as opened:
        yield opened


@asynccontextmanager
async def opened_world(
    redis: Redis, clock: Callable[[], float] = time.time, *, timeout_seconds: float = 60
) -> AsyncIterator[World]:
    """Open a world for tests that need several. Stripe's webhooks are held until a test delivers them.

    `clock` is that of Stripe. `timeout_seconds` is the longest wait for an answer.
    """
    stripe = StripeSimulator(
        requests_per_second=None, endpoint_requests_per_second=None, search_per_second=None, clock=clock
    )
    async with serving(stripe.app()) as stripe_url:
        autumn = partial(AutumnSimulator, updates_per_second=None)(stripe_url=stripe_url, stripe_key=stripe.key)
        async with (
            serving(autumn.app()) as autumn_url,
            opened_deps(redis, autumn_url, autumn.key, stripe_url, stripe.key, timeout_seconds=timeout_seconds) as deps,
        ):
            stripe.webhooks.url, stripe.webhooks.delay_seconds = autumn_url + autumn.webhook_path, None
            yield World(redis, stripe, autumn, deps, autumn_url)


async def read_dead(redis: Redis, prefix: str = PREFIX) -> list[dict[str, str]]:
    """Return the dead letters straight from Redis, newest first, each as its fields and its `id`."""
    letters = await redis.xrevrange(f"{prefix}:dead")
    return [{"id": letter_id.decode(), **as_text(fields)} for letter_id, fields in letters]
