"""Customers that Stripe's list or search lacks: accounts without search, and test clocks."""

import time
from dataclasses import replace
from pathlib import Path

from jobs.scan.one import scan_one
from jobs.scan.run import ScanRequest
from sandbox.faults import Fault
from tests.conftest import World
from tests.support.planting import PLANTINGS, Field
from tests.support.scans import scan, scan_deps_of, time_passed
from worker.reports.terminal import summary


async def test_scan_without_search_requests_only_possible_repairs(world: World, tmp_path: Path) -> None:
    world.stripe.search_available = False
    field = Field(world.autumn, world.stripe)
    for name in ("agreeing", "unlinked", "deleted", "missing"):
        PLANTINGS[name](field, name)
    hidden = field.stripe.seed_customer(email="another@example.com", metadata={"autumn_id": "hidden"})["id"]
    shown = field.stripe.seed_customer(email="shown@example.com", metadata={"autumn_id": "shown"})["id"]
    for name in ("hidden", "shown"):
        field.in_autumn(name, None)
    deps = scan_deps_of(world, tmp_path)
    first = await scan(deps, apply=True)
    kinds = {"unlinked": "unlinked", "deleted": "gone", "missing": "gone", "hidden": "unlinked", "shown": "unlinked"}
    links = {each.customer: each for each in first.findings if each.kind in {"unlinked", "gone"}}
    assert {customer: each.kind for customer, each in links.items()} == kinds
    assert {customer for customer, each in links.items() if each.is_repairable} == {"shown"}
    for customer in ("unlinked", "deleted", "missing", "hidden"):
        assert links[customer].would == "nothing"
        assert "no search" in links[customer].reason
        assert "end an event with the stripe_id" in links[customer].reason
    assert hidden in links["hidden"].reason
    await world.run()
    await time_passed(world)
    assert world.autumn.customers["shown"]["stripe_id"] == shown
    assert (await scan(deps)).run.repairable == 0
    assert world.autumn.customers["hidden"]["stripe_id"] is None
    assert len(world.stripe.customers) == 4


async def test_scan_probes_the_search_once(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    for index in range(3):
        PLANTINGS["unlinked"](field, f"user_{index}")
    scanned = await scan(scan_deps_of(world, tmp_path))
    assert scanned.run.repairable == 3
    assert [call.path for call in world.stripe.calls] == ["/v1/customers", "/v1/customers/search"]


async def test_scan_of_one_customer_detects_missing_search(world: World, tmp_path: Path) -> None:
    world.stripe.search_available = False
    PLANTINGS["unlinked"](Field(world.autumn, world.stripe), "ann")
    report = await scan_one(scan_deps_of(world, tmp_path), "ann", ScanRequest(apply=True))
    (finding, *_) = report.findings
    assert (finding.kind, finding.is_repairable, report.this_run.requested) == ("unlinked", False, 0)


async def test_outage_of_search_does_not_fail_a_scan(world: World, tmp_path: Path) -> None:
    PLANTINGS["unlinked"](Field(world.autumn, world.stripe), "ann")
    world.stripe.switches.add(Fault("garbage", route="GET /v1/customers/search"))
    deps = replace(scan_deps_of(world, tmp_path), patience_seconds=0.1)
    assert (await scan(deps)).run.repairable == 1
    assert world.stripe.switches.fired["garbage"] > 1


def on_test_clock(field: Field, customer: str, **different: object) -> str:
    """Add a customer on a test clock, which Stripe's list lacks. It agrees except for `different`."""
    stripe_id = field.agreeing(customer, **different)
    field.stripe.customers[stripe_id]["test_clock"] = "clock_1"
    return stripe_id


async def test_customer_of_a_test_clock_is_not_gone(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    on_test_clock(field, "right")
    on_test_clock(field, "wrong", name="Edited")
    gone = PLANTINGS["deleted"](field, "deleted") | PLANTINGS["missing"](field, "missing")
    scanned = await scan(scan_deps_of(world, tmp_path, max_changed=0.75), apply=True)
    assert scanned.found == gone | {("wrong", "profile-drift", "name")}
    assert (scanned.run.state, scanned.run.requested, scanned.run.looked_up, scanned.run.not_checked) == (
        "done",
        3,
        4,
        0,
    )
    assert {each.reason for each in scanned.findings if each.kind == "gone"} == {
        f"{each.stripe_ids[0]} is deleted, or not of this account" for each in scanned.findings if each.kind == "gone"
    }


async def test_links_beyond_the_limit_are_counted_as_not_checked(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    for index in range(8):
        field.in_autumn(f"user_{index}", f"cus_missing{index}")
    deps = scan_deps_of(world, tmp_path, look_ups_at_most=3)
    scanned = await scan(deps)
    assert scanned.run.totals == {"gone": 3}
    assert (scanned.run.looked_up, scanned.run.not_checked) == (3, 5)
    assert any("not checked: 5 customers" in line for line in summary(scanned.run))
    refused = await scan(replace(deps, max_changed=0.9), apply=True)
    assert (refused.run.state, refused.run.requested) == ("refused", 0)
    assert "5 more could not be checked" in refused.run.text


async def test_look_up_with_a_passing_failure_is_retried(world: World, tmp_path: Path) -> None:
    on_test_clock(Field(world.autumn, world.stripe), "ann")
    world.stripe.switches.add(Fault("503", route="GET /v1/customers/cus_", times=2))
    scanned = await scan(scan_deps_of(world, tmp_path))
    assert (scanned.run.state, scanned.findings) == ("done", [])


async def test_bounded_scan_does_not_report_unchecked_links_as_gone(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    for index in range(8):
        field.in_autumn(f"user_{index}", f"cus_missing{index}")
    scanned = await scan(scan_deps_of(world, tmp_path, look_ups_at_most=3), since_ms=1)
    assert (scanned.run.totals, scanned.run.not_checked) == ({"gone": 3}, 5)


async def test_search_with_other_customers_does_not_fail_a_bounded_scan(world: World, tmp_path: Path) -> None:
    for owner in ("ann", "bob"):
        world.stripe.seed_customer(metadata={"autumn_id": owner}, created=1)
    world.autumn.seed("ann", email=None)
    world.stripe.switches.add(Fault("other", route="GET /v1/customers/search"))
    scanned = await scan(scan_deps_of(world, tmp_path), since_ms=(int(time.time()) - 3600) * 1000)
    assert scanned.found == {("ann", "unlinked", "stripe_id")}
