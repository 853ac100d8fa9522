"""The reports that a sync stores in the customer record."""

from jobs.queue.record import CustomerRecord, read_customer
from jobs.sync.report import SyncReport, read_reports
from sandbox.faults import Fault
from tests.conftest import PREFIX, World
from tests.support.steps import change, lose_an_answer, seed, time_passes


async def record_of(world: World, customer: str) -> CustomerRecord:
    return await read_customer(world.redis, PREFIX, customer)


async def reports_of(world: World, customer: str) -> list[SyncReport]:
    return read_reports((await record_of(world, customer)).reports)


async def revert_repeatedly(world: World, times: int) -> None:
    """Restore ann's old name before each recheck, as another writer."""
    for _ in range(times):
        world.autumn.customers["ann"]["name"] = "Old"
        await time_passes(world)
        await world.run()


async def test_given_up_reapply_is_reported_beside_applied_changes(
    world: World,
) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Old")
    await world.run()
    await lose_an_answer(world, name="New")
    await revert_repeatedly(world, 3)
    await change(world, "ann", metadata={"k": 1})
    await revert_repeatedly(world, 1)
    (newest, *_) = await reports_of(world, "ann")
    assert newest.events == 1
    assert [finding.kind for finding in newest.findings] == ["reapply-given-up"]


async def test_report_counts_dead_lettered_events_by_reason(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Ann")
    await change(world, "ann", stripe_id="cus_nobody")
    await world.redis.xadd("customer-updates", {"customer_id": "ann", "changes": "{}"})
    await world.run()
    (newest,) = await reports_of(world, "ann")
    assert (newest.events, newest.error) == (3, "")
    assert newest.given_up == {"invalid_event": 1, "stripe_customer_missing": 1}


async def test_repeated_failure_keeps_earlier_reports(world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Ann")
    await world.run()
    world.autumn.switches.add(Fault("503"))
    await change(world, "ann", name="Ann Two")
    for _ in range(4):
        await world.run()
        await time_passes(world)
    assert [report.error for report in await reports_of(world, "ann")] == ["service_unavailable", ""]


async def test_refused_link_keeps_recorded_link(world: World) -> None:
    seed(world, "ann", "bob")
    await change(world, "ann", name="Ann")
    await change(world, "ann", stripe_id=world.autumn.customers["bob"]["stripe_id"])
    await world.run()
    record = await record_of(world, "ann")
    assert (record.link, record.stripe_id) == ("linked", world.autumn.customers["ann"]["stripe_id"])
    (newest,) = await reports_of(world, "ann")
    assert (newest.link, newest.given_up) == ("linked", {"needs-review": 1})
