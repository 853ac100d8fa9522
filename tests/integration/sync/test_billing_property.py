"""Random events with billing fields and random faults: the last values win, and details go to the right customer."""

import asyncio
from dataclasses import replace
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from jobs.autumn.client import open_autumn
from sandbox.faults import Fault
from sandbox.redis import EmbeddedRedis
from tests.conftest import World, opened_world, read_dead
from tests.support.examples import examples
from tests.support.steps import change, time_passes

FIRST, SECOND = "cus_first", "cus_second"
NAMES: Final = st.sampled_from(["Ann", "Bob"])
EVENTS: Final = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "name": NAMES,
            "stripe_id": st.sampled_from([FIRST, SECOND]),
            "config": st.dictionaries(
                st.sampled_from(["disable_pooled_balance", "disable_overage_billing"]), st.booleans(), min_size=1
            ),
            "billing_controls": st.dictionaries(
                st.sampled_from(["spend_limits", "overage_allowed"]),
                st.sampled_from(["m", "n"]).map(lambda feature: [{"feature_id": feature, "enabled": True}]),
                min_size=1,
            ),
            "billing_details": st.sampled_from(["none", "exempt", "reverse"]).map(lambda tax: {"tax_exempt": tax}),
        },
    ).filter(bool),
    min_size=1,
    max_size=6,
)
FAULTS: Final = st.lists(
    st.builds(
        Fault,
        kind=st.sampled_from(["lost", "503", "cut"]),
        route=st.sampled_from(["customers.update", "customers.get", "POST /v1/customers"]),
        times=st.just(1),
    ),
    max_size=2,
)
TRIES: Final = 6


async def apply(world: World, events: list[dict[str, Any]], faults: list[Fault]) -> None:
    """Plant a linked customer and sync the events until nothing is left."""
    world.stripe.seed_customer(id=FIRST, metadata={"autumn_id": "ann"}, tax_exempt="none")
    world.stripe.seed_customer(id=SECOND, tax_exempt="none")
    world.autumn.seed("ann", stripe_id=FIRST)
    for event in events:
        await change(world, "ann", **event)
    for fault in faults:
        world.autumn.switches.add(replace(fault))
    for _ in range(TRIES):
        await world.run()
        await time_passes(world)
    await world.run()


def expected(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the state after the events one by one, by Autumn's rules."""
    linked, name, tax = FIRST, None, {FIRST: "none", SECOND: "none"}
    config: dict[str, bool] = {}
    controls: dict[str, Any] = {}
    for event in events:
        linked, name = event.get("stripe_id", linked), event.get("name", name)
        config |= event.get("config", {})
        controls |= event.get("billing_controls", {})
        if "billing_details" in event:
            tax[linked] = event["billing_details"]["tax_exempt"]
    return {"stripe_id": linked, "name": name, "config": config, "billing_controls": controls, "tax": tax}


@settings(max_examples=examples(25), deadline=None)
@given(events=EVENTS, faults=FAULTS)
def test_events_have_the_effect_of_updates_one_by_one(
    redis_server: EmbeddedRedis, events: list[dict[str, Any]], faults: list[Fault]
) -> None:
    async def check() -> None:
        async with Redis.from_url(redis_server.url) as redis:
            await redis.flushall()
            async with opened_world(redis) as world:
                world.autumn.newest_version = "2.5"
                async with open_autumn(
                    base_url=world.autumn_url, secret_key=world.autumn.key, api_version="2.5.0", timeout_seconds=60
                ) as autumn:
                    newer = replace(world, deps=replace(world.deps, autumn=autumn))
                    await apply(newer, events, faults)
                row = newer.autumn.customers["ann"]
                shown = {name: row[name] for name in ("stripe_id", "name", "config", "billing_controls")}
                tax = {each: newer.stripe.customers[each]["tax_exempt"] for each in (FIRST, SECOND)}
                assert await read_dead(redis) == []
                assert {**shown, "tax": tax} == expected(events)

    asyncio.run(check())
