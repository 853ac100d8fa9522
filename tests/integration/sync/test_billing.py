"""Events with billing fields: how they are merged, when they are refused, and when they are sent."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final

import pytest
from aiohttp import web

from jobs.autumn.client import open_autumn
from jobs.enqueue import outcome_of
from jobs.queue.breaker import FAILURES_TO_OPEN, read_breaker
from jobs.queue.record import read_customer
from sandbox.faults import Fault, Switches
from tests.conftest import PREFIX, World, read_dead
from tests.support.steps import change, reconcile, seed, time_passes, under

ADDRESS: Final = {"line1": "1 Main St", "city": "Berlin", "postal_code": "10115", "country": "DE"}
DETAILS: Final[dict[str, Any]] = {"address": ADDRESS, "tax_exempt": "reverse"}
ALERT: Final[dict[str, Any]] = {"threshold": 10, "threshold_type": "usage"}
ALERTS: Final[dict[str, Any]] = {"usage_alerts": [ALERT]}
LIMITS: Final[dict[str, Any]] = {"spend_limits": [{"feature_id": "messages", "overage_limit": 10}]}


class RefusesLater(Switches):
    """Refuses some updates of Autumn, after it has taken the first one."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.taken = 0

    def pick(self, request: web.Request) -> Fault | None:
        """See Switches."""
        if "customers.update" not in request.path:
            return None
        self.taken += 1
        return Fault("400") if 1 < self.taken <= 1 + self.times else None


@pytest.fixture
async def newer(world: World) -> AsyncIterator[World]:
    """The world of an Autumn that knows version 2.5, with a worker that speaks it."""
    world.autumn.newest_version = "2.5"
    async with open_autumn(
        base_url=world.autumn_url, secret_key=world.autumn.key, api_version="2.5.0", timeout_seconds=60
    ) as autumn:
        yield replace(world, deps=replace(world.deps, autumn=autumn))


def updates(world: World) -> list[dict[str, Any]]:
    """Return the bodies of the updates that Autumn received, without the customer's id."""
    bodies = [call.body for call in world.autumn.calls if call.path == "/v1/customers.update"]
    return [{name: value for name, value in body.items() if name != "customer_id"} for body in bodies]


def stripe_of(world: World, customer: str = "ann") -> dict[str, Any]:
    """Return the Stripe customer that a customer is linked to."""
    found: dict[str, Any] = world.stripe.customers[world.autumn.customers[customer]["stripe_id"]]
    return found


async def messages(world: World) -> list[tuple[str, str]]:
    """Return the reason and the text of each dead letter, oldest first."""
    return [(letter["reason"], letter["message"]) for letter in reversed(await read_dead(world.redis))]


# Merging


async def test_config_and_currency_of_several_events_make_one_update(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", currency="usd", config={"disable_pooled_balance": True}, name="A")
    await change(world, "ann", currency="eur", config={"disable_overage_billing": True})
    await world.run()
    config = {"disable_pooled_balance": True, "disable_overage_billing": True}
    assert updates(world) == [{"currency": "eur", "config": config, "name": "A"}]
    assert world.autumn.customers["ann"]["config"] == config


async def test_two_billing_controls_make_two_updates_in_stream_order(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="A")
    await change(world, "ann", billing_controls=ALERTS)
    await change(world, "ann", name="B")
    await change(world, "ann", billing_controls=LIMITS, metadata={"k": 1})
    await change(world, "ann", name="C")
    await world.run()
    assert updates(world) == [
        {"name": "B", "billing_controls": ALERTS},
        {"name": "C", "billing_controls": LIMITS, "metadata": {"k": 1}},
    ]
    shown = world.autumn.customers["ann"]["billing_controls"]
    assert shown.keys() == {"usage_alerts", "spend_limits"}
    assert stripe_of(world)["name"] == "C"


async def test_refused_billing_controls_are_one_bad_event(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", billing_controls=ALERTS)
    await change(world, "ann", billing_controls=LIMITS, event_id="bad")
    await change(world, "ann", name="After")
    world.autumn.switches = RefusesLater(times=2)
    await world.run()
    assert [letter["sent.event_id"] for letter in await read_dead(world.redis)] == ["bad"]
    assert world.autumn.customers["ann"]["name"] == "After"


async def test_many_changes_that_are_not_merged_take_several_syncs(world: World) -> None:
    seed(world, "ann")
    events = [await change(world, "ann", billing_controls=ALERTS) for _ in range(45)]
    await world.run()
    assert len(updates(world)) == 45
    outcome = await outcome_of(world.redis, events[-1])
    assert outcome is not None
    assert outcome.status == "applied"


# Versions


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"billing_details": {"tax_exempt": "none"}}, "billing_details"),
        ({"billing_controls": {"balance_allocations": []}}, "billing_controls.balance_allocations"),
        (
            {"billing_controls": {"usage_limits": [{"feature_id": "m", "usage": 1}]}},
            "billing_controls.usage_limits.0.usage",
        ),
        (
            {
                "billing_controls": {
                    "usage_alerts": [ALERTS["usage_alerts"][0], {**ALERTS["usage_alerts"][0], "basis": "included"}]
                }
            },
            "billing_controls.usage_alerts.1.basis",
        ),
    ],
)
async def test_field_of_a_later_version_is_refused_by_name(world: World, changes: dict[str, Any], field: str) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Before")
    await change(world, "ann", **changes)
    await change(world, "ann", metadata={"after": True})
    await world.run()
    text = f"changes.{field}: needs version 2.5 of Autumn's API or later, and AUTUMN_API_VERSION is 2.3.0"
    assert await messages(world) == [("unsupported_field", text)]
    assert updates(world) == [{"name": "Before", "metadata": {"after": True}}]


