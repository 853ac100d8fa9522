"""A preview is what a sync then does, and it writes nothing."""

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


async def look(world: World) -> Preview:
    """A preview of ann, checked to have written nothing anywhere."""
    before = set(await world.redis.keys())
    calls = len(world.autumn.calls)
    seen = await preview(world.deps, "ann")
    assert {call.path for call in world.autumn.calls[calls:]} == {"/v1/customers.get"}
    assert {call.method for call in world.stripe.calls} <= {"GET"}
    assert world.stripe.writes == []
    new = {key.decode() for key in set(await world.redis.keys()) - before}
    assert all(key.startswith(f"{PREFIX}:limit:") for key in new), new
    return seen


async def sync(world: World) -> None:
    """A sync of ann that nothing was said to; forgets what it wrote."""
    await send(world.redis, new_update(customer_id="ann", type="customer.reconcile"))
    await world.run()
    world.stripe.writes.clear()
    world.stripe.calls.clear()


async def test_a_customer_without_a_link_would_be_created_and_is_in_sync_after_it(world: World) -> None:
    world.autumn.seed("ann", name="Ann", email="ann@example.com")
    before = await look(world)
    assert (before.plan.link, before.plan.steps) == (LinkState.UNLINKED, (CreateInStripe("ann"),))
    await sync(world)
    after = await look(world)
    assert (after.plan.link, after.plan.steps, after.plan.findings) == (LinkState.LINKED, (), ())
    assert after.stripe.linked is not None
    assert (after.autumn.email, after.stripe.linked.email) == ("ann@example.com", "ann@example.com")


async def test_one_that_is_ours_would_be_linked(world: World) -> None:
    world.autumn.seed("ann")
    ours = world.stripe.seed_customer(metadata={"autumn_id": "ann"})
    assert (await look(world)).plan.steps == (UpdateAutumn({"stripe_id": ours["id"]}),)


async def test_what_differs_would_be_written(world: World) -> None:
    stripe = world.stripe.seed_customer(name="Edited", metadata={"autumn_send_email_receipts": "false"})
    world.autumn.seed("ann", name="Ann", stripe_id=stripe["id"])
    seen = await look(world)
    assert seen.plan.link is LinkState.UNCLAIMED
    assert seen.plan.steps == (UpdateStripe(stripe["id"], name="Ann", metadata=(("autumn_id", "ann"),)),)


async def test_one_that_is_another_s_would_be_refused(world: World) -> None:
    seed(world, "bob")
    world.autumn.seed("ann", stripe_id=world.autumn.customers["bob"]["stripe_id"])
    seen = await look(world)
    assert (seen.plan.link, seen.plan.steps) == (LinkState.FOREIGN, ())
    assert seen.plan.refusal is not None
    assert [finding.kind for finding in seen.plan.findings] == ["foreign"]


async def test_payments_are_looked_at_where_the_plan_wants_them(world: World) -> None:
    metadata = {"autumn_id": "ann", "autumn_send_email_receipts": "true"}
    stripe = world.stripe.seed_customer(email="ann@example.com", metadata=metadata)
    world.autumn.seed("ann", email="ann@example.com", stripe_id=stripe["id"], send_email_receipts=True)
    intent = world.stripe.seed_payment_intent(customer=stripe["id"])
    assert (await look(world)).stripe.payments is None
    receipts_open = replace(world.deps, policy=Policy(receipts="open"))
    seen = await look(replace(world, deps=receipts_open))
    assert seen.stripe.payments is not None
    assert [type(step) for step in seen.plan.steps] == [SetReceiptEmail]
    assert seen.stripe.payments.intents[0].id == intent["id"]


async def test_payments_are_read_if_a_later_step_depends_on_them(world: World) -> None:
    metadata = {"autumn_id": "ann", "autumn_send_email_receipts": "true"}
    stripe = world.stripe.seed_customer(name="Edited", email="ann@example.com", metadata=metadata)
    world.autumn.seed("ann", name="Ann", email="ann@example.com", stripe_id=stripe["id"], send_email_receipts=True)
    full = {f"key_{index}": "x" for index in range(50)}
    world.stripe.seed_payment_intent(customer=stripe["id"], status="requires_action", metadata=full)
    seen = await look(replace(world, deps=replace(world.deps, policy=Policy(receipts="open"))))
    assert seen.plan.steps == (UpdateStripe(stripe["id"], name="Ann"),)
    assert seen.stripe.payments is not None
    assert [finding.kind for finding in seen.plan.findings] == ["receipt-not-set"]


async def test_looks_wait_for_their_turn_under_the_shared_rates(world: World) -> None:
    seed(world, "ann")
    await look(world)
    keys = {key.decode() for key in await world.redis.keys(f"{PREFIX}:limit:*")}
    assert keys == {f"{PREFIX}:limit:stripe", f"{PREFIX}:limit:stripe:GET /v1/customers/{{id}}"}


async def test_a_look_that_fails_is_an_error_and_no_plan(world: World) -> None:
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
