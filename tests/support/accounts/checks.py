"""The state that an account must have after each sync, and at the end.

Judged by the design's words and from both services alone; the plan of the code under test is not asked.
"""

from jobs.plan.policy import Policy
from sandbox.audit.checks import check_values
from sandbox.audit.expected import flat, possible_values, profile_of
from sandbox.audit.sides import Record, Sides
from tests.support.accounts.drawn import MARK, MOST_KEYS
from tests.support.accounts.ledger import PROFILE, Json, Ledger, Said, Sync, fields
from tests.support.accounts.writes import DONE

RECENT_SECONDS = 10 * 86_400


def judge_end(sync: Sync, ledger: Ledger, policy: Policy, charges: dict[str, Json], *, search_lags: bool) -> None:
    """Each settled event is rightly applied, or rightly dead."""
    name, after = sync.customer, sync.after
    assert sync.record.last_error != "unexpected"
    for entry, (status, reason) in sync.ends.items():
        ledger.said[entry].end = status
        if status == "dead":
            assert _is_rightly_dead(reason, ledger.said[entry], sync, policy), f"{entry}: {reason}"
    if list(sync.ends) == list(sync.mail):
        _judge_refusals(sync)
    applied = [fields(said) for said in sync.of("applied")]
    is_all = list(sync.ends) == list(sync.mail) and not sync.of("dead")
    if not applied or not is_all:
        return
    said = {field: value for each in applied for field, value in each.items()}
    if sync.was_refused and "stripe_id" not in applied[-1] and not said.get("stripe_id"):
        # They were applied one by one, so the last one has found an unlinked customer.
        said.pop("stripe_id", None)
    if "stripe_id" in said and said["stripe_id"] is None:
        assert after.autumn[name]["stripe_id"] is None, "it was to be unlinked"
        return
    stripe = after.linked(name)
    if stripe is None:
        assert "stripe_id" not in said
        _judge_without_link(name, after, policy, search_lags=search_lags)
        return
    assert after.owner(stripe["id"]) == name, f"{stripe['id']} is linked, not claimed, and the change applied"
    assert "stripe_id" not in said or stripe["id"] == said["stripe_id"]
    judge_profile(name, after.autumn[name], stripe, policy)
    for field in ("name", "email"):
        assert field not in said or said[field] is not None or stripe[field] is None, f"{field} was to be cleared"
    judge_receipts(after, name, ledger, policy, charges)
    no_receipts = after.autumn[name]["send_email_receipts"] and not stripe["email"]
    assert (sync.record.link, sync.record.stripe_id) == ("linked", stripe["id"])
    assert bool(sync.record.receipts) == no_receipts


def judge_profile(name: str, row: Record, stripe: Record, policy: Policy) -> None:
    """Stripe has what Autumn has a value of, as far as there is room for another metadata key."""
    right = profile_of(row).in_stripe(name, policy.metadata_keys)
    held, is_full = flat(stripe), len(stripe["metadata"]) == MOST_KEYS
    without_room = {field for field in right if is_full and field.startswith("metadata.") and field not in held}
    wanted = {
        field: values for field, values in right.items() if values not in {(None,), ("",)} and field not in without_room
    }
    assert list(check_values(stripe["id"], "Stripe", stripe, wanted, is_all_metadata=False)) == []


def judge_receipts(sides: Sides, name: str, ledger: Ledger, policy: Policy, charges: dict[str, Json]) -> None:
    """The flag has its effect on every payment that is nobody else's decision."""
    row, stripe = sides.autumn[name], sides.linked(name)
    if policy.receipts == "mirror" or stripe is None:
        return
    for intent in sides.intents.values():
        if intent["customer"] != stripe["id"]:
            continue
        set_by = ledger.set_by.get(intent["id"])
        is_open = intent["status"] not in DONE
        if not row["send_email_receipts"]:
            assert not (is_open and set_by == "us"), f"{intent['id']} was to be taken back"
        elif stripe["email"] and set_by is None and intent["receipt_email"] is None:
            is_full = MARK not in intent["metadata"] and len(intent["metadata"]) == MOST_KEYS
            assert is_full or not (is_open or _is_to_recover(intent, ledger, policy, charges)), intent["id"]


def judge_autumn(name: str, row: Record, planted: Record, said: list[Said], ledger: Ledger) -> None:
    """Autumn has the last value that was applied, or one of a later change that died with its answer lost.

    A field that no change names has the planted value. A webhook may have brought another name or e-mail.
    """
    right = possible_values(profile_of(planted), [(each.changes, each.end == "applied") for each in said])
    for field in PROFILE:
        right[field] = (*right[field], *ledger.brought(name, field))
    assert list(check_values(name, "Autumn", row, right)) == []


def _judge_without_link(name: str, sides: Sides, policy: Policy, *, search_lags: bool) -> None:
    """Not linked, or to one that is gone, and it stays so only where the policy wants it."""
    is_unlinked = sides.autumn[name]["stripe_id"] is None
    when = policy.when_unlinked if is_unlinked else policy.when_gone
    assert when != "create"
    if not search_lags:
        assert len(sides.owned_by(name)) <= (1 if when == "report" else 0)


def _judge_refusals(sync: Sync) -> None:
    """A refused value is nowhere: Stripe has Autumn's value again, or the one that it had."""
    stripe = sync.after.linked(sync.customer)
    if not sync.of("dead") or stripe is None or sync.after.owner(stripe["id"]) != sync.customer:
        return
    before = sync.before.living(stripe["id"]) or stripe
    applied = [fields(said) for said in sync.of("applied")]
    for name in PROFILE:
        allowed = [sync.after.autumn[sync.customer][name], before[name], *(said.get(name) for said in applied)]
        assert stripe[name] in allowed, f"{name} of {stripe['id']} was refused"


def _is_rightly_dead(reason: str, said: Said, sync: Sync, policy: Policy) -> bool:
    """A link that cannot be, or a customer that a person has to look at, before or after what else was in the mail."""
    asked = said.changes.get("stripe_id")
    moments = (sync.before, sync.after)
    if reason == "invalid_request":
        return sync.was_refused
    if reason == "stripe_customer_missing":
        return bool(asked) and any(sides.living(asked) is None for sides in moments)
    assert reason == "needs-review"
    if asked:
        return any(_cannot_be_linked(asked, sync.customer, sides) for sides in moments)
    # Unlinked by a change before it, until one behind it links again: there may have been several to choose from.
    unlinks = any("stripe_id" in said and not said["stripe_id"] for said in sync.mail.values())
    if unlinks and any(len(sides.owned_by(sync.customer)) > 1 for sides in moments):
        return True
    return any(needs_review(sync.customer, sides, policy, has_said=any(sync.mail.values())) for sides in moments)


def needs_review(name: str, sides: Sides, policy: Policy, *, has_said: bool) -> bool:
    """Whether a person has to decide before anything is written."""
    stripe_id = sides.autumn[name]["stripe_id"]
    if sides.linked(name) is not None:
        return _cannot_be_linked(stripe_id, name, sides)
    ours = sides.owned_by(name)
    if len(ours) > 1 or any(_is_linked_elsewhere(each, name, sides) for each in ours):
        return True
    # Autumn refuses every change of a customer that is linked to nobody.
    return (
        has_said
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
    """Whether it succeeded lately, and nobody was told."""
    if policy.receipts != "recover" or intent["status"] != "succeeded" or intent["id"] in ledger.told:
        return False
    return bool(charges[intent["latest_charge"]]["created"] > intent["created"] - RECENT_SECONDS)
