"""Random accounts: a scan finds exactly what was planted, and never skips a customer with findings."""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from jobs.autumn.pages import ListedCustomer
from jobs.plan.customer import AUTUMN_ID, SEND_EMAIL_RECEIPTS, AutumnCustomer, StripeCustomer
from jobs.plan.policy import Policy
from jobs.scan.compare import PlanInputs, findings_of
from jobs.scan.report import ScanFinding
from jobs.scan.spool import About, Spool
from sandbox.redis import EmbeddedRedis
from tests.conftest import opened_world
from tests.support.examples import examples
from tests.support.planting import PLANTINGS, Field
from tests.support.scans import scan, scan_deps_of

PLANTS = st.lists(st.sampled_from(sorted(PLANTINGS)), max_size=40)
SHORT = [None, "", "x", "X", "y", "x" * 256]
LONG = [*SHORT, "x" * 300]
"""With one value longer than Stripe allows, which Stripe never holds."""
STRIPE_IDS = ["cus_0", "cus_1", "cus_2"]
AUTUMN_EDITS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(LONG),
        "email": st.sampled_from(LONG),
        "stripe_id": st.sampled_from([None, "cus_gone", *STRIPE_IDS]),
        "mode": st.sampled_from(["live", None]),
        "send_email_receipts": st.booleans(),
        "elsewhere": st.sampled_from([("revenuecat",), ("revenuecat", "vercel")]),
    },
)
STRIPE_EDITS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(SHORT),
        "email": st.sampled_from(SHORT),
        "mode": st.just("live"),
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                AUTUMN_ID: st.sampled_from(["user_0", "user_1", "", "unknown"]),
                SEND_EMAIL_RECEIPTS: st.sampled_from(["true", "false", "", "TRUE"]),
                "other": st.just("1"),
            },
        ),
    },
)
NO_EDIT: st.SearchStrategy[dict[str, Any]] = st.just({})
EDITS = st.tuples(NO_EDIT | AUTUMN_EDITS, NO_EDIT | STRIPE_EDITS)


@settings(max_examples=examples(15))
@given(plants=PLANTS)
def test_scan_finds_exactly_what_is_planted(redis_server: EmbeddedRedis, plants: list[str]) -> None:
    async def check() -> None:
        async with Redis.from_url(redis_server.url) as redis:
            await redis.flushall()
            async with opened_world(redis) as world:
                field = Field(world.autumn, world.stripe)
                expected = set[tuple[str, str, str]]()
                for index, name in enumerate(plants):
                    expected |= PLANTINGS[name](field, f"{name}_{index}")
                with tempfile.TemporaryDirectory() as folder:
                    scanned = await scan(scan_deps_of(world, Path(folder)))
                assert scanned.found == expected
                assert len(scanned.findings) == len(expected)

    asyncio.run(check())


@settings(max_examples=examples(150))
@given(edits=st.lists(EDITS, min_size=1, max_size=3))
def test_skipped_customers_have_no_findings(
    edits: list[tuple[dict[str, Any], dict[str, Any]]],
) -> None:
    inputs = PlanInputs("test", Policy(), now=0.0)
    autumn, stripe = [], []
    for index, (here, there) in enumerate(edits):
        customer_id, stripe_id = f"user_{index}", f"cus_{index}"
        autumn.append(replace(AutumnCustomer(customer_id, "x", "x", stripe_id, "test", True), **here))
        metadata = {AUTUMN_ID: customer_id, SEND_EMAIL_RECEIPTS: "true"}
        stripe.append(replace(StripeCustomer(stripe_id, "x", "x", "test", metadata), **there))
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "spool")
        spool.begin(About("run", "identity", 0))
        spool.add_autumn([_listed(each) for each in autumn], None)
        spool.add_stripe(stripe, None)
        spool.index()
        spool.join()
        everybody, in_doubt = (_findings(spool, inputs, skipping=skipping) for skipping in (False, True))
        rows = spool.joined(0, 10, in_doubt=None, payments=False)
        spool.close()
    assert in_doubt == everybody
    assert [each.autumn for each in rows] == autumn
    assert all(each.linked in stripe for each in rows if each.linked is not None)


def _listed(autumn: AutumnCustomer) -> ListedCustomer:
    """Return the customer as Autumn's list shows it."""
    env = {"test": "sandbox", "live": "live"}.get(autumn.mode or "", "staging")
    fields = {name: getattr(autumn, name) for name in ("id", "name", "email", "stripe_id", "send_email_receipts")}
    processors: dict[str, dict[str, str]] = {name: {} for name in autumn.elsewhere}
    return ListedCustomer(**fields, env=env, metadata={}, created_at=0, processors=processors)


def _findings(spool: Spool, inputs: PlanInputs, *, skipping: bool) -> Sequence[ScanFinding]:
    rows = spool.joined(0, 10, in_doubt=inputs.skips_agreeing if skipping else None, payments=False)
    return [finding for each in rows for finding in findings_of(each, inputs)]
