"""Echoes between two steps of a sync, after a change of the link, or after an update that changed nothing.

`test_echo_property.py` found each of these cases.
"""

import asyncio

import pytest
from aiohttp import web

from sandbox.faults import Fault, Switches
from tests.conftest import World
from tests.support.echoes.steps import RIGHT, apply, both, plant, recheck, update_by_another_app
from tests.support.steps import change, reconcile, time_passes


class OnlyOurWritesFail(Switches):
    """Stripe refuses the writes of the worker and accepts those of Autumn."""

    def pick(self, request: web.Request) -> Fault | None:
        """See Switches."""
        return Fault("503") if request.headers.get("Idempotency-Key", "").startswith("autumn:") else None


async def test_echo_between_link_and_profile_loses_nothing(world: World) -> None:
    world.stripe.webhooks.without_change = True
    plant(world)
    other = world.stripe.seed_customer(name="X", email="x@example.com")["id"]
    switches, world.stripe.switches = world.stripe.switches, OnlyOurWritesFail()
    await change(world, "ann", stripe_id=other)
    await world.run()
    await world.stripe.webhooks.deliver_all()
    assert both(world, "name") == ("X", "X")
    world.stripe.switches = switches
    await time_passes(world)
    await world.run()
    await recheck(world)
    assert both(world, "name") == ("Ann", "Ann")
    assert both(world, "email") == (RIGHT, RIGHT)


@pytest.mark.parametrize("by", ["an app in Autumn", "a person in Stripe"])
async def test_late_echo_of_unchanged_update_loses_no_newer_change(world: World, by: str) -> None:
    world.stripe.webhooks.without_change = True
    stripe_id = plant(world)
    await apply(world, metadata={"k": 1})
    late = world.stripe.webhooks.events[0]
    if by == "an app in Autumn":
        await update_by_another_app(world, name="Theirs")
    else:
        world.stripe.edit(stripe_id, name="Theirs")
    await world.stripe.webhooks.deliver_all()
    await world.stripe.webhooks.deliver(late)
    assert both(world, "name") == ("Ann", "Theirs")
    await reconcile(world, "ann")
    await world.run()
    assert both(world, "name") == ("Theirs", "Theirs")


@pytest.mark.parametrize("is_cleared", [False, True], ids=["none before", "cleared by a change"])
async def test_echo_never_overwrites_newer_edit_of_person(world: World, *, is_cleared: bool) -> None:
    world.stripe.webhooks.without_change = True
    plant(world)
    if is_cleared:
        await apply(world, name=None)
        world.stripe.webhooks.pending.clear()
    world.autumn.customers["ann"]["name"] = None
    other = world.stripe.seed_customer(name="X")["id"]
    await apply(world, stripe_id=other)
    late = next(each for each in world.stripe.webhooks.events if each["data"]["object"]["name"] == "X")
    world.stripe.edit(other, name="By hand")
    await world.stripe.webhooks.deliver_all()
    await world.stripe.webhooks.deliver(late)
    assert both(world, "name") == ("X", "By hand")
    await reconcile(world, "ann")
    await world.run()
    assert both(world, "name") == ("By hand", "By hand")


@pytest.mark.parametrize("target", ["the same", "another"])
async def test_relink_after_echo_carries_no_older_value(world: World, target: str) -> None:
    plant(world)
    await apply(world, name="v2")
    world.autumn.customers["ann"]["name"] = "Ann"  # as a late webhook leaves it
    link = world.autumn.customers["ann"]["stripe_id"]
    other = world.stripe.seed_customer(name="X", email="x@example.com")["id"]
    await apply(world, stripe_id=link if target == "the same" else other)
    await recheck(world)
    assert both(world, "name") == ("v2", "v2")
    assert both(world, "email") == (RIGHT, RIGHT)


@pytest.mark.parametrize("target", ["ours", "unclaimed", "found by our id"])
async def test_edit_before_link_does_not_reach_autumn(world: World, target: str) -> None:
    plant(world)
    metadata = {} if target == "unclaimed" else {"autumn_id": "ann"}
    other = world.stripe.seed_customer(name="Ann", email=RIGHT, metadata=metadata)["id"]
    if target == "found by our id":
        link = world.autumn.customers["ann"]["stripe_id"]
        world.stripe.edit(link, metadata={"autumn_id": ""})
        world.autumn.customers["ann"]["stripe_id"] = None
    world.stripe.edit(other, email="hand@example.com")
    if target == "found by our id":
        await reconcile(world, "ann")
        await world.run()
    else:
        await apply(world, stripe_id=other)
    await world.stripe.webhooks.deliver_all()
    await recheck(world)
    assert both(world, "email") == (RIGHT, RIGHT)


async def test_field_of_waiting_change_is_not_reapplied(world: World) -> None:
    stripe_id = plant(world)
    await apply(world, name="v1", email="ann.new@example.com")
    world.stripe.edit(stripe_id, name="By hand", email="hand@example.com")
    world.autumn.switches.add(Fault("hang", route="customers.update", times=1, seconds=3600))
    syncing = asyncio.create_task(apply(world, name="v2"))
    while not world.autumn.switches.fired.get("hang"):
        await world.redis.ping()
    await world.stripe.webhooks.deliver_all()
    world.autumn.switches.release()
    await syncing
    names = [call.body["name"] for call in world.autumn.calls if "name" in call.body]
    assert names == ["v1", "v2"]
    await recheck(world)
    assert both(world, "name") == ("v2", "v2")
    assert both(world, "email") == ("hand@example.com", "hand@example.com")
