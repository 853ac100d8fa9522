"""Act on each kind of event of Stripe: a reconcile now or later, or only a count."""

import json
import time
from typing import Any

import pytest

from jobs.plan.policy import Policy
from jobs.plan.profile import digest_of
from jobs.plan.recheck import Known, Memory
from jobs.queue.mailbox import MailboxKeys
from jobs.queue.record import read_customer
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX, World
from tests.support.steps import change, seed
from tests.support.watches import KEYS, by_webhook, counted, link, pass_backlog, poll, poller_of, requested

OPEN = Policy(receipts="open")


def stripe_id_of(world: World, customer: str = "ann") -> str:
    return str(world.autumn.customers[customer]["stripe_id"])


def linked(world: World, customer: str = "ann", **fields: Any) -> str:
    """Plant a linked customer with a name and an e-mail address, and return its Stripe id."""
    values = {"name": "Ann", "email": "ann@example.com"} | fields
    stripe = world.stripe.seed_customer(metadata={"autumn_id": customer}, **values)
    world.autumn.seed(customer, stripe_id=stripe["id"], **values)
    return str(stripe["id"])


@pytest.mark.parametrize(
    "params",
    [
        {"email": ""},
        {"name": ""},
        {"metadata": {"autumn_id": ""}},
        {"metadata": {"autumn_id": "other"}},
        {"metadata": {"autumn_send_email_receipts": "true"}},
    ],
)
async def test_loss_in_stripe_is_reconciled_at_once(world: World, params: dict[str, Any]) -> None:
    await poll(world)
    world.stripe.edit(linked(world), **params)
    await poll(world)
    assert await requested(world.redis) == ["ann"]


async def test_deletion_in_stripe_is_reconciled_a_little_later(world: World) -> None:
    await poll(world)
    stripe_id = linked(world)
    world.stripe.delete(stripe_id)
    await poll(world)
    assert await requested(world.redis) == ["ann"]
    await pass_backlog(world)
    await world.run()
    assert stripe_id_of(world) != stripe_id


async def test_edit_is_deferred_and_noted(world: World) -> None:
    await poll(world)
    world.stripe.edit(linked(world), name="By a person")
    await poll(world)
    assert await requested(world.redis) == []
    due_ms = await world.redis.zscore(KEYS.later, "ann")
    assert due_ms is not None
    assert due_ms > (time.time() + 240) * 1000
    edits = await world.redis.hgetall(KEYS.edits("ann"))  # type: ignore[misc]
    assert list(edits) == [b"name"]
    assert digest_of("ann", "name", "By a person").encode() in edits[b"name"]
    await world.redis.zadd(KEYS.later, {"ann": 1})
    await poll(world)
    assert await requested(world.redis) == ["ann"]


async def test_edit_and_loss_are_reconciled_now_and_later(world: World) -> None:
    await poll(world)
    world.stripe.edit(linked(world), name="By a person", email="")
    await poll(world)
    assert await requested(world.redis) == ["ann"]
    assert await world.redis.zcard(KEYS.later) == 1


async def test_write_of_a_sync_leads_to_nothing(world: World) -> None:
    await poll(world)
    linked(world)
    await change(world, "ann", name="Anna", email="anna@example.com")
    await world.run()
    await poll(world)
    assert await requested(world.redis) == []
    found = await counted(world.redis)
    assert found.pop("customer.updated:own") >= 1
    assert found.keys() <= {"customer.updated:autumn"}


async def test_write_of_autumn_that_a_sync_caused_leads_to_nothing(world: World) -> None:
    await poll(world)
    stripe_id, now = linked(world), time.time()
    memory = Memory("ann", now, {"name": Known(now, newest=(digest_of("ann", "name", "Anna"),))})
    memory.fields["email"] = Known(now, unaccepted=digest_of("ann", "email", "anna@example.com"))
    await world.redis.set(MailboxKeys(PREFIX).remembered("ann"), json_of(memory))
    world.stripe.edit(stripe_id, name="Anna", email="anna@example.com")
    await poll(world)
    assert await counted(world.redis) == {"customer.updated:autumn": 1}
    assert await world.redis.exists(KEYS.later, KEYS.edits("ann"), INBOX) == 0
    world.stripe.edit(stripe_id, name="Another", email="")
    await poll(world)
    assert await requested(world.redis) == ["ann"]
    assert await world.redis.zcard(KEYS.later) == 1


async def test_orphans_and_foreign_customers_are_only_counted(world: World) -> None:
    await poll(world)
    linked(world)
    orphan = world.stripe.seed_customer(email="a@example.com", metadata={"autumn_id": "nobody"})
    foreign = world.stripe.seed_customer(email="b@example.com", metadata={"autumn_id": "ann"})
    unusual = world.stripe.seed_customer(email="c@example.com", metadata={"autumn_id": "not an id"})
    for customer in (orphan, foreign, unusual):
        world.stripe.edit(customer["id"], email="")
    await poll(world)
    assert await requested(world.redis) == []
    assert await counted(world.redis) == {
        "customer.updated:orphan": 1,
        "customer.updated:foreign": 1,
        "customer.updated:unknown": 1,
    }


async def test_created_customer_of_an_unlinked_owner_is_reconciled(world: World) -> None:
    await poll(world)
    world.autumn.seed("ann")
    shown = world.stripe.seed_customer(metadata={"autumn_id": "ann"})
    world.stripe.events.record("customer.created", shown, world.stripe.events.cause("app"))
    await poll(world)
    assert await requested(world.redis) == ["ann"]


