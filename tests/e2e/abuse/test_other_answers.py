"""Stripe answers with other objects than requested: they are not written, and no change is lost."""

from collections.abc import AsyncIterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from sandbox.everything import Sandbox
from sandbox.faults import Fault
from tests.conftest import read_dead
from tests.support.busy import assert_untroubled, attacked_box
from tests.support.processes import wait_until, worker
from tests.support.steps import make_due

CHANGES: Final = {"name": "Ann", "email": "ann@example.com", "send_email_receipts": True}
SHOWS_ITSELF: Final = "POST /v1/payment_intents/"
"""Routes that fail only once, because the next try finds the write done."""
ROUTES: Final = {
    "retrieve": "GET /v1/customers/cus_",
    "update": "POST /v1/customers/cus_",
    "payments": "GET /v1/payment_intents",
    "payment update": SHOWS_ITSELF,
    "everything": "",
}


@dataclass
class Others:
    """The initial state of two Stripe customers that a wrong answer may describe, each with a payment.

    One is unclaimed. The other belongs to another Autumn customer.
    """

    box: Sandbox
    before: dict[str, Any]

    def assert_untouched(self) -> None:
        """Assert that neither was written, claimed or linked."""
        stripe = self.box.stripe
        assert {each: (stripe.customers | stripe.payment_intents)[each] for each in self.before} == self.before
        assert [write for write in stripe.writes if write.object_id in self.before] == []
        assert self.box.autumn.customers["ann"]["stripe_id"] not in self.before


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with attacked_box() as everything:
        everything.environment["RECEIPTS"] = "open"
        yield everything


def plant_others(box: Sandbox) -> Others:
    stripe = box.stripe
    bob = stripe.seed_customer(name="Bob", email="bob@example.com", metadata={"autumn_id": "bob"})
    box.autumn.seed("bob", stripe_id=bob["id"], name="Bob", email="bob@example.com")
    customers = [stripe.seed_customer(name="Nobody's", email="nobody@example.com"), bob]
    payments = [stripe.seed_payment_intent(customer=each["id"]) for each in customers]
    return Others(box, {each["id"]: deepcopy(each) for each in (*customers, *payments)})


async def sync_through(box: Sandbox, others: Others, route: str) -> None:
    """Send a change of ann while Stripe answers wrongly; correct Stripe after a retry, and wait until it is applied."""
    box.stripe.switches.add(Fault("other", route=route))
    async with worker(box.environment) as running, Redis.from_url(box.redis.url) as redis:
        event = await send(redis, new_update(customer_id="ann", changes=CHANGES))

        async def is_tried_again() -> bool:
            await make_due(redis)
            return sum("retry_scheduled" in line for line in running.log) >= (1 if route == SHOWS_ITSELF else 2)

        await wait_until(is_tried_again)
        others.assert_untouched()
        box.stripe.switches.clear()

        async def is_applied() -> bool:
            await make_due(redis)
            outcome = await outcome_of(redis, event)
            return outcome is not None and outcome.status == "applied"

        await wait_until(is_applied)
        assert await read_dead(redis) == []
    assert any('"unexpected_response"' in line for line in running.log)
    assert_untroubled(running.log)
    others.assert_untouched()


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
async def test_linked_customer_is_synced_when_answers_recover(box: Sandbox, route: str) -> None:
    linked = box.stripe.seed_customer(metadata={"autumn_id": "ann"})
    payment = box.stripe.seed_payment_intent(customer=linked["id"])
    box.autumn.seed("ann", stripe_id=linked["id"])
    await sync_through(box, plant_others(box), route)
    stripe = box.stripe.customers[linked["id"]]
    assert (stripe["name"], stripe["email"]) == ("Ann", "ann@example.com")
    assert box.stripe.payment_intents[payment["id"]]["receipt_email"] == "ann@example.com"


@pytest.mark.parametrize(
    ("route", "email"),
    [("GET /v1/customers", "ann@example.com"), ("GET /v1/customers/search", None), ("", "ann@example.com")],
    ids=["lists", "search", "everything"],
)
async def test_stripe_customer_that_wrong_lists_hide_is_found_and_linked(
    box: Sandbox, route: str, email: str | None
) -> None:
    box.autumn.seed("ann", email=email)
    box.stripe.seed_customer(email=email, metadata={"autumn_id": "ann"})
    await sync_through(box, plant_others(box), route)
    assert_has_one(box)


@pytest.mark.parametrize("route", ["POST /v1/customers", ""], ids=["create", "everything"])
async def test_customer_without_link_gets_one_stripe_customer(box: Sandbox, route: str) -> None:
    box.autumn.seed("ann")
    await sync_through(box, plant_others(box), route)
    assert_has_one(box)


def assert_has_one(box: Sandbox) -> None:
    (ours,) = [each for each in box.stripe.customers.values() if each["metadata"].get("autumn_id") == "ann"]
    assert box.autumn.customers["ann"]["stripe_id"] == ours["id"]
    assert (ours["name"], ours["email"]) == ("Ann", "ann@example.com")
