"""A whole scan writes the index of the watch from its lists, and removes the entries that no customer has any more."""

from pathlib import Path

from redis.asyncio import Redis

from jobs.queue.record import read_totals
from jobs.queue.watch.links import Links
from jobs.queue.watch.state import WatchKeys
from sandbox.redis import EmbeddedRedis
from tests.benchmarks.proxy import counting
from tests.conftest import PREFIX, World
from tests.support.planting import Field
from tests.support.scans import between_the_lists, scan, scan_deps_of
from tests.support.steps import change, reconcile

LINKS = WatchKeys(PREFIX).links


async def index(redis: Redis) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = await redis.hgetall(LINKS)  # type: ignore[misc]  # one type for both clients
    return found


async def put(redis: Redis, stripe_id: str, entry: str) -> None:
    await redis.hset(LINKS, stripe_id, entry)  # type: ignore[misc]  # one type for both clients


async def test_whole_scan_writes_links_and_removes_ended_ones(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    ann, bob = field.agreeing("ann"), str(world.stripe.seed_customer(metadata={"autumn_id": "bob"})["id"])
    field.in_autumn("bob", bob, send_email_receipts=False)
    field.in_autumn("unlinked", None)
    foreign = world.stripe.seed_customer(metadata={"autumn_id": "ann"})["id"]
    field.in_autumn("foreign", foreign)
    field.in_autumn("gone", "cus_gone")
    await put(world.redis, bob, "1:bob")
    await put(world.redis, "cus_ended", "1:ann")
    await scan(scan_deps_of(world, tmp_path))
    assert await index(world.redis) == {ann.encode(): b"1:ann", bob.encode(): b"0:bob"}


async def test_limited_scan_leaves_index_as_it_is(world: World, tmp_path: Path) -> None:
    Field(world.autumn, world.stripe).agreeing("ann")
    await put(world.redis, "cus_ended", "1:ann")
    await scan(scan_deps_of(world, tmp_path), kinds=("orphan",))
    assert await index(world.redis) == {b"cus_ended": b"1:ann"}


async def test_links_of_customers_synced_during_scan_stay(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    ann = field.agreeing("ann")
    field.in_autumn("bob", None)
    async with between_the_lists(world, scan_deps_of(world, tmp_path)) as running:
        before = {customer: dict(world.autumn.customers[customer]) for customer in ("ann", "bob")}
        await change(world, "ann", send_email_receipts=False)
        await reconcile(world, "bob")
        await world.run()
        bob = world.autumn.customers["bob"]["stripe_id"]
        # The page that the scan reads is older than both syncs.
        world.autumn.customers.update(before)
        world.autumn.switches.clear()
        await running
    assert await index(world.redis) == {ann.encode(): b"0:ann", bob.encode(): b"1:bob"}


async def test_index_of_wrong_type_is_replaced_by_scan(world: World, tmp_path: Path) -> None:
    ann = Field(world.autumn, world.stripe).agreeing("ann")
    await world.redis.set(LINKS, "x")
    await scan(scan_deps_of(world, tmp_path))
    assert await index(world.redis) == {ann.encode(): b"1:ann"}


async def test_full_index_takes_no_new_entry_of_scan(redis: Redis) -> None:
    await put(redis, "cus_1", "0:ann")
    links = Links(redis, PREFIX, links_kept=2)
    await links.write({f"cus_{number}": f"1:c{number}" for number in range(1, 5)}, since_ms=0)
    assert await index(redis) == {b"cus_1": b"1:c1", b"cus_2": b"1:c2"}
    assert (await read_totals(redis, PREFIX))["links_left_out"] == 2


async def test_page_of_links_is_one_round_trip(redis_server: EmbeddedRedis, redis: Redis) -> None:
    async with counting(redis_server.port) as (url, waits), Redis.from_url(url) as client:
        links = Links(client, PREFIX)
        await links.write({"cus_0": "0:c0"}, since_ms=0)
        before = waits.count
        await links.write({f"cus_{number}": f"0:c{number}" for number in range(1000)}, since_ms=0)
        assert waits.count - before == 1
    assert await redis.hlen(LINKS) == 1000  # type: ignore[misc]  # one type for both clients
