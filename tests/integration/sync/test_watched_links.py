"""The index of the watch: syncs keep the Stripe customer of each Autumn customer in it, and whether receipts are on."""

import pytest
from redis.asyncio import Redis

from jobs.queue.batch import Settlement
from jobs.queue.mailbox import Mailbox
from jobs.queue.record import read_customer, read_totals
from jobs.queue.watch.links import Link
from jobs.queue.watch.state import WatchKeys
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX, World
from tests.support.steps import change, reconcile

LINKS = WatchKeys(PREFIX).links


async def index(redis: Redis) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = await redis.hgetall(LINKS)  # type: ignore[misc]  # one type for both clients
    return found


async def put(redis: Redis, stripe_id: str, entry: str) -> None:
    await redis.hset(LINKS, stripe_id, entry)  # type: ignore[misc]  # one type for both clients


def linked(world: World, customer: str, owner: str | None = None) -> str:
    """Plant a linked customer whose Stripe customer carries the id of `owner`, and return its `stripe_id`."""
    stripe_id = str(world.stripe.seed_customer(metadata={"autumn_id": owner or customer})["id"])
    world.autumn.seed(customer, stripe_id=stripe_id)
    return stripe_id


async def test_sync_stores_link_and_whether_receipts_are_on(world: World) -> None:
    stripe_id = linked(world, "ann")
    await reconcile(world, "ann")
    await world.run()
    assert await index(world.redis) == {stripe_id.encode(): b"0:ann"}
    await change(world, "ann", send_email_receipts=True, email="ann@example.com")
    await world.run()
    assert await index(world.redis) == {stripe_id.encode(): b"1:ann"}


async def test_new_link_replaces_old_one(world: World) -> None:
    linked(world, "ann")
    await reconcile(world, "ann")
    await world.run()
    other = str(world.stripe.seed_customer(metadata={"autumn_id": "ann"})["id"])
    await change(world, "ann", stripe_id=other)
    await world.run()
    assert await index(world.redis) == {other.encode(): b"0:ann"}


async def test_entry_that_names_another_customer_by_now_stays(world: World) -> None:
    stripe_id = linked(world, "ann")
    await reconcile(world, "ann")
    await world.run()
    await put(world.redis, stripe_id, "1:bob")
    other = str(world.stripe.seed_customer(metadata={"autumn_id": "ann"})["id"])
    await change(world, "ann", stripe_id=other)
    await world.run()
    assert await index(world.redis) == {stripe_id.encode(): b"1:bob", other.encode(): b"0:ann"}


async def test_stripe_customer_of_another_is_not_in_index(world: World) -> None:
    stripe_id = linked(world, "ann")
    await reconcile(world, "ann")
    await world.run()
    world.stripe.customers[stripe_id]["metadata"]["autumn_id"] = "bob"
    await reconcile(world, "ann")
    await world.run()
    assert (await read_customer(world.redis, PREFIX, "ann")).link == "foreign"
    assert await index(world.redis) == {}


async def test_sync_that_failed_to_fetch_keeps_entry(world: World) -> None:
    stripe_id = linked(world, "ann")
    await put(world.redis, stripe_id, "1:ann")
    world.autumn.switches.add(Fault("503"))
    await reconcile(world, "ann")
    await world.run()
    assert await index(world.redis) == {stripe_id.encode(): b"1:ann"}


async def test_index_of_wrong_type_is_replaced(world: World) -> None:
    stripe_id = linked(world, "ann")
    await world.redis.set(LINKS, "x")
    await reconcile(world, "ann")
    await world.run()
    assert await index(world.redis) == {stripe_id.encode(): b"0:ann"}
    assert (await read_totals(world.redis, PREFIX))["keys_replaced"] == 1


@pytest.mark.parametrize(
    ("known", "expected"),
    [("cus_1", {b"cus_1": b"1:ann"}), ("cus_other", {b"cus_other": b"0:bob"})],
)
async def test_full_index_takes_no_new_entry(redis: Redis, known: str, expected: dict[bytes, bytes]) -> None:
    await put(redis, known, "0:bob")
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX)
    await redis.xadd(INBOX, {"customer_id": "ann", "type": "customer.reconcile"})
    await mailbox.move()
    await mailbox.dispatch(1)
    batch = await mailbox.take("ann")
    assert batch is not None
    assert await mailbox.settle(batch.lease, Settlement([], link=Link("cus_1", receipts_on=True), links_kept=1))
    assert await index(redis) == expected
    assert (await read_totals(redis, PREFIX)).get("links_left_out", 0) == int(known == "cus_other")


async def test_claimed_customer_is_in_index(world: World) -> None:
    stripe_id = str(world.stripe.seed_customer()["id"])
    world.autumn.seed("ann", stripe_id=stripe_id)
    await reconcile(world, "ann")
    await world.run()
    assert await index(world.redis) == {stripe_id.encode(): b"0:ann"}
