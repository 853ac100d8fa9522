"""A scan of one customer finds what a scan of all customers finds for it."""

from pathlib import Path

import pytest

from jobs.plan.policy import Policy
from jobs.scan.one import scan_one
from jobs.scan.run import ScanRequest
from tests.conftest import World
from tests.support.planting import PLANTINGS, Field
from tests.support.scans import scan, scan_deps_of

ONLY_AMONG_ALL = {"double", "shared"}
"""Plantings that only a scan of all customers finds."""


@pytest.mark.parametrize("planted", sorted(PLANTINGS.keys() - ONLY_AMONG_ALL - {"strangers"}))
async def test_scan_of_one_customer_finds_what_a_full_scan_finds(world: World, tmp_path: Path, planted: str) -> None:
    PLANTINGS[planted](Field(world.autumn, world.stripe), "ann")
    deps = scan_deps_of(world, tmp_path)
    whole = {each for each in (await scan(deps)).findings if each.customer == "ann"}
    assert set((await scan_one(deps, "ann", ScanRequest())).findings) == whole


async def test_scan_of_one_customer_reads_payments_if_needed(world: World, tmp_path: Path) -> None:
    stripe_id = Field(world.autumn, world.stripe).agreeing("ann", name="Edited by hand")
    intent = world.stripe.seed_payment_intent(customer=stripe_id, status="requires_action")["id"]
    deps = scan_deps_of(world, tmp_path, policy=Policy(receipts="open"))
    report = await scan_one(deps, "ann", ScanRequest())
    assert [(each.kind, each.stripe_ids) for each in report.findings] == [
        ("profile-drift", (stripe_id,)),
        ("receipt-email-drift", (stripe_id, intent)),
    ]
