"""A person edits a name or e-mail in Stripe, and Autumn's webhook of that edit is late or lost."""

import pytest

from jobs.plan.edits import EDIT_SECONDS
from jobs.queue.watch.state import WatchKeys
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX, World
from tests.support.echoes.steps import RIGHT, apply, both, plant, recheck, update_by_another_app
from tests.support.edits import note_edits
from tests.support.steps import reconcile, time_passes


async def edit(world: World, *, seconds_ago: float = 0.0, **fields: str) -> None:
    """Edit the customer in Stripe, and note the edit as the watch does."""
    stripe_id = world.autumn.customers["ann"]["stripe_id"]
    before = dict(world.stripe.customers[stripe_id])
    world.stripe.edit(stripe_id, **fields)
    await note_edits(world.redis, "ann", fields, before, seconds_ago=seconds_ago)


async def sync(world: World) -> None:
    await reconcile(world, "ann")
    await world.run()


async def test_edit_is_left_alone_until_its_webhook_comes(world: World) -> None:
    world.stripe.webhooks.delay_seconds = None
    plant(world)
    await edit(world, name="By hand")
    await sync(world)
    await apply(world, metadata={"k": 1})
    assert both(world, "name") == ("Ann", "By hand")
    await world.stripe.webhooks.deliver_all()
    await sync(world)
    assert both(world, "name") == ("By hand", "By hand")


async def test_edit_survives_change_of_another_field(world: World) -> None:
    world.stripe.webhooks.delay_seconds = None
    plant(world)
    await edit(world, name="By hand")
    await apply(world, email="ann.new@example.com")
    assert both(world, "name") == ("Ann", "By hand")
    assert both(world, "email") == ("ann.new@example.com", "ann.new@example.com")


async def test_edit_whose_webhook_never_comes_is_copied_to_autumn(world: World) -> None:
    world.stripe.webhooks.delay_seconds = None
    plant(world)
    await edit(world, seconds_ago=EDIT_SECONDS + 1, name="By hand", email="by.hand@example.com")
    await sync(world)
    assert both(world, "name") == ("By hand", "By hand")
    assert both(world, "email") == ("by.hand@example.com", "by.hand@example.com")
    assert not [write for write in world.stripe.writes if write.changed.keys() & {"name", "email"}]


async def test_edit_of_empty_name_is_copied_to_autumn(world: World) -> None:
    world.stripe.webhooks.delay_seconds = None
    plant(world, name=None)
    world.autumn.customers["ann"]["name"] = None
    await edit(world, seconds_ago=EDIT_SECONDS + 1, name="By hand")
    await sync(world)
    assert both(world, "name") == ("By hand", "By hand")


@pytest.mark.parametrize("seconds_ago", [0.0, EDIT_SECONDS + 1])
async def test_later_event_replaces_edit(world: World, seconds_ago: float) -> None:
    world.stripe.webhooks.delay_seconds = None
    plant(world)
    await edit(world, seconds_ago=seconds_ago, name="By hand")
    await apply(world, name="By event")
    await sync(world)
    assert both(world, "name") == ("By event", "By event")
    await world.stripe.webhooks.deliver_all()
    await time_passes(world)
    await world.run()
    assert both(world, "name") == ("By event", "By event")


async def test_note_of_older_edit_undoes_no_later_value(world: World) -> None:
    world.stripe.webhooks.delay_seconds = None
    plant(world)
    await edit(world, seconds_ago=EDIT_SECONDS + 1, name="By hand")
    world.stripe.edit(world.autumn.customers["ann"]["stripe_id"], name="Ann")
    await sync(world)
    assert both(world, "name") == ("Ann", "Ann")


async def test_overwritten_edit_returns_with_very_late_webhook(world: World) -> None:
    world.stripe.webhooks.delay_seconds = None
    plant(world)
    world.stripe.edit(world.autumn.customers["ann"]["stripe_id"], name="By hand")
    await sync(world)
    assert both(world, "name") == ("Ann", "Ann")
    await note_edits(world.redis, "ann", {"name": "By hand"}, {"name": "Ann"})
    for _ in range(3):
        await time_passes(world)
        await world.run()
        assert both(world, "name") == ("Ann", "Ann")
    await world.stripe.webhooks.deliver_all()
    await time_passes(world)
    await world.run()
    assert both(world, "name") == ("By hand", "By hand")
    await recheck(world)
    assert both(world, "name") == ("By hand", "By hand")


