"""Workers that follow Stripe's events, as the Procfile starts them."""

import signal
from collections.abc import AsyncIterator
from functools import partial

import pytest

from sandbox.everything import Sandbox
from tests.support.processes import wait_until, worker
from tests.support.unlimited import unlimited_sandbox
from tests.support.watching import watched

SECRET = "whsec_watch"
EACH_SECOND = {"STRIPE_EVENTS_POLL_SECONDS": "1"}


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with unlimited_sandbox() as everything:
        yield everything


def linked(box: Sandbox, customer: str) -> str:
    """Plant a linked customer with an e-mail address, and return its Stripe id."""
    email = f"{customer}@example.com"
    shown = box.stripe.seed_customer(email=email, metadata={"autumn_id": customer})
    box.autumn.seed(customer, stripe_id=shown["id"], email=email)
    return str(shown["id"])


async def polled(box: Sandbox, times: int) -> None:
    """Wait for further polls."""
    before = sum(call.endpoint == "events.list" for call in box.stripe.calls)

    async def is_polled() -> bool:
        return sum(call.endpoint == "events.list" for call in box.stripe.calls) >= before + times

    await wait_until(is_polled)


async def test_edits_in_stripe_are_repaired_after_a_worker_died(box: Sandbox) -> None:
    ann, ben = linked(box, "ann"), linked(box, "ben")

    async def has_email(stripe_id: str, customer: str) -> bool:
        return bool(box.stripe.customers[stripe_id].get("email") == f"{customer}@example.com")

    async def is_healed() -> bool:
        now = box.autumn.customers["ben"]["stripe_id"]
        return bool(now != ben and await has_email(now, "ben"))

    async with worker(box.environment | EACH_SECOND) as first, worker(box.environment | EACH_SECOND):
        await polled(box, 2)
        box.stripe.edit(ann, email="")
        await wait_until(partial(has_email, ann, "ann"))
        first.process.send_signal(signal.SIGKILL)
        box.stripe.delete(ben)
        await wait_until(is_healed)


async def test_worker_without_polls_reads_no_events(box: Sandbox) -> None:
    async with worker(box.environment | {"STRIPE_EVENTS_POLL_SECONDS": "0"}) as running:
        await running.says("process_started")
    assert [call.endpoint for call in box.stripe.calls if call.endpoint.startswith("events")] == []


async def test_webhook_is_acted_on_without_a_poll(box: Sandbox) -> None:
    ann = linked(box, "ann")

    async def is_repaired() -> bool:
        return bool(box.stripe.customers[ann]["email"] == "ann@example.com")

    settings = {"STRIPE_EVENTS_POLL_SECONDS": "0", "STRIPE_WEBHOOK_SECRETS": SECRET}
    async with watched(box.environment | settings) as shown:
        box.stripe.webhooks.add_endpoint(f"{shown.url}/stripe/webhook", secret=SECRET, types=["customer.*"])
        box.stripe.edit(ann, email="")
        await wait_until(is_repaired)
    assert [call.endpoint for call in box.stripe.calls if call.endpoint.startswith("events")] == []
