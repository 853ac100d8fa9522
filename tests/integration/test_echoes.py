"""Echoes: Stripe's webhooks that come late and put an old name or e-mail back into Autumn."""

from dataclasses import replace
from typing import Any

import pytest

from jobs.mail import SAID_SECONDS
from jobs.record import read_customer
from jobs.report import read_reports
from sandbox.faults import Fault
from tests.conftest import PREFIX, World
from tests.integration.steps import change, seed, time_passes


def name_in_autumn(world: World) -> Any:
    return world.autumn.customers["ann"]["name"]


def undo(world: World) -> None:
    """What a late webhook does."""
    world.autumn.customers["ann"]["name"] = "Old"


async def second_look(world: World) -> None:
    await time_passes(world)
    await world.run()


def at(world: World, seconds: float) -> World:
    """The same world at another time, in seconds since the epoch."""
    return replace(world, resources=replace(world.resources, now=lambda: seconds))


async def is_to_be_looked_at(world: World) -> bool:
    return await world.redis.zscore(f"{PREFIX}:looks", "ann") is not None


async def test_an_echo_of_the_first_change_that_comes_after_the_second_is_repaired(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="First")
    await world.run()
    await change(world, "ann", name="Second")
    await world.run()
    assert name_in_autumn(world) == "Second"
    echo = next(event for event in world.stripe.webhooks.events if event["data"]["object"]["name"] == "First")
    await world.stripe.webhooks.deliver(echo)
    assert name_in_autumn(world) == "First"
    await second_look(world)
    assert name_in_autumn(world) == "Second"
    (stripe,) = world.stripe.customers.values()
    assert stripe["name"] == "Second"
    report = read_reports((await read_customer(world.redis, PREFIX, "ann"))["reports"])[0]
    assert [(action.kind, action.fields) for action in report.actions] == [("updated-autumn", ("name",))]


async def test_a_change_that_came_meanwhile_is_not_undone(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="First")
    await world.run()
    undo(world)
    await change(world, "ann", name="Newer")
    await second_look(world)
    assert name_in_autumn(world) == "Newer"


async def test_an_echo_each_time_is_no_loop_but_a_finding(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="New")
    await world.run()
    looks = 0
    while await is_to_be_looked_at(world):
        undo(world)
        await second_look(world)
        looks += 1
        assert looks < 20
    sent = [call.body["name"] for call in world.autumn.calls if "name" in call.body]
    assert (looks, sent) == (4, ["New"] * 4)
    report = read_reports((await read_customer(world.redis, PREFIX, "ann"))["reports"])[0]
    assert [finding.kind for finding in report.findings] == ["put-back-again-and-again"]
    await change(world, "ann", name="Next")
    await world.run()
    assert (name_in_autumn(world), await is_to_be_looked_at(world)) == ("Next", True)


async def test_only_what_was_really_put_back_counts_against_a_loop(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="New")
    await world.run()
    undo(world)
    world.stripe.switches.add(Fault("503", route="GET ", times=4))
    for _ in range(6):
        await second_look(world)
    assert name_in_autumn(world) == "New"
    kinds = [
        each.kind for each in read_reports((await read_customer(world.redis, PREFIX, "ann"))["reports"])[0].findings
    ]
    assert kinds == []


async def test_what_was_said_before_the_hour_was_over_is_kept_for_the_look_that_is_to_come(world: World) -> None:
    seed(world, "ann")
    begin = world.resources.now()
    await change(world, "ann", name="First")
    await world.run()
    await second_look(world)
    await change(world, "ann", name="Second")
    await at(world, begin + SAID_SECONDS - 10).run()
    await change(world, "ann", metadata={"k": 1})
    await at(world, begin + SAID_SECONDS + 10).run()
    undo(world)
    await second_look(at(world, begin + SAID_SECONDS + 50))
    assert name_in_autumn(world) == "Second"


async def test_a_look_for_an_echo_costs_one_read_of_autumn_where_nothing_came_back(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="New", email="ann@example.com")
    await world.run()
    autumn, stripe = len(world.autumn.calls), len(world.stripe.calls)
    await second_look(world)
    assert [call.path for call in world.autumn.calls[autumn:]] == ["/v1/customers.get"]
    assert world.stripe.calls[stripe:] == []
    assert not await is_to_be_looked_at(world)


@pytest.mark.parametrize("changes", [{"send_email_receipts": True}, {"metadata": {"k": 1}}, {"name": None}])
async def test_what_leaves_no_echo_is_not_looked_at_again(world: World, changes: dict[str, Any]) -> None:
    seed(world, "ann")
    await change(world, "ann", **changes)
    await world.run()
    assert not await is_to_be_looked_at(world)


async def test_looks_can_be_turned_off(world: World) -> None:
    world = replace(world, resources=replace(world.resources, look_after_seconds=0))
    seed(world, "ann")
    await change(world, "ann", name="New")
    await world.run()
    assert not await is_to_be_looked_at(world)
