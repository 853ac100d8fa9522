"""Reapplying and restoring values after a write that fails, is refused or is applied late."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from jobs.enqueue import outcome_of
from jobs.plan.recheck import FIELDS_KEPT, Memory
from sandbox.faults import Fault, Switches
from tests.conftest import PREFIX, World, read_dead
from tests.support.echoes.steps import (
    RIGHT,
    apply,
    both,
    findings,
    later,
    plant,
    recheck,
    retry,
    update_by_another_app,
)
from tests.support.steps import change, reconcile, time_passes, under

UPDATE = "customers.update"


class WorkerDiesAtUpdate(Switches):
    """The worker dies when its update of Autumn arrives, and the update is lost."""

    syncing: asyncio.Task[None] | None = None

    def pick(self, request: web.Request) -> Fault | None:
        """See Switches."""
        if UPDATE not in request.path or self.syncing is None:
            return None
        self.syncing.cancel()
        return Fault("cut")


async def status(world: World, event: str) -> str:
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    return outcome.status


# A reapply that fails


@pytest.mark.parametrize("failure", ["400", "503"])
@pytest.mark.parametrize(("field", "older", "newer"), [("name", "Ann", "v2"), ("email", RIGHT, None)])
async def test_failed_reapply_keeps_newer_value(
    world: World, field: str, older: str, newer: str | None, failure: Any
) -> None:
    plant(world)
    await apply(world, **{field: newer})
    world.autumn.customers["ann"][field] = older
    world.autumn.switches.add(Fault(failure, route=UPDATE, times=1))
    await recheck(world)
    assert both(world, field) == (newer, newer)


async def test_failed_reapply_with_other_change_keeps_newer_value(world: World) -> None:
    plant(world)
    await apply(world, name="v2")
    world.autumn.customers["ann"]["name"] = "Ann"
    world.autumn.switches.add(Fault("503", route=UPDATE, times=1))
    await change(world, "ann", metadata={"k": 1})
    await world.run()
    await time_passes(world)
    await world.run()
    await recheck(world)
    assert both(world, "name") == ("v2", "v2")
    assert world.autumn.customers["ann"]["metadata"] == {"k": 1}


async def test_reapply_after_worker_died_keeps_newer_value(world: World) -> None:
    plant(world)
    await apply(world, name="v2")
    world.autumn.customers["ann"]["name"] = "Ann"
    await reconcile(world, "ann")
    switches, dying = world.autumn.switches, WorkerDiesAtUpdate()
    world.autumn.switches = dying
    dying.syncing = asyncio.create_task(world.run())
    with pytest.raises(asyncio.CancelledError):
        await dying.syncing
    world.autumn.switches = switches
    assert world.autumn.customers["ann"]["name"] == "Ann"
    await world.redis.delete(f"{PREFIX}:lease:ann")
    await world.redis.zrem(f"{PREFIX}:dispatched", "ann")
    await retry(world)
    await recheck(world)
    assert both(world, "name") == ("v2", "v2")


async def test_late_recheck_still_reapplies_newer_value(world: World) -> None:
    world = replace(world, deps=replace(world.deps, recheck_after_seconds=300))
    plant(world)
    await apply(world, name="v2")
    world.autumn.customers["ann"]["name"] = "Ann"
    await recheck(later(world, 300))
    assert both(world, "name") == ("v2", "v2")


def test_many_metadata_keys_push_no_name_out_of_memory() -> None:
    memory = Memory("ann", 1000.0)
    memory.accept({"name": "v2"}, {})
    memory = Memory.read("ann", memory.as_dict(), 1030.0)
    memory.in_doubt_until = 1090.0
    memory.accept({f"metadata.k{number}": number for number in range(FIELDS_KEPT + 6)}, {})
    kept = memory.as_dict()["fields"]
    assert len(kept) == FIELDS_KEPT
    assert "name" in kept


# Writes that land late


@pytest.mark.parametrize("after_seconds", [60, 300])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"metadata": {"k": 1}}, {"metadata": {"k": 2}}),
        ({"fingerprint": "x"}, {"fingerprint": "y"}),
        ({"send_email_receipts": True}, {"send_email_receipts": False}),
    ],
    ids=["a metadata key", "a fingerprint", "a flag"],
)
async def test_write_of_unknown_fate_is_rechecked(
    world: World, first: Mapping[str, Any], second: Mapping[str, Any], after_seconds: int
) -> None:
    world = replace(world, deps=replace(world.deps, recheck_after_seconds=after_seconds))
    plant(world)
    world.autumn.switches.add(Fault("cut", route=UPDATE, times=1))
    await change(world, "ann", **first)
    await world.run()
    await change(world, "ann", **second)
    await retry(world)
    row = world.autumn.customers["ann"]
    (field,) = second
    assert row[field] == second[field]
    row.update(first)
    await recheck(later(world, after_seconds))
    assert row[field] == second[field]


@pytest.mark.parametrize("then", ["a newer change", "a refusal"])
async def test_late_write_to_stripe_is_not_copied_to_autumn(world: World, then: str) -> None:
    stripe_id = plant(world)
    await apply(world, name="v0")
    world.stripe.switches.add(Fault("cut", route="POST /v1/customers/", times=1))
    await change(world, "ann", name="v1")
    await world.run()
    if then == "a refusal":
        world.autumn.switches.add(Fault("400", route=UPDATE, times=1))
    else:
        await change(world, "ann", name="v2")
    await retry(world)
    expected = "v0" if then == "a refusal" else "v2"
    assert len(await read_dead(world.redis)) == (1 if then == "a refusal" else 0)
    assert both(world, "name") == (expected, expected)
    world.stripe.customers[stripe_id]["name"] = "v1"
    await recheck(world)
    assert both(world, "name") == (expected, expected)


async def test_flag_toggled_by_another_app_stays_after_change(world: World) -> None:
    plant(world)
    await apply(world, send_email_receipts=True)
    await update_by_another_app(world, send_email_receipts=False)
    event = await change(world, "ann", metadata={"k": 1})
    await world.run()
    for seconds in (3, 6, 9, 12):
        moment = later(world, seconds)
        await time_passes(moment)
        await moment.run()
    assert await status(world, event) == "applied"
    assert world.autumn.customers["ann"]["send_email_receipts"] is False


# Links


@pytest.mark.parametrize("owner", [None, "ann"])
async def test_refused_relink_leaves_echoes_recognised(world: World, owner: str | None) -> None:
    plant(world)
    await apply(world, name="v2")
    metadata = {} if owner is None else {"autumn_id": owner}
    other = world.stripe.seed_customer(name="X", email="x@example.com", metadata=metadata)["id"]
    world.autumn.switches.add(Fault("400", route=UPDATE, times=1))
    event = await change(world, "ann", stripe_id=other, email="ann.new@example.com")
    await world.run()
    assert await status(world, event) == "dead"
    world.autumn.customers["ann"]["name"] = "Ann"
    await recheck(world)
    assert both(world, "name") == ("v2", "v2")


async def test_recheck_does_not_relink_unlinked_customer(world: World) -> None:
    plant(world)
    await apply(world, name="v2")
    await apply(world, stripe_id=None)
    assert world.autumn.customers["ann"]["stripe_id"] is None
    await recheck(world)
    assert world.autumn.customers["ann"]["stripe_id"] is None


async def test_unlink_after_refused_change_is_applied(world: World) -> None:
    plant(world)
    world.autumn.switches.add(Fault("400", route=UPDATE, times=2))
    await change(world, "ann", name="Refused")
    unlink = await change(world, "ann", stripe_id=None)
    await world.run()
    assert len(await read_dead(world.redis)) == 1
    assert await status(world, unlink) == "applied"
    assert world.autumn.customers["ann"]["stripe_id"] is None


async def test_relink_to_our_other_customer_leaves_it_untouched_when_refused(world: World) -> None:
    plant(world)
    other = world.stripe.seed_customer(name="X", email="x@example.com", metadata={"autumn_id": "ann"})["id"]
    before = dict(world.stripe.customers[other])
    world.autumn.switches.add(Fault("400", route=UPDATE))
    event = await change(world, "ann", stripe_id=other, name="Refused")
    await world.run()
    assert await status(world, event) == "dead"
    world.autumn.switches.clear()
    await recheck(world)
    assert world.stripe.customers[other] == before


# Restoring


@pytest.mark.parametrize(
    "reason", ["deleted in Autumn", "deleted in Stripe", "owned by another customer", "link refused"]
)
async def test_refused_restore_ends_after_a_few_tries(world: World, reason: str) -> None:
    world = under(world, when_gone="report")
    stripe_id = plant(world, is_linked=reason != "link refused")
    world.autumn.switches.add(Fault("503", route=UPDATE, times=1))
    await change(world, "ann", name="New")
    await world.run()
    if reason == "deleted in Autumn":
        assert world.stripe.customers[stripe_id]["name"] == "New"
        del world.autumn.customers["ann"]
    elif reason == "deleted in Stripe":
        world.stripe.customers[stripe_id] = {"id": stripe_id, "object": "customer", "deleted": True}
    elif reason == "owned by another customer":
        world.stripe.customers[stripe_id]["metadata"]["autumn_id"] = "bob"
    else:
        world.autumn.switches.add(Fault("400", route=UPDATE))
    await retry(world)
    assert len(await read_dead(world.redis)) == 1
    assert await recheck(world) < 10
    if reason == "link refused":
        assert world.stripe.customers[stripe_id]["name"] == "Ann"


@pytest.mark.parametrize("value", ["New", None])
@pytest.mark.parametrize("fails_first", [True, False])
async def test_value_that_only_stripe_has_stays_when_autumn_refuses(
    world: World, value: str | None, *, fails_first: bool
) -> None:
    stripe_id = plant(world)
    world.autumn.customers["ann"]["name"] = None
    if fails_first:
        world.autumn.switches.add(Fault("503", route=UPDATE, times=1))
    world.autumn.switches.add(Fault("400", route=UPDATE))
    event = await change(world, "ann", name=value)
    await world.run()
    if fails_first:
        await retry(world)
    assert await status(world, event) == "dead"
    world.autumn.switches.clear()
    await recheck(world)
    assert world.stripe.customers[stripe_id]["name"] == "Ann"


async def test_change_given_up_after_a_day_is_restored_in_stripe(world: World) -> None:
    stripe_id = plant(world)
    world = replace(world, deps=replace(world.deps, retry_for_seconds=86_400, recheck_after_seconds=0))
    world.autumn.switches.add(Fault("503", route=UPDATE, times=1))
    event = await change(world, "ann", name="Ann B.")
    await world.run()
    assert world.stripe.customers[stripe_id]["name"] == "Ann B."
    world.autumn.switches.add(Fault("503"))
    hours = 0
    while await status(world, event) != "dead":
        assert hours < 30
        hours += 1
        moment = later(world, hours * 3600)
        await time_passes(moment)
        await moment.run()
    world.autumn.switches.clear()
    for _ in range(5):
        await time_passes(moment)
        await moment.run()
    assert world.stripe.customers[stripe_id]["name"] == "Ann"


async def test_finding_of_refused_email_ends_with_valid_email(world: World) -> None:
    plant(world)
    world.autumn.customers["ann"]["email"] = "foo@com"
    world.autumn.switches.add(Fault("400", route=UPDATE, times=1))
    await change(world, "ann", name="A")
    await change(world, "ann", email="good@example.com", metadata={"k": 1})
    await change(world, "ann", metadata={"k": 2})
    await world.run()
    assert both(world, "email") == ("good@example.com", "good@example.com")
    assert "refused-by-stripe" not in await findings(world)
