"""What the doors tell whoever watches them: how each call ended, how long one waited, and nothing of the customer."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis

from jobs.autumn import AutumnClient, open_autumn
from jobs.errors import Limited, Service, SyncError
from jobs.rate_limit import Limits, Rates
from jobs.stripe_gateway import ENDPOINTS, StripeGateway, open_stripe
from jobs.watch import CallResult
from sandbox.autumn import AutumnSimulator
from sandbox.faults import Fault, Kind
from sandbox.serve import serving
from sandbox.stripe import StripeSimulator
from tests.conftest import PREFIX
from tests.e2e.processes import wait_until

UPDATE, RETRIEVE = "POST /v1/customers.update", "GET /v1/customers/{id}"
RATES = Rates(autumn_updates=20, autumn_max_in_flight=1, stripe_requests=1000, stripe_endpoint_requests=1000)


@dataclass
class Seen:
    """A watch that remembers."""

    calls: list[tuple[str, str, str]] = field(default_factory=list)
    waits: list[tuple[str, float]] = field(default_factory=list)

    def called(self, service: Service, endpoint: str, result: CallResult, seconds: float) -> None:
        assert 0 <= seconds < 10
        self.calls.append((service, endpoint, result))

    def waited(self, limit: str, seconds: float) -> None:
        self.waits.append((limit, seconds))


@dataclass(frozen=True)
class Scene:
    """Both services, the doors onto them, and what was seen."""

    autumn: AutumnSimulator
    stripe: StripeSimulator
    seen: Seen
    limits: Limits
    autumn_door: AutumnClient
    stripe_door: StripeGateway


@pytest.fixture
async def scene(redis: Redis) -> AsyncIterator[Scene]:
    seen = Seen()
    limits = Limits(redis, RATES, prefix=PREFIX, watch=seen)
    stripe = StripeSimulator()
    async with serving(stripe.app()) as stripe_url:
        autumn = AutumnSimulator(stripe_url=stripe_url, stripe_key=stripe.key)
        async with (
            serving(autumn.app()) as autumn_url,
            open_autumn(base_url=autumn_url, secret_key=autumn.key, timeout_seconds=0.5, watch=seen) as autumn_door,
            open_stripe(api_key=stripe.key, base_url=stripe_url, turn=limits.stripe, watch=seen) as stripe_door,
        ):
            yield Scene(autumn, stripe, seen, limits, autumn_door, stripe_door)


async def test_each_call_is_told_with_its_endpoint_and_never_with_an_id(scene: Scene) -> None:
    scene.autumn.seed("ann")
    linked = scene.stripe.seed_customer()
    await scene.autumn_door.update("ann", {"name": "Ann"})
    await scene.stripe_door.retrieve(linked["id"])
    await scene.stripe_door.retrieve("cus_missing")
    assert scene.seen.calls == [
        ("autumn", UPDATE, "ok"),
        ("stripe", RETRIEVE, "ok"),
        ("stripe", RETRIEVE, "absent"),
    ]
    assert {endpoint for service, endpoint, _ in scene.seen.calls if service == "stripe"} <= set(ENDPOINTS)


@pytest.mark.parametrize(
    ("kind", "result"),
    [("429", "limited"), ("503", "failed"), ("cut", "failed"), ("garbage", "failed"), ("hang", "timed-out")],
)
async def test_how_a_call_failed_is_one_word_of_few(scene: Scene, kind: Kind, result: str) -> None:
    scene.autumn.seed("ann")
    scene.autumn.switches.add(Fault(kind))
    with pytest.raises(SyncError):
        await scene.autumn_door.update("ann", {"name": "Ann"})
    assert scene.seen.calls == [("autumn", UPDATE, result)]


async def test_what_a_person_has_to_mend_and_what_is_refused_are_told_apart(scene: Scene) -> None:
    with pytest.raises(SyncError):
        await scene.autumn_door.update("nobody", {"name": "Ann"})
    scene.stripe.key = "sk_test_rotated"
    with pytest.raises(SyncError):
        await scene.stripe_door.retrieve("cus_any")
    assert [result for _, _, result in scene.seen.calls] == ["refused", "halted"]


async def test_a_call_that_nobody_waits_for_any_more_is_told_too(scene: Scene) -> None:
    scene.autumn.switches.add(Fault("hang"))
    call = asyncio.create_task(scene.autumn_door.get("ann"))
    await wait_until(lambda: _has_fired(scene))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [result for _, _, result in scene.seen.calls] == ["cut-short"]


async def _has_fired(scene: Scene) -> bool:
    return scene.autumn.switches.fired == {"hang": 1}


async def test_waits_are_told_by_limit_the_wait_for_a_place_among_them(scene: Scene) -> None:
    async def update() -> None:
        async with scene.limits.autumn_update(stripe_endpoints=[]):
            pass

    await asyncio.gather(*(update() for _ in range(4)))
    async with scene.limits.autumn_list():
        pass
    await scene.stripe_door.retrieve("cus_missing")
    assert [limit for limit, _ in scene.seen.waits] == ["autumn-updates"] * 4 + ["autumn-lists", "stripe"]
    # Twenty a second, two of which may come at once: the last one waits for a tenth of a second.
    assert 0.09 < max(seconds for _, seconds in scene.seen.waits) < 1


async def test_the_shares_of_the_rates_are_what_429s_have_left(redis: Redis) -> None:
    limits = Limits(redis, RATES, prefix=PREFIX, recover_seconds=1.0)
    assert set((await limits.shares(ENDPOINTS)).values()) == {1.0}
    with pytest.raises(Limited):
        async with limits.stripe(RETRIEVE):
            raise Limited("stripe", "rate_limit", limit="stripe-endpoint")
    shares = await limits.shares(ENDPOINTS)
    assert {name: share for name, share in shares.items() if share < 1} == {f"stripe:{RETRIEVE}": 0.5}

    async def is_whole() -> bool:
        return set((await limits.shares(ENDPOINTS)).values()) == {1.0}

    await wait_until(is_whole)
