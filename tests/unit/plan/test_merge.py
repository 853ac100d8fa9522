"""One merged update has the same effect as the updates one by one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobs.plan.merge import cleared, merge, mergeable

KEYS = st.sampled_from(["plan", "seats", "note"])
VALUES = st.none() | st.integers(0, 3) | st.dictionaries(KEYS, st.none() | st.integers(0, 3), max_size=2)
NAMES = st.sampled_from(["Ann", "Bob", ""])
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES | st.none(),
        "email": st.sampled_from(["ann@example.com", "bob@example.com"]) | st.none(),
        "fingerprint": NAMES | st.none(),
        "stripe_id": st.sampled_from(["cus_a", "cus_b", ""]) | st.none(),
        "metadata": st.dictionaries(KEYS, VALUES, max_size=3) | st.none(),
        "send_email_receipts": st.booleans(),
        "currency": st.sampled_from(["eur", "usd"]) | st.none(),
        "config": st.dictionaries(st.sampled_from(["disable_pooled_balance", "other"]), st.booleans(), max_size=2),
    },
)
STEPS = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES,
        "stripe_id": st.sampled_from(["cus_a", "cus_b"]) | st.none(),
        "billing_controls": st.integers(0, 3),
        "billing_details": st.integers(0, 3),
    },
)
"""Changes whose effect depends on their order."""


def applied(customer: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Apply `customers.update` as Autumn's documentation and recordings show it."""
    after = {**customer, "metadata": dict(customer["metadata"])}
    for name, value in changes.items():
        if name == "config":
            after["config"] = {**customer["config"], **value}
            continue
        if name != "metadata":
            after[name] = None if value == "" else value
            continue
        for key, item in (value or {}).items():
            if item is None:
                after["metadata"].pop(key, None)
            else:
                after["metadata"][key] = item
    return after


@given(st.lists(CHANGES, max_size=8), st.dictionaries(KEYS, st.integers(0, 3)))
def test_merged_update_equals_the_updates_one_by_one(changes: list[dict[str, Any]], metadata: dict[str, int]) -> None:
    customer = {
        "name": "Old",
        "email": None,
        "fingerprint": None,
        "stripe_id": None,
        "metadata": metadata,
        "send_email_receipts": False,
        "currency": None,
        "config": {"other": True},
    }
    one_by_one = customer
    for each in changes:
        one_by_one = applied(one_by_one, each)
    assert applied(customer, merge(changes)) == one_by_one


@given(st.lists(CHANGES, max_size=6), st.lists(CHANGES, max_size=6))
def test_merging_in_two_parts_equals_merging_at_once(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    assert merge([merge(first), merge(second)]) == merge([*first, *second])


def test_metadata_that_changes_nothing_is_not_sent() -> None:
    assert merge([{"metadata": None}, {"metadata": {}}, {"config": {}}]) == {}


def done(updates: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return what the updates do, in their order. An update links first, and details go to the linked customer."""
    effects: list[tuple[Any, ...]] = []
    linked = "cus_0"
    for update in updates:
        linked = update.get("stripe_id", linked)
        if "billing_details" in update:
            effects.append(("billing_details", linked, update["billing_details"]))
        if "billing_controls" in update:
            effects.append(("billing_controls", update["billing_controls"]))
    last = {name: value for update in updates for name, value in update.items() if not name.startswith("billing")}
    by_field = sorted(effects, key=lambda effect: str(effect[0]))
    return [*by_field, ("last", linked, last.get("name"), last.get("stripe_id"))]


@given(st.lists(STEPS, max_size=8))
def test_mergeable_parts_have_the_effects_of_single_updates(
    changes: list[dict[str, Any]],
) -> None:
    updates, left = [], changes
    while left:
        size = mergeable(left)
        assert size >= 1
        updates.append(merge(left[:size]))
        left = left[size:]

    assert done(updates) == done(changes)


def test_two_billing_details_make_two_updates() -> None:
    changes: list[dict[str, Any]] = [
        {"name": "A"},
        {"billing_details": {"tax_exempt": "none"}},
        {"name": "B"},
        {"billing_details": {}},
        {},
    ]
    assert mergeable(changes) == 3
    assert mergeable(changes[3:]) == 2


def test_field_is_cleared_only_if_its_last_value_is_null() -> None:
    merged = merge([{"email": None, "name": None}, {"name": "Ann", "stripe_id": ""}])
    assert cleared(merged) == {"email", "stripe_id"}


def test_empty_metadata_value_counts_as_cleared() -> None:
    assert cleared({"metadata": {"plan": "", "seats": 0, "tags": None}}) == {"metadata.plan", "metadata.tags"}
