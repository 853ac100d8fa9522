"""The simulated Autumn as the receiver of the simulated Stripe's events."""

from collections.abc import AsyncIterator

import pytest

from sandbox.everything import sandbox
from sandbox.stripe.webhooks import Webhooks
from tests.integration.sandbox.test_autumn_simulator import LINKED, World
from tests.integration.sandbox.test_autumn_simulator import world as opened


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Yield Autumn and Stripe with the customer "ann". Stripe's events are held."""
    async with opened() as here:
        here.stripe.webhooks.url = here.url + here.autumn.webhook_path
        here.stripe.webhooks.delay_seconds = None
        yield here


def webhooks(world: World) -> Webhooks:
    return world.stripe.webhooks


async def test_late_echo_restores_old_name(world: World) -> None:
    await world.rename("First")
    await world.rename("Second")
    await webhooks(world).deliver(0)
    assert (world.ann["name"], world.stripe.customers[LINKED]["name"]) == ("First", "Second")


async def test_echo_overwrites_field_that_nobody_changed(world: World) -> None:
    world.stripe.customers[LINKED]["email"] = "stale@example.com"
    await world.rename("Anna")
    assert world.ann["email"] == "ann@example.com"
    await webhooks(world).deliver_all()
    assert (world.ann["name"], world.ann["email"]) == ("Anna", "stale@example.com")


async def test_only_webhooks_that_change_a_customer_are_noted(world: World) -> None:
    world.stripe.customers[LINKED]["email"] = "stale@example.com"
    await world.rename("Anna")
    await webhooks(world).deliver(0)
    await webhooks(world).deliver(0)
    (noted,) = world.autumn.copied
    assert (noted.event_id, noted.customer_id) == (webhooks(world).events[0]["id"], "ann")
    assert noted.changed == {"email": ("ann@example.com", "stale@example.com")}


async def test_echo_restores_email_that_was_cleared_in_autumn_alone(world: World) -> None:
    await world.call("update", {"customer_id": "ann", "email": None})
    await world.rename("Anna")
    await webhooks(world).deliver_all()
    assert world.ann["email"] == "ann@example.com"


async def test_update_that_changes_nothing_in_stripe_has_no_echo(world: World) -> None:
    await world.call("update", {"customer_id": "ann", "send_email_receipts": True})
    world.stripe.customers[LINKED]["name"] = "Anna"
    await world.rename("Anna")
    assert webhooks(world).events == []


async def test_write_under_autumn_key_has_no_echo(world: World) -> None:
    for key, name in (("autumn:update:1", "Kept out"), ("stripe-node-retry-1", "Let in")):
        async with world.session.post(
            f"{world.stripe_url}/v1/customers/{LINKED}",
            data={"name": name},
            headers={"Authorization": f"Bearer {world.stripe.key}", "Idempotency-Key": key},
        ) as answer:
            assert answer.status == 200
        await webhooks(world).deliver_all()
        assert (world.ann["name"] == name) is not key.startswith("autumn:")


async def test_dashboard_edit_reaches_autumn(world: World) -> None:
    world.stripe.edit(LINKED, name="Edited", email="edited@example.com")
    await webhooks(world).deliver_all()
    assert (world.ann["name"], world.ann["email"]) == ("Edited", "edited@example.com")


async def test_field_emptied_in_dashboard_stays_in_autumn(world: World) -> None:
    world.stripe.edit(LINKED, name="", email="edited@example.com")
    await webhooks(world).deliver_all()
    assert (world.ann["name"], world.ann["email"]) == ("Ann", "edited@example.com")


async def test_create_and_delete_in_stripe_change_nothing_in_autumn(world: World) -> None:
    before = dict(world.ann)
    world.stripe.delete(LINKED)
    await webhooks(world).deliver_all()
    assert world.ann == before


async def test_event_of_unlinked_customer_changes_nothing(world: World) -> None:
    world.ann["stripe_id"] = None
    world.stripe.edit(LINKED, name="Edited")
    await webhooks(world).deliver_all()
    assert world.ann["name"] == "Ann"


async def test_shared_link_overwrites_one_of_the_two(world: World) -> None:
    world.autumn.seed("bob", name="Bob", email="bob@example.com", stripe_id=LINKED)
    await world.call("update", {"customer_id": "bob", "name": "Bobby"})
    await webhooks(world).deliver_all()
    assert (world.ann["name"], world.autumn.customers["bob"]["name"]) == ("Bobby", "Bobby")


async def test_echoes_are_on_in_the_sandbox() -> None:
    async with sandbox(aof=False) as everything:
        linked = everything.stripe.seed_customer(name="Ann", email="ann@example.com")["id"]
        everything.autumn.seed("ann", name="Ann", email="ann@example.com", stripe_id=linked)
        everything.stripe.edit(linked, name="Edited")
        await everything.stripe.webhooks.settled()
        assert everything.autumn.customers["ann"]["name"] == "Edited"
