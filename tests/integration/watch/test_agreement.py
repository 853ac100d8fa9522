"""From an event of Stripe to agreement: the watch requests, and the sync repairs."""

from typing import Any

from sandbox.faults import Fault
from tests.conftest import World
from tests.support.edits import age_notes
from tests.support.steps import reconcile, under
from tests.support.watches import KEYS, counted, pass_backlog, poll, poller_of, requested

EMAIL = "ann@example.com"


async def synced(world: World, **fields: Any) -> str:
    """Plant a linked customer that was synced, and return its Stripe id."""
    shown = world.stripe.seed_customer(name="Ann", email=EMAIL, metadata={"autumn_id": "ann"})
    world.autumn.seed("ann", name="Ann", email=EMAIL, stripe_id=shown["id"], **fields)
    await poll(world)
    await reconcile(world, "ann")
    await world.run()
    return str(shown["id"])


async def repaired(world: World) -> None:
    """Poll once, and sync what that requested."""
    await poll(world, poller_of(world, policy=world.deps.policy))
    await world.run()


async def test_loss_in_stripe_is_repaired_once(world: World) -> None:
    stripe_id = await synced(world)
    world.stripe.edit(stripe_id, name="", email="", metadata={"autumn_id": ""})
    await repaired(world)
    after = world.stripe.customers[stripe_id]
    assert (after["name"], after["email"], after["metadata"]["autumn_id"]) == ("Ann", EMAIL, "ann")
    await poll(world)
    assert await requested(world.redis) == []
    assert await world.redis.exists(KEYS.later) == 0
    assert (await counted(world.redis))["customer.updated:own"] >= 1


async def test_payment_gets_its_address_within_a_poll(world: World) -> None:
    world = under(world, receipts="open")
    stripe_id = await synced(world, send_email_receipts=True)
    intent = world.stripe.begin_payment(customer=stripe_id, amount=100)
    await repaired(world)
    assert world.stripe.payment_intents[intent["id"]]["receipt_email"] == EMAIL


async def test_succeeded_payment_is_mailed_once(world: World) -> None:
    world = under(world, receipts="recover")
    stripe_id = await synced(world, send_email_receipts=True)
    world.stripe.begin_payment(customer=stripe_id, amount=100, status="succeeded")
    for _ in range(3):
        await repaired(world)
    assert [mail.address for mail in world.stripe.mails] == [EMAIL]


async def test_edit_without_webhook_reaches_autumn_when_it_is_due(world: World) -> None:
    stripe_id = await synced(world)
    world.stripe.edit(stripe_id, name="By a person")
    await repaired(world)
    assert world.autumn.customers["ann"]["name"] == "Ann"
    await age_notes(world.redis, "ann")
    await world.redis.zadd(KEYS.later, {"ann": 1})
    await repaired(world)
    assert world.autumn.customers["ann"]["name"] == "By a person"
    assert world.stripe.customers[stripe_id]["name"] == "By a person"


async def test_edit_survives_a_sync_before_its_webhook(world: World) -> None:
    stripe_id = await synced(world)
    world.stripe.edit(stripe_id, name="By a person", email="")
    await repaired(world)
    after = world.stripe.customers[stripe_id]
    assert (after["name"], after["email"]) == ("By a person", EMAIL)
    await world.stripe.webhooks.deliver_all()
    await repaired(world)
    assert world.autumn.customers["ann"]["name"] == "By a person"


async def test_deletion_while_autumn_is_away_is_repaired_later(world: World) -> None:
    stripe_id = await synced(world)
    world.stripe.delete(stripe_id)
    world.autumn.switches.add(Fault("503"))
    await poll(world)
    world.autumn.switches.clear()
    await pass_backlog(world)
    await world.run()
    now = world.autumn.customers["ann"]["stripe_id"]
    assert now != stripe_id
    assert world.stripe.customers[now]["email"] == EMAIL
