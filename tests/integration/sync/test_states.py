"""The writes and their order for every state of the link, every setting and every mode of receipts.

The writes are read from the simulators, not from the worker.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from jobs.enqueue import outcome_of
from jobs.plan.policy import ReceiptsMode, WithoutLink
from jobs.queue.record import read_customer
from tests.conftest import PREFIX, World, read_dead
from tests.support.steps import change, reconcile, under

NAME, EMAIL = "Ann", "ann@example.com"
ALWAYS: tuple[WithoutLink, ...] = ("create", "link-only", "report")
LINK: tuple[WithoutLink, ...] = ("create", "link-only")


def stripe_customer(world: World, owner: str | None = "ann", **fields: Any) -> str:
    """Add a Stripe customer with an open payment and one that just succeeded, both without a receipt address."""
    metadata = {"autumn_id": owner} if owner else {}
    seeded = world.stripe.seed_customer(name=NAME, email=EMAIL, metadata=metadata, **fields)
    now = int(world.deps.now())
    world.stripe.seed_payment_intent(id=f"pi_open_{seeded['id']}", customer=seeded["id"])
    world.stripe.seed_payment_intent(
        id=f"pi_paid_{seeded['id']}", customer=seeded["id"], status="succeeded", succeeded_at=now
    )
    return str(seeded["id"])


def deleted(world: World) -> str:
    return str(world.stripe.seed_customer(deleted=True)["id"])


def linked(world: World) -> str | None:
    return stripe_customer(world)


def unclaimed(world: World) -> str | None:
    return stripe_customer(world, owner=None)


def unlinked(world: World) -> str | None:
    stripe_customer(world, owner=None)  # another customer with the same address
    return None


def unlinked_and_one_is_ours(world: World) -> str | None:
    stripe_customer(world)
    return None


def gone_by_deletion(world: World) -> str | None:
    return deleted(world)


def gone_and_never_seen(_: World) -> str | None:
    return "cus_neverseen"


def gone_and_one_is_ours(world: World) -> str | None:
    stripe_customer(world)
    return deleted(world)


def foreign(world: World) -> str | None:
    return stripe_customer(world, owner="bob")


def ambiguous(world: World) -> str | None:
    stripe_customer(world)
    stripe_customer(world)
    return None


def gone_and_ambiguous(world: World) -> str | None:
    stripe_customer(world)
    stripe_customer(world)
    return deleted(world)


def wrong_mode(world: World) -> str | None:
    return stripe_customer(world, livemode=True)


@dataclass(frozen=True)
class Row:
    """One state under some settings: the writes in order, and the outcome of the change."""

    plant: Callable[[World], str | None]
    settings: Sequence[WithoutLink]
    writes: tuple[str, ...]
    found: str
    end: str = "applied"
    has_payments: bool = False
    """Whether the customer that is linked in the end has the planted payments."""


TABLE = [
    Row(linked, ALWAYS, ("autumn", "update"), "linked", has_payments=True),
    Row(unclaimed, ALWAYS, ("update", "autumn", "update"), "unclaimed", has_payments=True),
    Row(unlinked, ("create",), ("create", "update", "autumn", "update"), "unlinked"),
    Row(unlinked, ("link-only", "report"), ("autumn",), "unlinked"),
    Row(unlinked_and_one_is_ours, LINK, ("autumn", "update"), "unlinked", has_payments=True),
    Row(unlinked_and_one_is_ours, ("report",), ("autumn",), "unlinked"),
    Row(gone_by_deletion, ("create",), ("create", "update", "autumn", "update"), "gone"),
    Row(gone_by_deletion, ("link-only", "report"), (), "gone", "needs-review"),
    Row(gone_and_never_seen, ("create",), ("autumn refused", "create", "update", "autumn", "update"), "gone"),
    Row(gone_and_never_seen, ("link-only", "report"), ("autumn refused",), "gone", "needs-review"),
    Row(gone_and_one_is_ours, LINK, ("autumn", "update"), "gone", has_payments=True),
    Row(gone_and_one_is_ours, ("report",), (), "gone", "needs-review"),
    Row(foreign, ALWAYS, (), "foreign", "needs-review"),
    Row(ambiguous, ALWAYS, (), "ambiguous", "needs-review"),
    Row(gone_and_ambiguous, ALWAYS, (), "ambiguous", "needs-review"),
    Row(wrong_mode, ALWAYS, (), "wrong-mode", "halted"),
]
RECEIPTS: dict[ReceiptsMode, tuple[str, ...]] = {"mirror": (), "open": ("open",), "recover": ("open", "paid")}


def written(world: World) -> list[str]:
    """Return the writes to both services in order. Autumn's writes to Stripe are a part of its update."""
    in_autumn = [
        (call.started, "autumn" if call.status == 200 else "autumn refused")
        for call in world.autumn.calls
        if call.path == "/v1/customers.update"
    ]
    in_stripe = [
        (write.at, write.object_id.split("_")[1] if write.why.startswith("receipt") else write.why.split("-")[0])
        for write in world.stripe.writes
        if write.why != "Autumn itself"
    ]
    return [what for _, what in sorted(in_autumn + in_stripe)]


@pytest.mark.parametrize("receipts", RECEIPTS)
@pytest.mark.parametrize(
    ("row", "setting"),
    [pytest.param(row, setting, id=f"{row.plant.__name__}-{setting}") for row in TABLE for setting in row.settings],
)
async def test_each_state_and_setting_has_expected_writes(
    world: World, row: Row, setting: WithoutLink, receipts: ReceiptsMode
) -> None:
    world = under(world, when_unlinked=setting, when_gone=setting, receipts=receipts)
    stripe_id = row.plant(world)
    world.autumn.seed("ann", name=NAME, email=EMAIL, send_email_receipts=True, stripe_id=stripe_id)
    event = await change(world, "ann", metadata={"k": 1})
    await world.run()
    # The newest payment comes first.
    receipts_set = sorted(RECEIPTS[receipts], reverse=True) if row.has_payments else ()
    assert written(world) == [*row.writes, *receipts_set]
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    expected = {"applied": ("applied", None), "halted": ("waiting", None)}.get(row.end, ("dead", row.end))
    assert (outcome.status, outcome.reason) == expected
    assert world.autumn.customers["ann"]["metadata"] == ({"k": 1} if row.end == "applied" else {})
    assert len(world.stripe.mails) == ("paid" in receipts_set)
    record = await read_customer(world.redis, PREFIX, "ann")
    assert f'"found":"{row.found}"' in record.reports
    await check_second_sync_writes_nothing(world)


async def check_second_sync_writes_nothing(world: World) -> None:
    calls, writes = len(world.autumn.calls), len(world.stripe.writes)
    if not await read_dead(world.redis):
        await reconcile(world, "ann")
        await world.run()
    assert [call.path for call in world.autumn.calls[calls:] if "update" in call.path] == []
    assert world.stripe.writes[writes:] == []
