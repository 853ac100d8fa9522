"""A scan of both services over HTTP: its findings, its reconciles, and its calls."""

import os
import time
from pathlib import Path

import pytest

from jobs.plan.policy import Policy
from jobs.queue.record import read_totals
from jobs.scan.inbox import request_reconciles
from jobs.scan.record import ScanProgress
from jobs.scan.report import Changed
from tests.conftest import INBOX, PREFIX, World
from tests.support.planting import BEYOND_REPAIR, FLAG, PLANTINGS, Expected, Field
from tests.support.scans import scan, scan_deps_of, time_passed
from tests.support.steps import reconcile, under


def plant_everything(world: World) -> Expected:
    """Plant each problem twice, and return the expected findings."""
    field = Field(world.autumn, world.stripe)
    plants = [plant(field, f"{name}_{index}") for name, plant in PLANTINGS.items() for index in range(2)]
    return set[tuple[str, str, str]]().union(*plants)


@pytest.mark.parametrize("name", PLANTINGS)
async def test_each_planting_is_found_and_nothing_else(world: World, tmp_path: Path, name: str) -> None:
    field = Field(world.autumn, world.stripe)
    field.agreeing("neighbour")
    expected = PLANTINGS[name](field, "planted")
    scanned = await scan(scan_deps_of(world, tmp_path))
    assert scanned.found == expected
    assert any(each.is_repairable for each in scanned.findings) == bool(expected and name not in BEYOND_REPAIR)


async def test_second_scan_finds_nothing_repairable_after_apply(world: World, tmp_path: Path) -> None:
    expected = plant_everything(world)
    deps = scan_deps_of(world, tmp_path)
    first = await scan(deps, apply=True)
    assert first.found == expected
    assert first.run.requested == first.run.repairable > 0
    await world.run(200)
    await time_passed(world)
    second = await scan(deps)
    assert second.run.repairable == 0
    assert second.found == {(each.customer, each.kind, each.field) for each in first.findings if not each.is_repairable}


async def test_scan_without_apply_writes_nothing(world: World, tmp_path: Path) -> None:
    plant_everything(world)
    await scan(scan_deps_of(world, tmp_path))
    assert {call.path for call in world.autumn.calls} == {"/v1/customers.list"}
    assert {call.method for call in world.stripe.calls} == {"GET"}
    assert await world.redis.xlen(INBOX) == 0
    assert os.listdir(tmp_path) == []