async def test_version_that_knows_the_field_passes_it_on(newer: World) -> None:
    seed(newer, "ann")
    await change(newer, "ann", billing_details=DETAILS, billing_controls={"balance_allocations": []})
    await newer.run()
    assert updates(newer) == [{"billing_details": DETAILS, "billing_controls": {"balance_allocations": []}}]
    assert stripe_of(newer)["address"]["country"] == "DE"
    assert stripe_of(newer)["tax_exempt"] == "reverse"


# Billing details need a linked customer


async def test_unlinked_customer_is_linked_before_its_billing_details_are_sent(newer: World) -> None:
    newer.autumn.seed("ann", name="Ann", email="ann@example.com")
    event = await change(newer, "ann", billing_details=DETAILS, name="Ann Two")
    await newer.run()
    (stripe,) = newer.stripe.customers.values()
    assert updates(newer) == [{"stripe_id": stripe["id"]}, {"billing_details": DETAILS, "name": "Ann Two"}]
    assert (stripe["name"], stripe["email"], stripe["address"]["city"]) == ("Ann Two", "ann@example.com", "Berlin")
    outcome = await outcome_of(newer.redis, event)
    assert outcome is not None
    assert outcome.status == "applied"


async def test_gone_customer_is_linked_before_its_billing_details_are_sent(newer: World) -> None:
    gone = newer.stripe.seed_customer(deleted=True)
    newer.autumn.seed("ann", stripe_id=gone["id"])
    await change(newer, "ann", billing_details=DETAILS)
    await newer.run()
    new = newer.autumn.customers["ann"]["stripe_id"]
    assert new != gone["id"]
    assert [body for body in updates(newer) if body] == [{"stripe_id": new}, {"billing_details": DETAILS}]


async def test_billing_details_go_to_the_customer_that_the_event_links(newer: World) -> None:
    seed(newer, "ann")
    old, new = stripe_of(newer), newer.stripe.seed_customer()
    await change(newer, "ann", billing_details={"tax_exempt": "exempt"})
    await change(newer, "ann", billing_details={"tax_exempt": "reverse"}, stripe_id=new["id"])
    await newer.run()
    assert newer.autumn.customers["ann"]["stripe_id"] == new["id"]
    assert (newer.stripe.customers[old["id"]]["tax_exempt"], stripe_of(newer)["tax_exempt"]) == ("exempt", "reverse")


async def test_billing_details_come_before_a_later_unlink(newer: World) -> None:
    seed(newer, "ann")
    stripe = stripe_of(newer)
    await change(newer, "ann", billing_details=DETAILS)
    await change(newer, "ann", stripe_id=None)
    await newer.run()
    assert updates(newer) == [{"billing_details": DETAILS}, {"stripe_id": None}]
    assert newer.stripe.customers[stripe["id"]]["tax_exempt"] == "reverse"
    assert newer.autumn.customers["ann"]["stripe_id"] is None


