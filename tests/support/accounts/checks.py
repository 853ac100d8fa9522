"""The state that an account must have after each sync, and at the end.

The rules come from the design and the data from both services. They never consult the plan of the code under test.
"""

from jobs.plan.policy import Policy
from sandbox.audit.checks import check_values
from sandbox.audit.expected import flat, possible_values, profile_of
from sandbox.audit.sides import Record, Sides
from tests.support.accounts.drawn import MARK, MOST_KEYS
from tests.support.accounts.ledger import PROFILE, Json, Ledger, SentEvent, Sync, fields
from tests.support.accounts.writes import DONE

RECENT_SECONDS = 10 * 86_400


def judge_end(sync: Sync, ledger: Ledger, policy: Policy, charges: dict[str, Json], *, search_lags: bool) -> None:
    """Check that each applied event is rightly applied, and each dead letter rightly dead."""
    name, after = sync.customer, sync.after
    assert sync.record.last_error != "unexpected"
    for entry, (status, reason) in sync.outcomes.items():
        ledger.events[entry].outcome = status
        if status == "dead":
            assert _is_rightly_dead(reason, ledger.events[entry], sync, policy), f"{entry}: {reason}"
    if list(sync.outcomes) == list(sync.batch):
        _judge_refusals(sync)
    applied = [fields(each) for each in sync.of("applied")]
    is_all = list(sync.outcomes) == list(sync.batch) and not sync.of("dead")
    if not applied or not is_all:
        return
    requested = {field: value for each in applied for field, value in each.items()}
    if sync.was_refused and "stripe_id" not in applied[-1] and not requested.get("stripe_id"):
        # They were applied one by one, so the last one has found an unlinked customer.
        requested.pop("stripe_id", None)
    if "stripe_id" in requested and requested["stripe_id"] is None:
        assert after.autumn[name]["stripe_id"] is None, "it should be unlinked"
        return
    stripe = after.linked(name)
    if stripe is None:
        assert "stripe_id" not in requested
        _judge_without_link(name, after, policy, search_lags=search_lags)
        return
    assert after.owner(stripe["id"]) == name, f"{stripe['id']} is linked and the change applied, but it is not claimed"
    assert "stripe_id" not in requested or stripe["id"] == requested["stripe_id"]
    judge_profile(name, after.autumn[name], stripe, policy)
    for field in ("name", "email"):
        is_cleared = field in requested and requested[field] is None
        assert not is_cleared or stripe[field] is None, f"{field} should be cleared"
    judge_receipts(after, name, ledger, policy, charges)
    no_receipts = after.autumn[name]["send_email_receipts"] and not stripe["email"]
    assert (sync.record.link, sync.record.stripe_id) == ("linked", stripe["id"])
    assert bool(sync.record.receipts) == no_receipts


def judge_profile(name: str, row: Record, stripe: Record, policy: Policy) -> None:
    """Check that Stripe has Autumn's values, as far as it has room for another metadata key."""
    right = profile_of(row).in_stripe(name, policy.metadata_keys)
    held, is_full = flat(stripe), len(stripe["metadata"]) == MOST_KEYS
    without_room = {field for field in right if is_full and field.startswith("metadata.") and field not in held}
    wanted = {
        field: values for field, values in right.items() if values not in {(None,), ("",)} and field not in without_room
    }
    assert list(check_values(stripe["id"], "Stripe", stripe, wanted, is_all_metadata=False)) == []


def judge_receipts(sides: Sides, name: str, ledger: Ledger, policy: Policy, charges: dict[str, Json]) -> None:
    """Check that the flag has its effect on every payment, unless an app decided otherwise."""
    row, stripe = sides.autumn[name], sides.linked(name)
    if policy.receipts == "mirror" or stripe is None:
        return
    for intent in sides.intents.values():
        if intent["customer"] != stripe["id"]:
            continue
        set_by = ledger.set_by.get(intent["id"])
        is_open = intent["status"] not in DONE
        if not row["send_email_receipts"]:
            assert not (is_open and set_by == "us"), f"{intent['id']} should be taken back"
        elif stripe["email"] and set_by is None and intent["receipt_email"] is None:
            is_full = MARK not in intent["metadata"] and len(intent["metadata"]) == MOST_KEYS
            assert is_full or not (is_open or _is_to_recover(intent, ledger, policy, charges)), intent["id"]