async def test_scan_costs_one_call_per_page_and_one_search(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    for index in range(201):
        field.agreeing(f"both_{index}")
    for index in range(1800):
        field.in_autumn(f"one_{index}", None)
    scanned = await scan(scan_deps_of(world, tmp_path))
    assert (scanned.run.autumn_customers, scanned.run.stripe_customers) == (2001, 201)
    assert [call.path for call in world.autumn.calls] == ["/v1/customers.list"] * 3
    assert [call.path for call in world.stripe.calls] == [*["/v1/customers"] * 3, "/v1/customers/search"]
    assert len(scanned.findings) == 1800


async def test_apply_beyond_the_limit_is_refused_unless_forced(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    plants = {"name": 3, "agreeing": 7}
    for name, count in plants.items():
        for index in range(count):
            PLANTINGS[name](field, f"{name}_{index}")
    deps = scan_deps_of(world, tmp_path, max_changed=0.2)
    refused = await scan(deps, apply=True)
    assert (refused.run.state, refused.run.requested) == ("refused", 0)
    assert refused.run.text.startswith("3 of 10 customers would change, and SCAN_MAX_CHANGED is 0.2")
    assert await world.redis.xlen(INBOX) == 0
    forced = await scan(deps, apply=True, force=True)
    assert (forced.run.state, forced.run.requested, await world.redis.xlen(INBOX)) == ("done", 3, 3)


async def test_apply_of_exactly_the_limit_is_allowed(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    PLANTINGS["name"](field, "wrong")
    for index in range(4):
        field.agreeing(f"right_{index}")
    assert (await scan(scan_deps_of(world, tmp_path, max_changed=0.2), apply=True)).run.state == "done"


async def test_only_requested_kinds_are_reported_and_reconciled(world: World, tmp_path: Path) -> None:
    plant_everything(world)
    scanned = await scan(scan_deps_of(world, tmp_path), apply=True, kinds=("unclaimed", "orphan"))
    assert set(scanned.run.totals) == {"unclaimed", "orphan"}
    assert scanned.run.requested == 2
    asked = {fields[b"customer_id"] for _, fields in await world.redis.xrange(INBOX)}
    assert asked == {b"unclaimed_0", b"unclaimed_1"}


async def test_report_has_the_difference_from_the_run_before(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    stays, fixed = field.agreeing("stays", name="Edited"), field.agreeing("fixed", name="Edited")
    deps = scan_deps_of(world, tmp_path)
    first = await scan(deps)
    assert first.run.changed is None
    world.stripe.customers[fixed]["name"] = "Name of fixed"
    world.stripe.customers[stays]["name"] = "Edited again"
    field.agreeing("new", email=None)
    await scan(deps, kinds=("orphan",))
    second = await scan(deps)
    assert second.run.changed == Changed(new=1, fixed=1, still_there=1)
    assert [run.findings for run in await deps.record.history()] == [2, 0, 2]


async def test_two_requests_in_one_run_are_one_event(world: World) -> None:
    progress = ScanProgress(run="1-a")
    for _ in range(2):
        await request_reconciles(world.redis, INBOX, iter(["ann", "no event's id", "bob"]), progress)
    assert await world.redis.xlen(INBOX) == 4
    await world.mailbox.move()
    totals = await read_totals(world.redis, PREFIX)
    assert (totals["received"], totals["duplicates"]) == (4, 2)


async def test_report_policy_requests_no_reconcile(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    expected = {*PLANTINGS["unlinked"](field, "ann"), *PLANTINGS["deleted"](field, "bob")}
    no_receipts = {(name, "receipts-cannot-be-sent", "email") for name in ("ann", "bob")}
    policy = Policy(when_unlinked="report", when_gone="report")
    scanned = await scan(scan_deps_of(world, tmp_path, policy=policy), apply=True)
    assert scanned.found == expected | no_receipts
    assert scanned.run.requested == 0


async def test_copied_metadata_is_compared_by_key(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    stripe_id = field.agreeing("ann", metadata={"plan": "old"})
    world.autumn.customers["ann"]["metadata"] = {"plan": "pro", "other": 1}
    scanned = await scan(scan_deps_of(world, tmp_path, policy=Policy(metadata_keys=("plan", "seats"))))
    (finding,) = scanned.findings
    assert (finding.field, finding.autumn, finding.stripe) == ("metadata.plan", "pro", "old")
    assert finding.would == f"write metadata.plan to {stripe_id}"


async def test_payments_are_compared_if_receipts_are_set_on_payments(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    stripe_id = field.agreeing("ann")
    done = {"status": "succeeded", "succeeded_at": int(time.time()) - 60}
    waiting = world.stripe.seed_payment_intent(customer=stripe_id, status="requires_action")["id"]
    paid = world.stripe.seed_payment_intent(customer=stripe_id, **done)["id"]
    for index in range(120):
        world.stripe.seed_payment_intent(customer=None, status="canceled", id=f"pi_nobody{index}")
    scanned = await scan(scan_deps_of(world, tmp_path, policy=Policy(receipts="recover")))
    assert {each.stripe_ids: each.autumn for each in scanned.findings} == {
        (stripe_id, waiting): "ann@example.com",
        (stripe_id, paid): "ann@example.com",
    }
    assert sum(call.path == "/v1/payment_intents" for call in world.stripe.calls) == 2


async def test_payments_are_repaired_unless_metadata_is_full(world: World, tmp_path: Path) -> None:
    world = under(world, receipts="open")
    field, open_payment = Field(world.autumn, world.stripe), {"status": "requires_action"}
    off = field.agreeing("off")
    on = field.agreeing("on")
    taken_back = world.stripe.seed_payment_intent(customer=off, **open_payment)["id"]
    await reconcile(world, "off")
    await world.run()
    world.autumn.customers["off"]["send_email_receipts"] = False
    await time_passed(world)
    unset = world.stripe.seed_payment_intent(customer=on, **open_payment)["id"]
    full = world.stripe.seed_payment_intent(
        customer=on, metadata={f"key_{index}": "x" for index in range(50)}, **open_payment
    )["id"]
    deps = scan_deps_of(world, tmp_path)
    first = await scan(deps, apply=True)
    assert {(each.customer, each.kind, each.stripe_ids[1:]) for each in first.findings} == {
        ("off", "receipts-flag-drift", ()),
        ("off", "receipt-email-drift", (taken_back,)),
        ("on", "receipt-email-drift", (unset,)),
        ("on", "receipt-not-set", ()),
    }
    assert full in next(each.reason for each in first.findings if each.kind == "receipt-not-set")
    await world.run()
    await time_passed(world)
    assert {each.kind for each in (await scan(deps)).findings} == {"receipt-not-set"}


async def test_bounded_scan_reads_older_other_sides_too(world: World, tmp_path: Path) -> None:
    field, since = Field(world.autumn, world.stripe), int(time.time()) - 3600
    long_ago = since - 86_400
    field.agreeing("old", name="Not of interest")
    for customer in world.stripe.customers.values():
        customer["created"] = long_ago
    for row in world.autumn.customers.values():
        row["created_at"] = long_ago * 1000
    older = field.stripe.seed_customer(name="Edited", metadata={"autumn_id": "linked"}, created=long_ago)["id"]
    field.in_autumn("linked", older)
    field.stripe.seed_customer(metadata={"autumn_id": "ours"}, created=long_ago)
    field.in_autumn("ours", None)
    field.stripe.seed_customer(metadata={"autumn_id": "old"})
    expected = PLANTINGS["orphan"](field, "orphan") | PLANTINGS["missing"](field, "gone")
    scanned = await scan(scan_deps_of(world, tmp_path), since_ms=since * 1000)
    fields = {"name", "email", f"metadata.{FLAG}"}
    kinds = {"name": "profile-drift", "email": "profile-drift", f"metadata.{FLAG}": "receipts-flag-drift"}
    assert scanned.found == expected | {("ours", "unlinked", "stripe_id")} | {("linked", kinds[f], f) for f in fields}
    assert next(each.stripe for each in scanned.findings if each.customer == "ours") is not None


async def test_bounded_scan_of_several_pages_stops_at_the_bound(world: World, tmp_path: Path) -> None:
    field, since_ms = Field(world.autumn, world.stripe), (int(time.time()) - 3600) * 1000
    for index in range(1500):
        field.in_autumn(f"old_{index}", None, created_at=since_ms - 1 - index)
    for index in range(2100):
        field.agreeing(f"new_{index}", name="Edited" if index == 0 else f"Name of new_{index}")
        world.autumn.customers[f"new_{index}"]["created_at"] = since_ms + index
    scanned = await scan(scan_deps_of(world, tmp_path), since_ms=since_ms)
    assert scanned.found == {("new_0", "profile-drift", "name")}
    assert scanned.run.autumn_customers == 2100
    lists = [call.body for call in world.autumn.calls if call.path == "/v1/customers.list"]
    assert len(lists) == 3
    # Autumn returns 500 for each later page of a list with a range.
    assert not any("created_at_range" in body for body in lists)


@pytest.mark.parametrize("since", [None, 3600])
async def test_scan_adopts_the_page_size_that_autumn_names(world: World, tmp_path: Path, since: int | None) -> None:
    field = Field(world.autumn, world.stripe)
    for index in range(250):
        field.agreeing(f"user_{index}", name="Edited" if index == 0 else f"Name of user_{index}")
    world.autumn.largest_page = 100
    since_ms = None if since is None else (int(time.time()) - since) * 1000
    scanned = await scan(scan_deps_of(world, tmp_path), since_ms=since_ms)
    assert scanned.found == {("user_0", "profile-drift", "name")}
    assert [(call.body["limit"], call.status) for call in world.autumn.calls] == [(1000, 400), *[(100, 200)] * 3]


@pytest.mark.parametrize(("bound", "calls"), [("before", 2), ("after", 1)])
async def test_bounded_scan_ends_with_the_list_or_the_first_page(
    world: World, tmp_path: Path, bound: str, calls: int
) -> None:
    field, created_ms = Field(world.autumn, world.stripe), (int(time.time()) - 3600) * 1000
    for index in range(1001):
        field.agreeing(f"user_{index}")
        world.autumn.customers[f"user_{index}"]["created_at"] = created_ms
    since_ms = created_ms if bound == "before" else created_ms + 1
    scanned = await scan(scan_deps_of(world, tmp_path), since_ms=since_ms)
    assert scanned.run.autumn_customers == (1001 if bound == "before" else 0)
    assert sum(call.path == "/v1/customers.list" for call in world.autumn.calls) == calls


async def test_shared_unclaimed_customer_is_left_to_a_person(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    stripe_id = field.agreeing("ann", metadata={"autumn_id": None})
    field.in_autumn("bob", stripe_id)
    scanned = await scan(scan_deps_of(world, tmp_path), apply=True)
    assert {(each.customer, each.kind) for each in scanned.findings if each.field != f"metadata.{FLAG}"} == {
        (name, kind) for name in ("ann", "bob") for kind in ("shared", "unclaimed")
    }
    assert scanned.run.requested == 0


async def test_two_candidates_are_reported_before_one_is_claimed(world: World, tmp_path: Path) -> None:
    field = Field(world.autumn, world.stripe)
    field.agreeing("ann", metadata={"autumn_id": None, FLAG: None})
    field.stripe.seed_customer(metadata={"autumn_id": "ann"})
    scanned = await scan(scan_deps_of(world, tmp_path))
    assert {each.kind for each in scanned.findings} == {"unclaimed", "ambiguous"}
