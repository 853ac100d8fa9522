"""The acts of others come when only the worker's watch can notice them."""

import asyncio

import aiohttp
from redis.asyncio import Redis

from sandbox.audit.expected import RECEIPTS_FLAG, flat
from sandbox.everything import Sandbox
from sandbox.faults import Fault
from sandbox.redis import EmbeddedRedis
from tests.chaos.drifts import Drifts
from tests.chaos.others import Others
from tests.chaos.others_plan import OtherWrite
from tests.chaos.people import People
from tests.conftest import World
from tests.support.scans import until
from tests.support.steps import reconcile, under


async def test_payment_begins_after_the_first_sync(world: World, redis: Redis, redis_server: EmbeddedRedis) -> None:
    planted = world.stripe.seed_customer(email="ann@example.com", metadata={"autumn_id": "ann"})
    world.autumn.seed("ann", stripe_id=planted["id"], email="ann@example.com", send_email_receipts=True)
    world.stripe.switches.add(Fault("hang", route="GET /v1/payment_intents"))
    box = Sandbox(redis_server, world.stripe, world.autumn, {})
    async with aiohttp.ClientSession() as session:
        others = Others(box, redis, session, People(box, Drifts(box, redis)), webhook_seconds=0.0)
        event = await reconcile(world, "ann")
        syncing = asyncio.create_task(under(world, receipts="recover").run())
        await until(lambda: RECEIPTS_FLAG in flat(world.stripe.customers[planted["id"]]))
        # The sync still has to read the payments. One that it finds gets its address without the watch.
        paying = asyncio.create_task(others.pay(OtherWrite(0.0, "ann", "person", 0, (), "pay"), {event}))
        await until(lambda: bool(world.stripe.switches.fired))
        world.stripe.switches.clear()
        world.stripe.switches.release()
        await syncing
        await paying
    (intent,) = world.stripe.payment_intents.values()
    assert intent["status"] == "succeeded"
    assert intent["receipt_email"] is None
