"""A preview shows what a sync would do, and writes nothing."""

from dataclasses import replace

import pytest

from jobs.enqueue import send
from jobs.errors import GiveUp, Halt, TryAgain
from jobs.events import new_update
from jobs.plan.plan import LinkState
from jobs.plan.policy import Policy
from jobs.plan.steps import CreateInStripe, SetReceiptEmail, UpdateAutumn, UpdateStripe
from jobs.sync.preview import Preview, preview
from sandbox.faults import Fault
from tests.conftest import PREFIX, World
from tests.support.steps import seed


async def preview_ann(world: World) -> Preview:
    """Return a preview of ann, and check that it wrote nothing."""
    before = set(await world.redis.keys())
    calls = len(world.autumn.calls)
    seen = await preview(world.deps, "ann")
    assert {call.path for call in world.autumn.calls[calls:]} == {"/v1/customers.get"}
    assert {call.method for call in world.stripe.calls} <= {"GET"}
    assert world.stripe.writes == []
    new = {key.decode() for key in set(await world.redis.keys()) - before}
    assert all(key.startswith(f"{PREFIX}:limit:") for key in new), new
    return seen


async def reconcile_ann(world: World) -> None:
    """Reconcile ann, then clear the record of calls and writes."""
    await send(world.redis, new_update(customer_id="ann", type="customer.reconcile"))
    await world.run()
    world.stripe.writes.clear()
    world.stripe.calls.clear()


async def test_unlinked_customer_would_be_created_and_is_in_sync_afterwards(world: World) -> None:
    world.autumn.seed("ann", name="Ann", email="ann@example.com")
    before = await preview_ann(world)
    assert (before.plan.link, before.plan.steps) == (LinkState.UNLINKED, (CreateInStripe("ann"),))
    await reconcile_ann(world)
    after = await preview_ann(world)
    assert (after.plan.link, after.plan.steps, after.plan.findings) == (LinkState.LINKED, (), ())
    assert after.stripe.linked is not None
    assert (after.autumn.email, after.stripe.linked.email) == ("ann@example.com", "ann@example.com")


async def test_our_customer_would_be_linked(world: World) -> None:
    world.autumn.seed("ann")
    ours = world.stripe.seed_customer(metadata={"autumn_id": "ann"})
    assert (await preview_ann(world)).plan.steps == (UpdateAutumn({"stripe_id": ours["id"]}),)


async def test_different_values_would_be_written(world: World) -> None:
    stripe = world.stripe.seed_customer(name="Edited", metadata={"autumn_send_email_receipts": "false"})
    world.autumn.seed("ann", name="Ann", stripe_id=stripe["id"])
    seen = await preview_ann(world)
    assert seen.plan.link is LinkState.UNCLAIMED
    assert seen.plan.steps == (UpdateStripe(stripe["id"], name="Ann", metadata=(("autumn_id", "ann"),)),)


async def test_foreign_customer_would_be_refused(world: World) -> None:
    seed(world, "bob")
    world.autumn.seed("ann", stripe_id=world.autumn.customers["bob"]["stripe_id"])
    seen = await preview_ann(world)
    assert (seen.plan.link, seen.plan.steps) == (LinkState.FOREIGN, ())
    assert seen.plan.refusal is not None
    assert [finding.kind for finding in seen.plan.findings] == ["foreign"]


async def test_payments_are_fetched_if_plan_wants_them(world: World) -> None:
    metadata = {"autumn_id": "ann", "autumn_send_email_receipts": "true"}
    stripe = world.stripe.seed_customer(email="ann@example.com", metadata=metadata)
    world.autumn.seed("ann", email="ann@example.com", stripe_id=stripe["id"], send_email_receipts=True)
    intent = world.stripe.seed_payment_intent(customer=stripe["id"])
    assert (await preview_ann(world)).stripe.payments is None
    receipts_open = replace(world.deps, policy=Policy(receipts="open"))
    seen = await preview_ann(replace(world, deps=receipts_open))
    assert seen.stripe.payments is not None
    assert [type(step) for step in seen.plan.steps] == [SetReceiptEmail]
    assert seen.stripe.payments.intents[0].id == intent["id"]


async def test_payments_are_read_if_a_later_step_depends_on_them(world: World) -> None:
    metadata = {"autumn_id": "ann", "autumn_send_email_receipts": "true"}
    stripe = world.stripe.seed_customer(name="Edited", email="ann@example.com", metadata=metadata)
    world.autumn.seed("ann", name="Ann", email="ann@example.com", stripe_id=stripe["id"], send_email_receipts=True)
    full = {f"key_{index}": "x" for index in range(50)}
    world.stripe.seed_payment_intent(customer=stripe["id"], status="requires_action", metadata=full)
    seen = await preview_ann(replace(world, deps=replace(world.deps, policy=Policy(receipts="open"))))
    assert seen.plan.steps == (UpdateStripe(stripe["id"], name="Ann"),)
    assert seen.stripe.payments is not None
    assert [finding.kind for finding in seen.plan.findings] == ["receipt-not-set"]


async def test_preview_is_throttled_by_shared_rates(world: World) -> None:
    seed(world, "ann")
    await preview_ann(world)
    keys = {key.decode() for key in await world.redis.keys(f"{PREFIX}:limit:*")}
    assert keys == {f"{PREFIX}:limit:stripe", f"{PREFIX}:limit:stripe:GET /v1/customers/{{id}}"}


async def test_failed_fetch_is_error_without_plan(world: World) -> None:
    seed(world, "ann")
    with pytest.raises(GiveUp) as unknown:
        await preview(world.deps, "nobody")
    assert unknown.value.code == "customer_not_found"
    world.stripe.switches.add(Fault("500"))
    with pytest.raises(TryAgain):
        await preview(world.deps, "ann")
    world.autumn.key = "am_sk_test_another"
    with pytest.raises(Halt):
        await preview(world.deps, "ann")
