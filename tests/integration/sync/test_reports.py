"""The reports that a sync keeps for later questions about the customer."""

from jobs.queue.record import CustomerRecord, read_customer
from jobs.sync.report import SyncReport, read_reports
from sandbox.faults import Fault
from tests.conftest import PREFIX, World
from tests.support.steps import change, lose_an_answer, seed, time_passes


async def record_of(world: World, customer: str) -> CustomerRecord:
    return await read_customer(world.redis, PREFIX, customer)


async def reports_of(world: World, customer: str) -> list[SyncReport]:
    return read_reports((await record_of(world, customer)).reports)


async def undo_again_and_again(world: World, times: int) -> None:
    """Another writer restores ann's old name before each recheck."""
    for _ in range(times):
        world.autumn.customers["ann"]["name"] = "Old"
        await time_passes(world)
        await world.run()


async def test_what_is_left_as_somebody_undoes_it_is_reported_beside_the_changes_of_the_same_round(
    world: World,
) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Old")
    await world.run()
    await lose_an_answer(world, name="New")
    await undo_again_and_again(world, 3)
    await change(world, "ann", metadata={"k": 1})
    await undo_again_and_again(world, 1)
    (newest, *_) = await reports_of(world, "ann")
    assert newest.events == 1
    assert [finding.kind for finding in newest.findings] == ["reapply-given-up"]


async def test_a_sync_that_gave_changes_up_says_how_many_and_why(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Ann")
    await change(world, "ann", stripe_id="cus_nobody")
    await world.redis.xadd("customer-updates", {"customer_id": "ann", "changes": "{}"})
    await world.run()
    (newest,) = await reports_of(world, "ann")
    assert (newest.events, newest.error) == (3, "")
    assert newest.given_up == {"invalid_event": 1, "stripe_customer_missing": 1}


async def test_a_failure_that_repeats_leaves_room_for_what_was_done_before(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Ann")
    await world.run()
    world.autumn.switches.add(Fault("503"))
    await change(world, "ann", name="Ann Two")
    for _ in range(4):
        await world.run()
        await time_passes(world)
    assert [report.error for report in await reports_of(world, "ann")] == ["service_unavailable", ""]


async def test_a_refused_link_leaves_the_link_that_there_is_on_record(world: World) -> None:
    seed(world, "ann", "bob")
    await change(world, "ann", name="Ann")
    await change(world, "ann", stripe_id=world.autumn.customers["bob"]["stripe_id"])
    await world.run()
    record = await record_of(world, "ann")
    assert (record.link, record.stripe_id) == ("linked", world.autumn.customers["ann"]["stripe_id"])
    (newest,) = await reports_of(world, "ann")
    assert (newest.link, newest.given_up) == ("linked", {"needs-review": 1})