@pytest.mark.parametrize("when_unlinked", ["report", "link-only"])
async def test_billing_details_of_an_unlinked_customer_become_a_dead_letter(newer: World, when_unlinked: str) -> None:
    never = under(newer, when_unlinked=when_unlinked)
    never.autumn.seed("ann")
    await change(never, "ann", name="Before")
    await change(never, "ann", billing_details=DETAILS)
    await change(never, "ann", metadata={"after": True})
    await never.run()
    ((reason, text),) = await messages(never)
    assert reason == "not_linked"
    assert text == (
        "changes.billing_details: needs a linked Stripe customer, and no Stripe customer carries its id, and "
        f"STRIPE_WHEN_UNLINKED is {when_unlinked}. Set STRIPE_WHEN_UNLINKED to create and restart the workers, or send "
        "an event with the stripe_id of its Stripe customer. Then replay this dead letter"
    )
    assert (never.autumn.customers["ann"]["name"], never.autumn.customers["ann"]["metadata"]) == (
        "Before",
        {"after": True},
    )
    assert never.stripe.customers == {}


async def test_refused_event_with_billing_details_changes_only_the_link(newer: World) -> None:
    mine = newer.stripe.seed_customer(metadata={"autumn_id": "ann"})
    newer.autumn.seed("ann")
    await change(newer, "ann", billing_details=DETAILS, name="Ann")
    newer.autumn.switches = RefusesLater(times=1)
    await newer.run()
    assert len(await messages(newer)) == 1
    assert newer.autumn.customers["ann"]["stripe_id"] == mine["id"]
    assert newer.autumn.customers["ann"]["name"] is None
    assert stripe_of(newer)["name"] is None


async def test_tax_ids_of_two_events_are_both_applied_in_order(newer: World) -> None:
    seed(newer, "ann")
    old, new = {"type": "eu_vat", "value": "DE123456789"}, {"type": "eu_vat", "value": "DE987654321"}
    await change(newer, "ann", billing_details={"tax_ids": {"add": [old]}})
    await change(newer, "ann", billing_details={"tax_ids": {"add": [new], "remove": [old]}})
    await newer.run()
    stored = newer.autumn.organisation.invoice_details[stripe_of(newer)["id"]]
    assert stored.tax_ids == (("eu_vat", "DE987654321"),)


async def test_tax_id_that_stripe_refuses_is_one_bad_event(newer: World) -> None:
    seed(newer, "ann")
    await change(newer, "ann", name="Before")
    await change(newer, "ann", billing_details={"tax_ids": {"add": [{"type": "eu_vat", "value": "1"}]}})
    await change(newer, "ann", metadata={"after": True})
    await newer.run()
    assert await messages(newer) == [("stripe_refused", "(Stripe Error) Invalid value for eu_vat.")]
    assert (newer.autumn.customers["ann"]["name"], newer.autumn.customers["ann"]["metadata"]) == (
        "Before",
        {"after": True},
    )


async def test_answer_that_was_lost_reverts_no_billing_field(newer: World) -> None:
    seed(newer, "ann")
    await change(newer, "ann", currency=None, config={"disable_pooled_balance": True}, billing_controls=ALERTS)
    newer.autumn.switches.add(Fault("lost", route="customers.update", times=1))
    await newer.run()
    await time_passes(newer)
    await change(newer, "ann", currency="eur", billing_controls=LIMITS)
    await newer.run()
    remembered = await newer.redis.get(f"{PREFIX}:remembered:ann")
    await time_passes(newer)
    await newer.run()
    assert [body["currency"] for body in updates(newer)] == [None, None, "eur"]
    assert newer.autumn.customers["ann"]["billing_controls"].keys() == {"usage_alerts", "spend_limits"}
    assert remembered is not None
    assert not [name for name in ("currency", "billing_controls", "usage_alerts") if name.encode() in remembered]


# Customers of other processors


async def test_customer_of_another_processor_alone_gets_no_stripe_customer(world: World) -> None:
    world.autumn.seed("ann", processors={"revenuecat": {"id": "ann"}, "vercel": {"installation_id": "i"}})
    await change(world, "ann", name="Ann")
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Ann"
    assert world.stripe.customers == {}
    record = await read_customer(world.redis, PREFIX, "ann")
    assert record.link == "unlinked"
    assert "billed-elsewhere" in record.reports
    assert "it is a customer of revenuecat and vercel, and STRIPE_WHEN_UNLINKED_ELSEWHERE is report" in record.reports


