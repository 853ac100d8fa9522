"""The reconciles that the watch keeps back: in a bulk edit, and for a customer that changes too often."""

from jobs.queue.watch.queue import REQUESTS_AN_HOUR, WAITING_AT_MOST
from jobs.queue.watch.state import read_watch
from tests.conftest import INBOX, PREFIX, World, read_dead
from tests.support.watches import counted, pass_backlog, plant_linked, poll, poller_of, requested


def stripe_id(world: World, customer: str) -> str:
    return str(world.autumn.customers[customer]["stripe_id"])


async def test_bulk_edit_lets_events_of_apps_go_first(world: World) -> None:
    customers = [f"c{number}" for number in range(130)]
    plant_linked(world, *customers)
    for each in customers:
        world.stripe.edit(stripe_id(world, each), email="")
    await poll(world)
    assert await world.redis.xlen(INBOX) == WAITING_AT_MOST
    assert (await read_watch(world.redis, PREFIX)).backlog == 30
    assert (await counted(world.redis))["customer.updated:queued"] == 30
    await world.redis.xtrim(INBOX, maxlen=0)
    poller = poller_of(world)
    await poller.tick()
    await poller.tick()
    assert len(await requested(world.redis)) == 30
    assert (await read_watch(world.redis, PREFIX)).backlog == 0


async def test_customer_that_changes_too_often_is_deferred(world: World) -> None:
    plant_linked(world, "ann")
    for _ in range(REQUESTS_AN_HOUR + 3):
        world.stripe.edit(stripe_id(world, "ann"), metadata={"autumn_send_email_receipts": "true"})
        world.stripe.edit(stripe_id(world, "ann"), metadata={"autumn_send_email_receipts": ""})
    await poll(world)
    assert await requested(world.redis) == ["ann"]
    assert (await read_watch(world.redis, PREFIX)).deferred == 1


async def test_watch_without_polls_forgets_its_position(world: World) -> None:
    await poll(world)
    await poller_of(world, poll_seconds=0).tick()
    state = await read_watch(world.redis, PREFIX)
    assert (state.position_ms, state.off, state.behind_seconds(2**50)) == (None, "setting", 0)
    await poll(world)
    assert (await read_watch(world.redis, PREFIX)).off == ""


async def test_customer_deleted_by_autumn_is_not_created_again(world: World) -> None:
    plant_linked(world, "ann")
    await poll(world)
    world.stripe.delete(stripe_id(world, "ann"))
    await poll(world)
    assert (await world.redis.xlen(INBOX), await requested(world.redis)) == (0, ["ann"])
    # Autumn deletes in Stripe first.
    del world.autumn.customers["ann"]
    await pass_backlog(world)
    await world.run()
    assert [write.endpoint for write in world.stripe.writes] == []
    assert await read_dead(world.redis) == []