@pytest.mark.parametrize("seconds_ago", [1.0, EDIT_SECONDS + 1])
async def test_note_of_older_edit_holds_back_no_edit_that_a_sync_overwrote(world: World, seconds_ago: float) -> None:
    world.stripe.webhooks.delay_seconds = None
    plant(world)
    await update_by_another_app(world, name="By app")
    world.stripe.edit(world.autumn.customers["ann"]["stripe_id"], name="By hand")
    await sync(world)
    await world.stripe.webhooks.deliver_all()
    assert both(world, "name") == ("By hand", "By app")
    # The watch sees the event of the app's update first. Stripe shows that value again.
    await note_edits(world.redis, "ann", {"name": "By app"}, {"name": "Ann"}, seconds_ago=seconds_ago)
    await time_passes(world)
    await world.run()
    assert both(world, "name") == ("By hand", "By hand")


async def test_edit_that_autumn_refuses_stays_in_stripe(world: World) -> None:
    plant(world)
    await edit(world, seconds_ago=EDIT_SECONDS + 1, name="By hand")
    await world.stripe.webhooks.settled()
    world.autumn.customers["ann"]["name"] = "Ann"
    world.autumn.switches.add(Fault("400", route="customers.update"))
    await sync(world)
    assert both(world, "name") == ("Ann", "By hand")
    assert await recheck(world) <= 1
    assert both(world, "name") == ("Ann", "By hand")
    world.autumn.switches.clear()
    await sync(world)
    assert both(world, "name") == ("By hand", "By hand")


@pytest.mark.parametrize("value", [None, "Newer"])
async def test_edit_undoes_no_later_value_of_autumn(world: World, value: str | None) -> None:
    world.stripe.webhooks.delay_seconds = None
    plant(world)
    await edit(world, seconds_ago=EDIT_SECONDS + 1, name="By hand")
    world.autumn.customers["ann"]["name"] = value
    await sync(world)
    assert world.autumn.customers["ann"]["name"] == value


async def request_by_watch(world: World) -> None:
    event_id = "stripe-evt_1-00000000-1-1"
    await world.redis.xadd(INBOX, {"customer_id": "ann", "type": "customer.reconcile", "event_id": event_id})
    await world.run()


async def test_watch_overwrites_no_value_that_no_sync_wrote(world: World) -> None:
    world.stripe.webhooks.delay_seconds = None
    stripe_id = plant(world)
    world.stripe.edit(stripe_id, name="By hand", email="", metadata={"autumn_send_email_receipts": ""})
    await request_by_watch(world)
    assert both(world, "name") == ("Ann", "By hand")
    assert both(world, "email") == (RIGHT, RIGHT)
    assert world.stripe.customers[stripe_id]["metadata"]["autumn_send_email_receipts"] == "false"


async def test_watch_copies_edit_that_autumn_received_over_our_older_write(world: World) -> None:
    world.stripe.webhooks.delay_seconds = None
    stripe_id = plant(world)
    world.stripe.edit(stripe_id, name="By hand")
    await sync(world)
    await note_edits(world.redis, "ann", {"name": "By hand"}, {"name": "Ann"})
    await world.redis.delete(f"{PREFIX}:remembered:ann")
    await world.stripe.webhooks.deliver_all()
    assert both(world, "name") == ("By hand", "Ann")
    await request_by_watch(world)
    assert both(world, "name") == ("By hand", "By hand")


async def test_edit_of_foreign_customer_is_not_copied(world: World) -> None:
    plant(world, owner="bob")
    await edit(world, seconds_ago=EDIT_SECONDS + 1, name="By hand")
    await sync(world)
    assert both(world, "name") == ("Ann", "By hand")
    assert both(world, "email") == (RIGHT, RIGHT)


async def test_unreadable_note_of_edit_stops_nothing(world: World) -> None:
    plant(world)
    for text in ("", "[]", "7", "{", '["x"]', '["x", "y", 1, "z"]', '["x", null, 1, "z"]', "[" * 10_000):
        await world.redis.hset(WatchKeys(PREFIX).edits("ann"), "name", text)  # type: ignore[misc]  # one type for both clients
        await apply(world, metadata={"k": len(text)})
    await world.redis.delete(WatchKeys(PREFIX).edits("ann"))
    await world.redis.set(WatchKeys(PREFIX).edits("ann"), "wrong type")
    await apply(world, metadata={"k": "last"})
