"""A chaos run acts at the right times, also if its workers are slow."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import aiohttp
import pytest
from redis.asyncio import Redis

from jobs.enqueue import outcome_of
from jobs.queue.mailbox import MailboxKeys
from sandbox.audit.expected import RECEIPTS_FLAG, flat
from sandbox.everything import Sandbox
from sandbox.faults import Fault
from sandbox.redis import EmbeddedRedis
from sandbox.stripe.webhooks import WebhookEndpoint
from tests.chaos.blows import Schedule
from tests.chaos.drifts import Drifts
from tests.chaos.fleet import READY_SECONDS, Fleet, Slot
from tests.chaos.others import Others
from tests.chaos.others_plan import OtherWrite
from tests.chaos.people import People
from tests.chaos.plan import Entry, FaultPhase, Plan
from tests.chaos.webhooks import WorkerWebhooks
from tests.conftest import INBOX, PREFIX, World
from tests.support.scans import until
from tests.support.steps import reconcile, under
from tests.support.stripe_client import Clock

PAYMENT = OtherWrite(0.0, "ann", "person", 0, (), "pay")


class Watched(Others):
    """The other writers, with the number of checks of a customer and of outcomes."""

    checks = 0

    async def _have_ended(self, waits_for: set[str]) -> bool:
        have_ended = await super()._have_ended(waits_for)
        self.checks += 1
        return have_ended

    async def _state(self, customer: str, no_recheck_ms: int = 0) -> tuple[int, bool]:
        state = await super()._state(customer, no_recheck_ms)
        self.checks += 1
        return state


@pytest.fixture
async def others(world: World, redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[Watched]:
    """The other writers of a customer that is linked and has its receipts on."""
    planted = world.stripe.seed_customer(email="ann@example.com", metadata={"autumn_id": "ann"})
    world.autumn.seed("ann", stripe_id=planted["id"], email="ann@example.com", send_email_receipts=True)
    box = Sandbox(redis_server, world.stripe, world.autumn, {})
    async with aiohttp.ClientSession() as session:
        yield Watched(box, redis, session, People(box, Drifts(box, redis)), webhook_seconds=0.0)


async def test_payment_begins_after_the_first_sync(world: World, others: Watched) -> None:
    world.stripe.switches.add(Fault("hang", route="GET /v1/payment_intents"))
    event = await reconcile(world, "ann")
    syncing = asyncio.create_task(under(world, receipts="recover").run())
    # The sync still has to list the payments. It would give those that it finds their address.
    await until(lambda: bool(world.stripe.switches.fired))
    (customer,) = world.stripe.customers.values()
    assert RECEIPTS_FLAG in flat(customer)
    paying = asyncio.create_task(others.pay(PAYMENT, [event]))
    await until(lambda: others.checks > 0 or paying.done())
    world.stripe.switches.clear()
    world.stripe.switches.release()
    await syncing
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    assert outcome.status == "applied"
    await paying
    (intent,) = world.stripe.payment_intents.values()
    assert intent["status"] == "succeeded"
    assert intent["receipt_email"] is None


async def test_first_payment_begins_after_the_recheck_of_the_sync(world: World, others: Watched) -> None:
    event = await reconcile(world, "ann")
    await under(world, receipts="recover").run()
    rechecks, others.webhook_seconds = MailboxKeys(PREFIX).rechecks, 60.0
    soon = {"ann": (time.time() + 30) * 1000}
    await world.redis.zadd(rechecks, soon)
    first = asyncio.create_task(others.pay(PAYMENT, [event]))
    await until(lambda: others.checks > 1 or first.done())
    assert not world.stripe.payment_intents
    await world.redis.zrem(rechecks, "ann")
    await first
    assert len(world.stripe.payment_intents) == 1
    # Later payments do not wait for rechecks.
    await world.redis.zadd(rechecks, soon)
    await others.pay(PAYMENT, [event])
    assert len(world.stripe.payment_intents) == 2


async def test_payment_without_an_outcome_is_left_out(world: World, others: Watched) -> None:
    others.payment_left_out_seconds = 0.0
    await others.pay(PAYMENT, ["never-sent"])
    assert others.done["payments left out"] == 1
    assert not world.stripe.payment_intents


async def test_payment_needs_the_first_event_of_its_customer(others: Watched) -> None:
    with pytest.raises(ValueError, match="ann has no event"):
        await others.pay(PAYMENT, [])


class WatchedFleet(Fleet):
    """A fleet of workers that are not ready, with the number of checks while none is."""

    checks = 0

    @property
    def idle_seconds(self) -> float:
        if not self.is_working:
            self.checks += 1
        return super().idle_seconds


@pytest.fixture
def clock() -> Clock:
    """The clock of the fleet."""
    return Clock()


@pytest.fixture
def fleet(clock: Clock) -> WatchedFleet:
    """Two workers that are not ready."""
    return WatchedFleet([Slot(number, 0, Path(f"worker-{number}")) for number in range(2)], clock=clock)


def schedule_of(
    plan: Plan, fleet: Fleet, others: Watched, endpoint: WebhookEndpoint | None = None, until_seconds: float = 0.0
) -> Schedule:
    """Return a schedule of a plan. Its webhooks go to the endpoint until then."""
    webhooks = WorkerWebhooks((), others.redis, others.session, Random(0), endpoint)
    return Schedule(plan, others.box, others.redis, fleet, others, webhooks, until_seconds)


def entry_at(at_seconds: float) -> Entry:
    """Return an entry whose id is its time."""
    event = f"at-{at_seconds}"
    return Entry(at_seconds, "ann", event, {"customer_id": "ann", "type": "customer.reconcile", "event_id": event})


async def test_webhooks_end_after_the_acts_planned_before(
    world: World, others: Watched, fleet: WatchedFleet, clock: Clock
) -> None:
    plan = Plan((), (entry_at(0.0),), (), (), (PAYMENT,))
    fleet.note(fleet.slots[0], is_ready=True)
    endpoint = world.stripe.webhooks.add_endpoint("http://127.0.0.1:9", secret="whsec", types=[])
    schedule = schedule_of(plan, fleet, others, endpoint, until_seconds=0.1)
    running = asyncio.create_task(schedule.run())
    await until(lambda: others.checks > 0 and bool(schedule.history))
    clock.now += 0.2
    # Nobody syncs, so the payment does not begin at its time.
    checks = others.checks
    await until(lambda: others.checks > checks + 4)
    assert endpoint.url is not None
    await world.run()
    await running
    assert world.stripe.payment_intents
    assert endpoint.url is None


async def test_plan_stands_still_while_no_worker_is_ready(
    world: World, others: Watched, fleet: WatchedFleet, clock: Clock
) -> None:
    phase = FaultPhase(0.0, 0.1, "stripe", "503", 1.0)
    plan = Plan((), (entry_at(0.0), entry_at(0.1)), (), (phase,), ())
    one, two = fleet.slots
    fleet.note(one, is_ready=True)
    schedule = schedule_of(plan, fleet, others)
    running = asyncio.create_task(schedule.run())
    await until(lambda: bool(world.stripe.switches.faults and schedule.history))
    fleet.note(one, is_ready=False)
    clock.now += 0.2
    # The next entry and the end of the faults wait.
    await until(lambda: fleet.checks > 3)
    assert await world.redis.xlen(INBOX) == 1
    assert world.stripe.switches.faults
    fleet.note(two, is_ready=True)
    clock.now += 0.2
    await running
    assert await world.redis.xlen(INBOX) == 2
    assert not world.stripe.switches.faults


async def test_run_without_a_ready_worker_breaks_off(others: Watched, fleet: WatchedFleet, clock: Clock) -> None:
    clock.now += READY_SECONDS + 1
    with pytest.raises(ExceptionGroup) as raised:
        await schedule_of(Plan((), (entry_at(0.1),), (), (), ()), fleet, others).run()
    assert raised.group_contains(TimeoutError, match="no worker has started")


def test_working_time_counts_while_one_worker_is_ready(fleet: WatchedFleet, clock: Clock) -> None:
    one, two = fleet.slots
    clock.now += 1
    # It ended before it was ready.
    fleet.note(one, is_ready=False)
    assert (fleet.working_seconds, fleet.idle_seconds) == (0.0, 1.0)
    fleet.note(one, is_ready=True)
    clock.now += 2
    fleet.note(two, is_ready=True)
    clock.now += 4
    fleet.note(one, is_ready=False)
    clock.now += 8
    assert (fleet.working_seconds, fleet.idle_seconds) == (14.0, 0.0)
    fleet.note(two, is_ready=False)
    clock.now += 16
    assert (fleet.working_seconds, fleet.idle_seconds) == (14.0, 16.0)
