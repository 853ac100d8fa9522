"""Calls, waits and syncs that an observer gets: their outcome and duration, and nothing of the customer."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from redis.asyncio import Redis

from jobs.autumn.client import AutumnClient, open_autumn
from jobs.enqueue import send
from jobs.errors import Limited, SyncError
from jobs.events import new_update
from jobs.observer import Call, Sync
from jobs.rate_limit import Limits, Rates, read_shares
from jobs.stripe.client import ENDPOINTS, StripeGateway, open_stripe
from jobs.sync.job import sync_customer
from sandbox.autumn.server import AutumnSimulator
from sandbox.faults import Fault, Kind
from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator
from tests.conftest import PREFIX, World
from tests.support.processes import wait_until
from tests.support.steps import change, seed, time_passes

UPDATE, RETRIEVE = "POST /v1/customers.update", "GET /v1/customers/{id}"
RATES = Rates(autumn_updates=20, autumn_max_in_flight=1, stripe_requests=1000, stripe_endpoint_requests=1000)


@dataclass
class Seen:
    """An observer that records what it gets."""

    began: float = field(default_factory=time.monotonic)
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    ends: list[tuple[int | None, str]] = field(default_factory=list)
    waits: list[tuple[str, float]] = field(default_factory=list)
    syncs: list[Sync] = field(default_factory=list)

    def syncing(self, sync: Sync) -> AbstractContextManager[None]:
        self.syncs.append(sync)
        return nullcontext()

    def called(self, call: Call) -> None:
        assert 0 <= call.seconds <= time.monotonic() - self.began
        self.calls.append((call.service, call.endpoint, call.result))
        self.ends.append((call.status_code, call.error))

    def throttled(self, limit: str, seconds: float) -> None:
        self.waits.append((limit, seconds))

    def event_agreed(self, seconds: float) -> None:
        self.waits.append(("agreed", seconds))


@dataclass(frozen=True)
class Scene:
    """Both services, the clients for them, and the calls observed."""

    autumn: AutumnSimulator
    stripe: StripeSimulator
    seen: Seen
    limits: Limits
    autumn_client: AutumnClient
    stripe_client: StripeGateway


@pytest.fixture
async def scene(redis: Redis) -> AsyncIterator[Scene]:
    async with opened_scene(redis) as opened:
        yield opened


@asynccontextmanager
async def opened_scene(redis: Redis, timeout_seconds: float = 60) -> AsyncIterator[Scene]:
    seen = Seen()
    limits = Limits(redis, RATES, prefix=PREFIX, observer=seen)
    stripe = StripeSimulator()
    async with serving(stripe.app()) as stripe_url:
        autumn = AutumnSimulator(stripe_url=stripe_url, stripe_key=stripe.key)
        async with (
            serving(autumn.app()) as autumn_url,
            open_autumn(
                base_url=autumn_url, secret_key=autumn.key, timeout_seconds=timeout_seconds, observer=seen
            ) as autumn_client,
            open_stripe(
                api_key=stripe.key, base_url=stripe_url, throttle=limits.stripe, observer=seen
            ) as stripe_client,
        ):
            yield Scene(autumn, stripe, seen, limits, autumn_client, stripe_client)


async def test_call_is_observed_by_endpoint_without_ids(scene: Scene) -> None:
    scene.autumn.seed("ann")
    linked = scene.stripe.seed_customer()
    await scene.autumn_client.update("ann", {"name": "Ann"})
    await scene.stripe_client.retrieve(linked["id"])
    await scene.stripe_client.retrieve("cus_missing")
    assert scene.seen.calls == [
        ("autumn", UPDATE, "ok"),
        ("stripe", RETRIEVE, "ok"),
        ("stripe", RETRIEVE, "absent"),
    ]
    assert scene.seen.ends == [(200, ""), (200, ""), (404, "resource_missing")]
    assert {endpoint for service, endpoint, _ in scene.seen.calls if service == "stripe"} <= set(ENDPOINTS)


@pytest.mark.parametrize(
    ("kind", "result", "status", "code"),
    [
        ("429", "limited", 429, "http_429"),
        ("503", "failed", 503, "service_unavailable"),
        ("cut", "failed", None, "connection_lost"),
        ("garbage", "failed", 200, "unexpected_response"),
    ],
)
async def test_failed_call_has_outcome_status_and_code(
    scene: Scene, kind: Kind, result: str, status: int | None, code: str
) -> None:
    scene.autumn.seed("ann")
    scene.autumn.switches.add(Fault(kind))
    with pytest.raises(SyncError):
        await scene.autumn_client.update("ann", {"name": "Ann"})
    assert scene.seen.calls == [("autumn", UPDATE, result)]
    assert scene.seen.ends == [(status, code)]


async def test_call_without_an_answer_is_observed_as_timed_out(redis: Redis) -> None:
    async with opened_scene(redis, timeout_seconds=2) as scene:
        scene.autumn.switches.add(Fault("hang"))
        with pytest.raises(SyncError):
            await scene.autumn_client.update("ann", {"name": "Ann"})
        assert scene.seen.calls == [("autumn", UPDATE, "timed-out")]
        assert scene.seen.ends == [(None, "timeout")]


async def test_halts_and_refusals_are_distinguished(scene: Scene) -> None:
    with pytest.raises(SyncError):
        await scene.autumn_client.update("nobody", {"name": "Ann"})
    scene.stripe.key = "sk_test_rotated"
    with pytest.raises(SyncError):
        await scene.stripe_client.retrieve("cus_any")
    assert [result for _, _, result in scene.seen.calls] == ["refused", "halted"]


async def test_cancelled_call_is_observed(scene: Scene) -> None:
    scene.autumn.switches.add(Fault("hang"))
    call = asyncio.create_task(scene.autumn_client.get("ann"))
    await wait_until(lambda: _has_fired(scene))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [result for _, _, result in scene.seen.calls] == ["cut-short"]
    assert scene.seen.ends == [(None, "CancelledError")]


async def _has_fired(scene: Scene) -> bool:
    return scene.autumn.switches.fired == {"hang": 1}


async def test_waits_are_observed_by_limit_including_slots(scene: Scene) -> None:
    async def update() -> None:
        async with scene.limits.autumn_update(stripe_endpoints=[]):
            pass

    begin = time.monotonic()
    await asyncio.gather(*(update() for _ in range(4)))
    async with scene.limits.autumn_list():
        pass
    await scene.stripe_client.retrieve("cus_missing")
    assert [limit for limit, _ in scene.seen.waits] == ["autumn-updates"] * 4 + ["autumn-lists", "stripe"]
    # The rate is 20 a second with a burst of two, so the last one waits for a tenth of a second.
    assert 0.09 < max(seconds for _, seconds in scene.seen.waits) <= time.monotonic() - begin


async def test_rate_shares_are_those_left_by_429s(redis: Redis) -> None:
    recover_seconds = 600
    limits = Limits(redis, RATES, prefix=PREFIX, recover_seconds=recover_seconds)
    read = partial(read_shares, redis, PREFIX, ENDPOINTS, recover_seconds=recover_seconds)
    assert set((await read()).values()) == {1.0}
    with pytest.raises(Limited):
        async with limits.stripe(RETRIEVE):
            raise Limited("stripe", "rate_limit", limit="stripe-endpoint")
    shares = await read()
    assert {name: share for name, share in shares.items() if share < 1} == {f"stripe:{RETRIEVE}": 0.5}
    slow = f"{PREFIX}:limit:stripe:{RETRIEVE}:slow"
    await redis.hincrby(slow, "since", -recover_seconds * 1_000_000)  # type: ignore[misc]  # one type for both clients
    assert set((await read()).values()) == {1.0}


async def synced(world: World, customer: str = "ann") -> Sync:
    """Run the one due sync of the customer, and return it as observed."""
    seen = Seen()
    await world.mailbox.move()
    await world.mailbox.dispatch(100)
    assert await sync_customer(replace(world.deps, observer=seen), customer)
    (sync,) = seen.syncs
    return sync


async def test_sync_is_observed_with_unique_contexts_and_outcome(world: World) -> None:
    seed(world, "ann")
    contexts = [f"00-{number * 32}-{number * 16}-01" for number in "121"]
    for each in contexts:
        update = new_update(customer_id="ann", changes={"name": "Ann"}, traceparent=each)
        await send(world.redis, update)
    assert await synced(world) == Sync("ann", (contexts[0], contexts[1]), 3, "applied", "", applied=3)


async def test_sync_with_refused_change_is_observed_as_dead_lettered(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Ann")
    await change(world, "ann", stripe_id="cus_missing")
    sync = await synced(world)
    assert (sync.outcome, sync.applied, sync.dead) == ("dead-lettered", 1, 1)
    assert sync.error in {"resource_missing", "stripe_customer_missing"}


async def test_retried_sync_and_recheck_are_observed_with_code(world: World) -> None:
    seed(world, "ann")
    world.autumn.switches.add(Fault("503"))
    await change(world, "ann", name="Ann")
    assert await synced(world) == Sync("ann", (), 1, "retried", "service_unavailable")
    world.autumn.switches.clear()
    await time_passes(world)
    await world.run()
    world.autumn.switches.add(Fault("503"))
    await time_passes(world)
    assert await synced(world) == Sync("ann", (), 0, "retried", "service_unavailable")


async def test_sync_with_wrong_key_is_observed_as_halted(world: World) -> None:
    seed(world, "ann")
    world.stripe.key = "sk_test_rotated"
    await change(world, "ann", name="Ann")
    assert await synced(world) == Sync("ann", (), 1, "halted", "invalid_key")


async def test_sync_that_loses_its_lease_is_observed_as_lost(world: World) -> None:
    seed(world, "ann")
    world.autumn.switches.add(Fault("hang", times=1, seconds=3600))
    await change(world, "ann", name="Ann")
    syncing = asyncio.create_task(synced(world))

    async def has_fired() -> bool:
        return bool(world.autumn.switches.fired)

    await wait_until(has_fired)
    await world.redis.set(f"{PREFIX}:lease:ann", "another worker's")
    world.autumn.switches.release()
    assert await syncing == Sync("ann", (), 1, "lost", "lease_lost")
