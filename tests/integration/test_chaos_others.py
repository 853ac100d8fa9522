"""The acts of others in a chaos run come at the right time, also if the workers are slow."""

import asyncio
from collections.abc import AsyncIterator
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
from tests.chaos.blows import Schedule
from tests.chaos.drifts import Drifts
from tests.chaos.fleet import Fleet
from tests.chaos.others import Others
from tests.chaos.others_plan import OtherWrite
from tests.chaos.people import People
from tests.chaos.plan import Entry, Plan
from tests.chaos.webhooks import WorkerWebhooks
from tests.conftest import PREFIX, World
from tests.support.scans import until
from tests.support.steps import reconcile, under

PAYMENT = OtherWrite(0.0, "ann", "person", 0, (), "pay")


class Watched(Others):
    """The other writers, with the number of looks at a customer and at outcomes."""

    looks = 0

    async def _have_ended(self, waits_for: set[str]) -> bool:
        have_ended = await super()._have_ended(waits_for)
        self.looks += 1
        return have_ended

    async def _state(self, customer: str, no_recheck_ms: int = 0) -> tuple[int, bool]:
        state = await super()._state(customer, no_recheck_ms)
        self.looks += 1
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
    await until(lambda: others.looks > 0 or paying.done())
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
    rechecks = MailboxKeys(PREFIX).rechecks
    await world.redis.zadd(rechecks, {"ann": 1})
    first = asyncio.create_task(others.pay(PAYMENT, [event]))
    await until(lambda: others.looks > 1 or first.done())
    assert not world.stripe.payment_intents
    await world.redis.zrem(rechecks, "ann")
    await first
    assert len(world.stripe.payment_intents) == 1
    # Later payments also begin during a sync.
    await world.redis.zadd(rechecks, {"ann": 1})
    await others.pay(PAYMENT, [event])
    assert len(world.stripe.payment_intents) == 2


async def test_webhooks_end_after_the_acts_planned_before(world: World, others: Watched) -> None:
    entry = Entry(0.0, "ann", "first", {"customer_id": "ann", "type": "customer.reconcile", "event_id": "first"})
    plan = Plan((), (entry,), (), (), (PAYMENT,))
    endpoint = world.stripe.webhooks.add_endpoint("http://127.0.0.1:9", secret="whsec", types=[])
    webhooks = WorkerWebhooks((), world.redis, others.session, Random(0), endpoint)
    schedule = Schedule(plan, others.box, world.redis, Fleet(()), others, webhooks, webhooks_until_seconds=0.001)
    running = asyncio.create_task(schedule.run())
    # The workers are slow, so the payment has not begun at its time.
    await until(lambda: others.looks > 1)
    assert endpoint.url is not None
    await world.run()
    await running
    assert world.stripe.payment_intents
    assert endpoint.url is None


async def test_payment_without_an_outcome_is_left_out(
    world: World, others: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.chaos.others.LEFT_OUT_PAYMENT_SECONDS", 0.0)
    await others.pay(PAYMENT, ["never-sent"])
    assert others.done["payments left out"] == 1
    assert not world.stripe.payment_intents


async def test_payment_needs_the_first_event_of_its_customer(others: Watched) -> None:
    with pytest.raises(ValueError, match="ann has no event"):
        await others.pay(PAYMENT, [])
