"""A scan where Stripe's list and search do not show everything: accounts without search, customers of test clocks."""

from pathlib import Path

from jobs.scan import ScanAsked
from jobs.scan_one import look_at_one
from sandbox.faults import Fault
from tests.conftest import World
from tests.integration.planting import PLANTINGS, Field
from tests.integration.scans import scan, scan_doors, time_passed


async def test_scan_without_search_asks_for_nothing_that_a_sync_would_not_do(world: World, tmp_path: Path) -> None:
    world.stripe.search_available = False
    field = Field(world.autumn, world.stripe)
    for name in ("agreeing", "unlinked", "deleted", "missing"):
        PLANTINGS[name](field, name)
    hidden = field.stripe.seed_customer(email="another@example.com", metadata={"autumn_id": "hidden"})["id"]
    shown = field.stripe.seed_customer(email="shown@example.com", metadata={"autumn_id": "shown"})["id"]
    for name in ("hidden", "shown"):
        field.in_autumn(name, None)
    doors = scan_doors(world, tmp_path)
    first = await scan(doors, apply=True)
    kinds = {"unlinked": "unlinked", "deleted": "gone", "missing": "gone", "hidden": "unlinked", "shown": "unlinked"}
    links = {each.customer: each for each in first.findings if each.kind in {"unlinked", "gone"}}
    assert {customer: each.kind for customer, each in links.items()} == kinds
    assert {customer for customer, each in links.items() if each.is_repairable} == {"shown"}
    for customer in ("unlinked", "deleted", "missing", "hidden"):
        assert links[customer].would == "nothing"
        assert "no search" in links[customer].reason
        assert "end a change with the stripe_id" in links[customer].reason
    assert hidden in links["hidden"].reason
    await world.run()
    await time_passed(world)
    assert world.autumn.customers["shown"]["stripe_id"] == shown
    assert (await scan(doors)).run.repairable == 0
    assert world.autumn.customers["hidden"]["stripe_id"] is None
    assert len(world.stripe.customers) == 4


async def test_scan_probes_the_search_once(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    for index in range(3):
        PLANTINGS["unlinked"](field, f"user_{index}")
    scanned = await scan(scan_doors(world, tmp_path))
    assert scanned.run.repairable == 3
    assert [call.path for call in world.stripe.calls] == ["/v1/customers", "/v1/customers/search"]


async def test_scan_of_one_customer_knows_that_there_is_no_search(world: World, tmp_path: Path) -> None:
    world.stripe.search_available = False
    PLANTINGS["unlinked"](Field(world.autumn, world.stripe), "ann")
    report = await look_at_one(scan_doors(world, tmp_path), "ann", ScanAsked(apply=True))
    (finding, *_) = report.findings
    assert (finding.kind, finding.is_repairable, report.this_run.asked) == ("unlinked", False, 0)


async def test_outage_of_the_search_fails_no_scan(world: World, tmp_path: Path) -> None:
    PLANTINGS["unlinked"](Field(world.autumn, world.stripe), "ann")
    world.stripe.switches.add(Fault("garbage", route="GET /v1/customers/search"))
    assert (await scan(scan_doors(world, tmp_path))).run.repairable == 1