async def test_customer_of_another_processor_is_linked_if_the_setting_says_so(world: World) -> None:
    creating = under(world, when_unlinked_elsewhere="create")
    creating.autumn.seed("ann", processors={"revenuecat": {"id": "ann"}})
    await reconcile(creating, "ann")
    await creating.run()
    assert stripe_of(creating)["metadata"]["autumn_id"] == "ann"


async def test_customer_of_stripe_and_another_processor_stays_in_sync(world: World) -> None:
    seed(world, "ann")
    world.autumn.customers["ann"]["processors"] = {"revenuecat": {"id": "ann"}}
    await change(world, "ann", name="Ann")
    await world.run()
    assert stripe_of(world)["name"] == "Ann"


async def test_billing_details_of_a_customer_elsewhere_become_a_dead_letter(newer: World) -> None:
    newer.autumn.seed("ann", processors={"revenuecat": {"id": "ann"}})
    await change(newer, "ann", billing_details=DETAILS)
    await newer.run()
    ((reason, text),) = await messages(newer)
    assert reason == "not_linked"
    assert "it is a customer of revenuecat, and STRIPE_WHEN_UNLINKED_ELSEWHERE is report" in text
    assert "Set STRIPE_WHEN_UNLINKED_ELSEWHERE to create and restart the workers" in text


class LeavesTheOthers(Switches):
    """A customer loses its other processors as soon as Autumn takes the first update."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def pick(self, request: web.Request) -> Fault | None:
        """See Switches."""
        if "customers.update" in request.path:
            self.world.autumn.customers["ann"]["processors"] = {}
        return None


async def test_customer_that_is_left_alone_needs_no_request_of_stripe(world: World) -> None:
    world.autumn.seed("ann", processors={"revenuecat": {"id": "ann"}})
    await change(world, "ann", name="Ann")
    await world.run()
    await reconcile(world, "ann")
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Ann"
    assert world.stripe.calls == []


async def test_customer_that_leaves_other_processors_is_searched_before_it_is_linked(world: World) -> None:
    mine = world.stripe.seed_customer(metadata={"autumn_id": "ann"})
    world.autumn.seed("ann", processors={"revenuecat": {"id": "ann"}})
    world.autumn.switches = LeavesTheOthers(world)
    await change(world, "ann", name="Ann")
    await world.run()
    assert world.autumn.customers["ann"]["stripe_id"] == mine["id"]
    assert len(world.stripe.customers) == 1


async def test_change_of_billing_details_elsewhere_is_refused_after_a_search(newer: World) -> None:
    newer.autumn.seed("ann", processors={"revenuecat": {"id": "ann"}})
    newer.stripe.search_available = False
    await change(newer, "ann", name="Ann")
    await change(newer, "ann", billing_details=DETAILS)
    await newer.run()
    assert newer.autumn.customers["ann"]["name"] == "Ann"
    ((_, text),) = await messages(newer)
    assert "Send an event with the stripe_id of its Stripe customer" in text


async def test_customer_that_is_left_alone_says_nothing_about_stripe(world: World) -> None:
    world.autumn.seed("elsewhere", processors={"revenuecat": {"id": "ann"}})
    seed(world, "ann")
    world.stripe.switches.add(Fault("503"))
    for number in range(FAILURES_TO_OPEN):
        await change(world, "elsewhere", name=f"Name {number}")
        await world.run()
        await reconcile(world, "ann")
        await time_passes(world)
        await world.run()
    breaker = await read_breaker(world.redis, PREFIX)
    assert breaker is not None
    assert breaker.service == "stripe"


async def test_customer_that_is_left_alone_probes_stripe(world: World) -> None:
    world.autumn.seed("elsewhere", processors={"revenuecat": {"id": "ann"}})
    seed(world, "ann")
    world.stripe.switches.add(Fault("503"))
    for _ in range(FAILURES_TO_OPEN):
        await reconcile(world, "ann")
        await time_passes(world)
        await world.run()
    await world.redis.delete(f"{PREFIX}:waiting")
    await change(world, "elsewhere", name="Name")
    await time_passes(world)
    await world.run()
    assert await read_breaker(world.redis, PREFIX) is not None
    world.stripe.switches.clear()
    await time_passes(world)
    await world.run()
    assert await read_breaker(world.redis, PREFIX) is None
    assert world.autumn.customers["elsewhere"]["name"] == "Name"
