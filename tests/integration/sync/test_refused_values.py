"""Autumn refuses a change in a sync that creates or links the Stripe customer: no value of the change stays there."""

from typing import Any, Final

import pytest
from aiohttp import web

from jobs.enqueue import outcome_of
from sandbox.faults import Fault, Handler, Refuse, Switches
from tests.conftest import PREFIX, World, read_dead
from tests.support.steps import change, time_passes, under

REFUSED: Final = {"name": "Refused", "email": "refused@example.com"}
FULL: Final[dict[str, Any]] = {"name": "Ann", "email": "ann@example.com"}
EMPTY: Final[dict[str, Any]] = {"name": None, "email": None}


class RefusesText(Switches):
    """Refuses each update of Autumn that contains a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    async def serve(self, request: web.Request, handler: Handler, refuse: Refuse) -> web.StreamResponse:
        """See Switches."""
        if "customers.update" in request.path and self.text in await request.text():
            return refuse(400, request)
        return await handler(request)


def profile(customer: dict[str, Any]) -> dict[str, Any]:
    return {name: customer[name] for name in FULL}


def in_stripe(world: World) -> dict[str, Any]:
    """Return the profile of the only Stripe customer that is not deleted."""
    (customer,) = [each for each in world.stripe.customers.values() if not each.get("deleted")]
    return profile(customer)


async def status(world: World, event: str) -> str:
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    return outcome.status


def plant(world: World, how: str, held: dict[str, Any]) -> None:
    """Add an Autumn customer whose Stripe customer the next sync finds or creates."""
    stripe_id = world.stripe.seed_customer(deleted=True)["id"] if "deleted" in how else None
    world.autumn.seed("ann", stripe_id="cus_missing" if "missing" in how else stripe_id, **held)
    if "found" in how:
        world.stripe.seed_customer(metadata={"autumn_id": "ann"}, **held)


@pytest.mark.parametrize("held", [FULL, EMPTY], ids=["full", "empty"])
@pytest.mark.parametrize(
    "how", ["created", "found", "deleted and created", "deleted and found", "missing and created", "missing and found"]
)
async def test_refused_value_does_not_stay_in_new_link(world: World, how: str, held: dict[str, Any]) -> None:
    plant(world, how, held)
    world.autumn.switches = RefusesText("Refused")
    event = await change(world, "ann", **REFUSED)
    await world.run()
    assert await status(world, event) == "dead"
    assert in_stripe(world) == profile(world.autumn.customers["ann"]) == held
    linked = world.stripe.customers[world.autumn.customers["ann"]["stripe_id"]]
    assert (linked.get("deleted"), linked["metadata"]["autumn_id"]) == (None, "ann")


@pytest.mark.parametrize("held", [FULL, EMPTY], ids=["full", "empty"])
@pytest.mark.parametrize("how", ["created", "found"])
async def test_refused_value_does_not_stay_if_link_is_refused_too(world: World, how: str, held: dict[str, Any]) -> None:
    plant(world, how, held)
    world.autumn.switches.add(Fault("400", route="customers.update"))
    event = await change(world, "ann", **REFUSED)
    await world.run()
    assert await status(world, event) == "dead"
    assert world.autumn.customers["ann"]["stripe_id"] is None
    assert in_stripe(world) == held


async def test_refused_value_does_not_stay_in_customer_that_the_event_links(world: World) -> None:
    world.autumn.seed("ann", **FULL)
    x = world.stripe.seed_customer(name="X")["id"]
    world.autumn.switches = RefusesText("Refused")
    event = await change(world, "ann", stripe_id=x, **REFUSED)
    await world.run()
    assert await status(world, event) == "dead"
    assert in_stripe(world) == FULL


async def test_customer_created_for_value_that_stripe_refuses_is_linked(world: World) -> None:
    plant(world, "created", FULL)
    event = await change(world, "ann", email="foo@com")
    await world.run()
    assert await status(world, event) == "dead"
    assert world.stripe.customers.keys() == {world.autumn.customers["ann"]["stripe_id"]}
    assert in_stripe(world) == profile(world.autumn.customers["ann"]) == FULL


async def test_refused_value_is_gone_before_later_event_is_applied(world: World) -> None:
    plant(world, "created", EMPTY)
    world.autumn.switches = RefusesText("Refused")
    events = [await change(world, "ann", **REFUSED), await change(world, "ann", metadata={"k": 1})]
    await world.run()
    assert [await status(world, event) for event in events] == ["dead", "applied"]
    assert in_stripe(world) == profile(world.autumn.customers["ann"]) == EMPTY


async def test_refused_value_does_not_stay_for_customer_that_the_sync_creates(world: World) -> None:
    creating = under(world, when_missing="create")
    creating.autumn.switches = RefusesText("Refused")
    event = await change(creating, "ann", **REFUSED)
    await creating.run()
    assert await status(creating, event) == "dead"
    assert in_stripe(creating) == EMPTY


@pytest.mark.parametrize("held", [FULL, EMPTY], ids=["full", "empty"])
async def test_value_of_event_that_is_given_up_does_not_stay_in_new_customer(
    world: World, held: dict[str, Any]
) -> None:
    plant(world, "created", held)
    world.autumn.switches.add(Fault("503", route="customers.update"))
    await world.redis.xadd("customer-updates", {"customer_id": "ann", "changes": '{"name": "Refused"}'}, id="1000-0")
    for _ in range(20):
        await world.run()
        if await read_dead(world.redis):
            break
        await world.redis.hset(f"{PREFIX}:customer:ann", "failing_since", "1.0")  # type: ignore[misc]  # one type for both
        await time_passes(world)
    assert [letter["reason"] for letter in await read_dead(world.redis)] == ["service_unavailable"]
    assert in_stripe(world)["name"] == "Refused"
    world.autumn.switches.clear()
    for _ in range(3):
        await time_passes(world)
        await world.run()
    assert in_stripe(world) == profile(world.autumn.customers["ann"]) == held


LINKED: Final = " (changes.stripe_id is applied: the customer is linked to "
"""The end of the text of a dead letter, without the id."""


async def texts(world: World) -> list[str]:
    """Return the texts of the dead letters, oldest first."""
    return [letter["message"] for letter in reversed(await read_dead(world.redis))]


async def test_dead_letter_names_the_link_of_its_own_event(world: World) -> None:
    world.autumn.seed("ann", **FULL)
    x, y = (world.stripe.seed_customer()["id"] for _ in range(2))
    world.autumn.switches = RefusesText("Refused")
    await change(world, "ann", stripe_id=x, **REFUSED)
    await change(world, "ann", stripe_id=y, email="foo@com")
    await world.run()
    assert [text.partition(LINKED)[2] for text in await texts(world)] == [f"{x})", f"{y})"]
    assert world.autumn.customers["ann"]["stripe_id"] == y


async def test_dead_letter_names_no_link_of_another_event(world: World) -> None:
    world.autumn.seed("ann", **FULL)
    x = world.stripe.seed_customer()["id"]
    events = [await change(world, "ann", stripe_id=x, name="Good"), await change(world, "ann", email="foo@com")]
    await world.run()
    assert [await status(world, event) for event in events] == ["applied", "dead"]
    assert await texts(world) == ["changes.email: Stripe refuses it (email_invalid); send a value that Stripe accepts"]


async def test_dead_letter_names_no_link_that_was_refused(world: World) -> None:
    world.autumn.seed("ann", **FULL)
    x = world.stripe.seed_customer()["id"]
    world.autumn.switches = RefusesText("stripe_id")
    await change(world, "ann", stripe_id=x, name="Good")
    await change(world, "ann", stripe_id="cus_unknown", name="Good")
    await world.run()
    assert [LINKED in text for text in await texts(world)] == [False, False]
