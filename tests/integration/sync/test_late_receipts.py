"""Writes of receipt addresses that are applied, or fail, after their worker was killed or timed out."""

import asyncio
from dataclasses import replace

import pytest

from jobs.errors import TryAgain
from jobs.plan.steps import RECEIPT_MARK, SetReceiptEmail
from jobs.stripe.client import idempotency_key
from sandbox.faults import Fault
from tests.conftest import PREFIX, World
from tests.support.payments import EMAIL, address, flag, payment, plant
from tests.support.scans import AtOnce
from tests.support.steps import change, time_passes, under


async def kill(world: World, worker: "asyncio.Task[None]") -> None:
    """Kill a worker in the middle of Ann's sync and expire her lease."""
    worker.cancel()
    await asyncio.wait([worker])
    await world.redis.delete(f"{PREFIX}:lease:ann")
    await world.redis.zadd(f"{PREFIX}:dispatched", {"ann": 1})


async def test_recheck_clears_receipt_address_that_landed_late(world: World) -> None:
    """The flag is turned off while a write of ours is still pending."""
    world = under(world, receipts="open")
    customer = plant(world)
    intent = payment(world, customer)
    world.stripe.switches.add(Fault("cut", route="POST /v1/payment_intents", times=1))
    await flag(world, on=True)
    await change(world, "ann", send_email_receipts=False)
    await world.redis.zadd(f"{PREFIX}:waiting", {"ann": 1})
    await world.run()
    assert world.stripe.customers[customer]["metadata"]["autumn_send_email_receipts"] == "false"
    mark = SetReceiptEmail(intent, EMAIL, turn=0, mails_at_once=False).mark
    world.stripe.payment_intents[intent].update(receipt_email=EMAIL, metadata={RECEIPT_MARK: mark})
    await time_passes(world)
    await world.run()
    assert address(world, intent) is None


async def test_late_receipt_write_of_killed_worker_is_removed(world: World) -> None:
    world = under(world, receipts="open")
    customer = plant(world)
    intent = payment(world, customer)
    world.stripe.switches.add(Fault("hang", route="POST /v1/payment_intents", times=1, seconds=3600))
    killed = asyncio.create_task(flag(world, on=True))
    while not world.stripe.switches.fired:
        await world.redis.ping()
    await kill(world, killed)
    await flag(world, on=False)
    assert world.stripe.customers[customer]["metadata"]["autumn_send_email_receipts"] == "false"
    world.stripe.switches.release()
    while address(world, intent) is None:
        await world.redis.ping()
    await time_passes(world)
    await world.run()
    assert address(world, intent) is None


async def test_receipt_address_is_set_after_failure_in_killed_worker(world: World) -> None:
    """Stripe stores the failure under the key that the next try uses again, with the new address."""
    world = under(world, receipts="open")
    # No random wait is added to the one that the error requires.
    world = replace(world, deps=replace(world.deps, random=AtOnce()))
    intent = payment(world, plant(world))
    world.stripe.switches.add(Fault("500", route="POST /v1/payment_intents", times=1))
    killed = SetReceiptEmail(intent, EMAIL, turn=0, mails_at_once=False)
    with pytest.raises(TryAgain, match="http_500"):
        await world.deps.stripe.write_receipt(killed, idempotency_key(intent, (), "receipt-set-0-0"), lambda: None)
    await change(world, "ann", email="new@example.com", send_email_receipts=True)
    seconds, _ = await world.redis.time()
    await world.run()
    due = await world.redis.zscore(f"{PREFIX}:waiting", "ann")
    assert due is not None
    assert due / 1000 - seconds > 50, "the other write has time to be applied if it is still pending"
    await time_passes(world)
    await world.run()
    assert address(world, intent) == "new@example.com"
