"""The writes to Stripe that a sync may make, judged one by one in the order they were executed."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.plan.policy import Policy
from sandbox.audit.checks import check_receipts
from sandbox.audit.expected import OWNER, RECEIPTS_FLAG
from sandbox.stripe.writes import Write
from tests.support.accounts.drawn import MARK
from tests.support.accounts.ledger import PROFILE, Json, Ledger, Sync, fields, says_null

DONE = {"succeeded", "canceled"}
"""A payment in any other status may still succeed."""


def judge_writes(sync: Sync, ledger: Ledger, policy: Policy, *, search_lags: bool) -> None:
    """Judge the writes for one customer, by the worker or by Autumn for it, and note them in the ledger."""
    owners = {stripe_id: sync.before.owner(stripe_id) for stripe_id in sync.before.stripe}
    linked = {sync.before.autumn[sync.customer]["stripe_id"]}
    for write in sync.writes:
        assert write.why != "somebody else", "a write of ours has no key that Autumn recognises"
        match write.endpoint:
            case "customers.create":
                _judge_create(write, sync, policy, owners, search_lags=search_lags)
                ledger.made.setdefault(sync.customer, []).append(write.object_id)
            case "customers.update":
                if write.why == "Autumn itself":
                    _judge_autumns_own(write, sync)
                    linked.add(write.object_id)
                assert owners[write.object_id] or write.object_id in linked, "it has no owner and is not linked yet"
                _judge_update(write, sync, policy, owners, ledger)
            case "payment_intents.update":
                _judge_receipt(write, sync, policy, owners, ledger)
            case other:
                raise AssertionError(f"a sync never calls {other}")
    alive = [each for each in ledger.made.get(sync.customer, []) if sync.after.living(each)]
    assert len(alive) <= 1, f"more than one was created for {sync.customer}: {alive}"
    mailed = [mail.payment_intent for mail in sync.mails]
    assert list(check_receipts([*ledger.mailed, *mailed])) == []
    ledger.mailed |= {*mailed}


def _judge_autumns_own(write: Write, sync: Sync) -> None:
    """Autumn writes to a linked customer at each update, but never changes a field that Stripe has a value of.

    Everything else was written to Stripe before, so no echo restores an old value.
    """
    row = sync.before.autumn[sync.customer]
    changed = {name for name in write.changed if name not in PROFILE or row[name] is not None}
    assert not changed, f"Autumn changed {changed} of {write.object_id}, and an echo brings it back"


def _judge_create(
    write: Write, sync: Sync, policy: Policy, owners: dict[str, str | None], *, search_lags: bool
) -> None:
    """A create is allowed only by the policy, only if no customer is ours, and only with the id."""
    assert write.changed == {OWNER: (None, sync.customer)}
    names_a_link = any("stripe_id" in each for each in sync.batch.values())
    if not names_a_link:
        is_unlinked = sync.before.autumn[sync.customer]["stripe_id"] is None
        assert (policy.when_unlinked if is_unlinked else policy.when_gone) == "create"
        assert sync.before.linked(sync.customer) is None
        assert search_lags or sync.before.owned_by(sync.customer) == [], "a Stripe customer with this id exists already"
    owners[write.object_id] = sync.customer


def _judge_update(write: Write, sync: Sync, policy: Policy, owners: dict[str, str | None], ledger: Ledger) -> None:
    """An update is allowed only for our customer, or a linked one without an owner, and only for our fields."""
    customer, owner = sync.customer, owners[write.object_id]
    assert owner in {None, customer}, (
        f"{write.object_id} belongs to {owner}, but was written for {customer} ({write.why})"
    )
    if owner is None:
        links = {sync.before.autumn[customer]["stripe_id"], *(each.get("stripe_id") for each in sync.batch.values())}
        assert write.object_id in links, f"{write.object_id} has no owner, but was written for {customer}"
    owners[write.object_id] = customer if OWNER in write.changed else owner
    ours = {"name", "email", OWNER, RECEIPTS_FLAG}
    assert write.changed.keys() <= ours | {f"metadata.{key}" for key in policy.metadata_keys}
    assert write.changed.get(OWNER, (None, customer)) == (None, customer)
    for name, (before, after) in write.changed.items():
        requested = _requested(sync, ledger)
        refused = [fields(each).get(name) for each in sync.batch.values()] if sync.was_refused else []
        is_wanted = says_null(requested, name) or before in refused
        assert after is not None or is_wanted, f"{name} of {write.object_id} was erased"
        assert name not in PROFILE or after in _known(name, sync, requested), (
            f"{name} of {write.object_id} has an unknown value"
        )


def _requested(sync: Sync, ledger: Ledger) -> list[Json]:
    """Return the waiting values and, if a sync may reapply them, those of earlier changes."""
    reapplies = sync.is_recheck or not sync.is_whole
    return [*sync.batch.values(), *(ledger.ever_requested(sync.customer) if reapplies else [])]


def _known(name: str, sync: Sync, requested: Sequence[Json]) -> list[Any]:
    """Return the values of a field that may go to Stripe: Autumn's, requested ones, and Stripe's own after a
    refusal."""
    rows = [sides.autumn[sync.customer] for sides in (sync.before, sync.after)]
    restored = [each[name] for each in sync.before.stripe.values() if sync.was_refused and not each.get("deleted")]
    return [*(row[name] for row in rows), *(fields(each).get(name) for each in requested), *restored]


def _judge_receipt(write: Write, sync: Sync, policy: Policy, owners: Mapping[str, str | None], ledger: Ledger) -> None:
    """An address is set only if there is none and no app decided otherwise. Ours is taken back before success only."""
    intent = sync.before.intents[write.object_id]
    assert policy.receipts != "mirror"
    assert owners[intent["customer"]] == sync.customer
    assert write.changed.keys() == {"receipt_email", f"metadata.{MARK}"}
    before, after = write.changed["receipt_email"]
    set_by = ledger.set_by.get(write.object_id)
    if after is None:
        assert set_by == "us", f"the address of {write.object_id} was set by {set_by}, but was cleared"
        assert intent["status"] not in DONE, "the address was taken back too late"
        del ledger.set_by[write.object_id]
        return
    assert (before, set_by) == (None, None), f"the address of {write.object_id} was set by {set_by}, but was changed"
    assert intent["status"] != "canceled"
    assert intent["status"] != "succeeded" or policy.receipts == "recover"
    ledger.set_by[write.object_id] = "us"