def judge_autumn(name: str, row: Record, planted: Record, sent: list[SentEvent], ledger: Ledger) -> None:
    """Check that Autumn has the last value applied, or one of a later change that died when its answer was lost.

    A field that no change names has the planted value. A webhook may have brought another name or e-mail.
    """
    right = possible_values(profile_of(planted), [(each.changes, each.outcome == "applied") for each in sent])
    for field in PROFILE:
        right[field] = (*right[field], *ledger.brought(name, field))
    assert list(check_values(name, "Autumn", row, right)) == []


def _judge_without_link(name: str, sides: Sides, policy: Policy, *, search_lags: bool) -> None:
    """Check a customer without a link, or with a link to a deleted one. It stays so only if the policy wants it."""
    is_unlinked = sides.autumn[name]["stripe_id"] is None
    when = policy.when_unlinked if is_unlinked else policy.when_gone
    assert when != "create"
    if not search_lags:
        assert len(sides.owned_by(name)) <= (1 if when == "report" else 0)


def _judge_refusals(sync: Sync) -> None:
    """Check that a refused value is in neither service: Stripe has Autumn's value again, or its own old one."""
    stripe = sync.after.linked(sync.customer)
    if not sync.of("dead") or stripe is None or sync.after.owner(stripe["id"]) != sync.customer:
        return
    before = sync.before.living(stripe["id"]) or stripe
    applied = [fields(each) for each in sync.of("applied")]
    for name in PROFILE:
        allowed = [sync.after.autumn[sync.customer][name], before[name], *(each.get(name) for each in applied)]
        assert stripe[name] in allowed, f"{name} of {stripe['id']} has a refused value"


def _is_rightly_dead(reason: str, sent: SentEvent, sync: Sync, policy: Policy) -> bool:
    """Whether the reason is right: a link that is impossible, or a customer that a person has to review.

    The reason may appear before or after the other events of the batch.
    """
    linked = sent.changes.get("stripe_id")
    moments = (sync.before, sync.after)
    if reason == "invalid_request":
        return sync.was_refused
    if reason == "stripe_customer_missing":
        return bool(linked) and any(sides.living(linked) is None for sides in moments)
    assert reason == "needs-review"
    if linked:
        return any(_cannot_be_linked(linked, sync.customer, sides) for sides in moments)
    # An earlier change unlinked the customer, until a later one links it again, so there may have been several
    # candidates.
    unlinks = any("stripe_id" in each and not each["stripe_id"] for each in sync.batch.values())
    if unlinks and any(len(sides.owned_by(sync.customer)) > 1 for sides in moments):
        return True
    return any(needs_review(sync.customer, sides, policy, has_changes=any(sync.batch.values())) for sides in moments)


def needs_review(name: str, sides: Sides, policy: Policy, *, has_changes: bool) -> bool:
    """Whether a person has to decide before anything is written."""
    stripe_id = sides.autumn[name]["stripe_id"]
    if sides.linked(name) is not None:
        return _cannot_be_linked(stripe_id, name, sides)
    ours = sides.owned_by(name)
    if len(ours) > 1 or any(_is_linked_elsewhere(each, name, sides) for each in ours):
        return True
    # Autumn refuses every change of a customer that is linked to a missing one.
    return (
        has_changes
        and stripe_id is not None
        and (policy.when_gone == "report" or (not ours and policy.when_gone != "create"))
    )


def _cannot_be_linked(stripe_id: str, name: str, sides: Sides) -> bool:
    stripe, owner = sides.living(stripe_id), sides.owner(stripe_id)
    if stripe is None:
        return False
    if owner == name and stripe_id != sides.autumn[name]["stripe_id"]:
        return _is_linked_elsewhere(stripe_id, name, sides)
    return owner not in {None, name} or (owner is None and len(stripe["metadata"]) == MOST_KEYS)


def _is_linked_elsewhere(stripe_id: str, name: str, sides: Sides) -> bool:
    """Whether another customer of Autumn is linked to it, as after a rename."""
    return any(row["stripe_id"] == stripe_id for other, row in sides.autumn.items() if other != name)


def _is_to_recover(intent: Record, ledger: Ledger, policy: Policy, charges: dict[str, Json]) -> bool:
    """Whether the payment succeeded recently and no receipt was mailed."""
    if policy.receipts != "recover" or intent["status"] != "succeeded" or intent["id"] in ledger.mailed:
        return False
    return bool(charges[intent["latest_charge"]]["created"] > intent["created"] - RECENT_SECONDS)