async def test_index_finds_the_customer_without_its_mark(world: World) -> None:
    await poll(world)
    shown = world.stripe.seed_customer(email="a@example.com")
    world.autumn.seed("ann", stripe_id=shown["id"])
    world.stripe.edit(shown["id"], email="")
    await poll(world)
    await link(world.redis, shown["id"], "ann")
    world.stripe.edit(shown["id"], email="b@example.com")
    world.stripe.edit(shown["id"], email="")
    await poll(world)
    assert await requested(world.redis) == ["ann"]
    assert await counted(world.redis) == {
        "customer.updated:unknown": 1,
        "customer.updated:requested": 1,
        "customer.updated:deferred": 1,
    }


@pytest.mark.parametrize("fault", [Fault("503"), Fault("hang"), Fault("garbage"), Fault("cut")])
async def test_reconcile_is_requested_if_autumn_does_not_answer(world_with_timeouts: World, fault: Fault) -> None:
    world = world_with_timeouts
    await poll(world)
    world.stripe.edit(linked(world), email="")
    world.autumn.switches.add(fault)
    await poll(world)
    world.autumn.switches.clear()
    world.autumn.switches.release()
    assert await requested(world.redis) == ["ann"]


@pytest.mark.parametrize("status", ["requires_payment_method", "requires_action", "processing", "succeeded"])
async def test_payment_of_a_customer_with_receipts_is_reconciled_once(world: World, status: str) -> None:
    poller = poller_of(world, policy=OPEN)
    await poll(world, poller)
    stripe_id = linked(world)
    await link(world.redis, stripe_id, "ann", receipts=True)
    world.stripe.begin_payment(customer=stripe_id, amount=100, status=status)
    await poll(world, poller)
    assert await requested(world.redis) == ["ann"]


@pytest.mark.parametrize(
    ("policy", "receipts", "outcome"),
    [(OPEN, False, "receipts_off"), (OPEN, None, "unknown")],
)
async def test_payment_is_only_counted_without_receipts(
    world: World, policy: Policy, receipts: bool | None, outcome: str
) -> None:
    poller = poller_of(world, policy=policy)
    await poll(world, poller)
    stripe_id = linked(world)
    if receipts is not None:
        await link(world.redis, stripe_id, "ann", receipts=receipts)
    world.stripe.begin_payment(customer=stripe_id, amount=100)
    await poll(world, poller)
    assert await requested(world.redis) == []
    assert await counted(world.redis) == {f"payment_intent.created:{outcome}": 1}


async def test_payments_are_not_listed_if_no_sync_would_read_them(world: World) -> None:
    poller = poller_of(world, policy=Policy())
    await poll(world, poller)
    stripe_id = linked(world)
    await link(world.redis, stripe_id, "ann", receipts=True)
    world.stripe.begin_payment(customer=stripe_id, amount=100)
    await poll(world, poller)
    assert (await requested(world.redis), await counted(world.redis)) == ([], {})


async def test_invoice_without_an_address_is_reconciled_under_any_policy(world: World) -> None:
    await poll(world)
    stripe_id = linked(world, email=None)
    await link(world.redis, stripe_id, "ann", receipts=True)
    world.stripe.finalize_invoice(stripe_id)
    await poll(world)
    assert await requested(world.redis) == ["ann"]
    assert (await counted(world.redis))["invoice.finalized:invoice_without_email"] == 1


async def test_receipt_number_proves_a_receipt(world: World) -> None:
    stripe_id = linked(world)
    await link(world.redis, stripe_id, "ann", receipts=True)
    await change(world, "ann", name="Ann B")
    await world.run()
    shown = {
        "id": "ch_1",
        "object": "charge",
        "customer": stripe_id,
        "receipt_number": "2000-1",
        "payment_intent": "pi_1",
    }
    events = world.stripe.events
    events.record("charge.updated", shown, events.cause("stripe"), {"receipt_number": None})
    event = events.made[-1]
    for _ in range(2):
        await by_webhook(world, event)
    record = await read_customer(world.redis, PREFIX, "ann")
    assert (record.receipt_number, record.receipt_at_ms) == ("2000-1", event["created"] * 1000)
    assert [(each.type, each.cause) for each in record.seen_in_stripe] == [("charge.updated", "stripe")]
    assert (await counted(world.redis))["charge.updated:receipt_sent"] == 1


async def test_record_shows_who_changed_which_fields(world: World) -> None:
    linked(world)
    await change(world, "ann", name="Ann B")
    await world.run()
    await poll(world)
    world.stripe.edit(stripe_id_of(world), email="", metadata={"autumn_id": ""})
    await poll(world)
    (seen,) = (await read_customer(world.redis, PREFIX, "ann")).seen_in_stripe
    assert (seen.type, seen.cause, seen.fields) == ("customer.updated", "dashboard", ("email", "metadata.autumn_id"))


async def test_other_types_and_unreadable_events_stop_nothing(world: World) -> None:
    seed(world, "ann")
    await by_webhook(
        world, {"id": "evt_1", "type": "balance.available", "created": 1, "livemode": False, "data": {"object": {}}}
    )
    for _ in range(2):
        await by_webhook(world, {"id": "evt_2", "type": "customer.updated", "created": "x"})
    await by_webhook(world, {"type": "customer.updated", "created": 5})
    await by_webhook(world, {})
    assert await counted(world.redis) == {"customer.updated:unreadable": 2, "other:unreadable": 1}


def json_of(memory: Memory) -> str:
    """Return the stored form."""
    return json.dumps(memory.as_dict())
