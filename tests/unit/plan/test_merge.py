"""One merged update has the same effect as the updates one by one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobs.plan.merge import cleared, merge

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
    },
)


def applied(customer: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Apply `customers.update` as Autumn's documentation and recordings show it."""
    after = {**customer, "metadata": dict(customer["metadata"])}
    for name, value in changes.items():
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
    }
    one_by_one = customer
    for each in changes:
        one_by_one = applied(one_by_one, each)
    assert applied(customer, merge(changes)) == one_by_one


@given(st.lists(CHANGES, max_size=6), st.lists(CHANGES, max_size=6))
def test_merging_in_two_parts_equals_merging_at_once(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    assert merge([merge(first), merge(second)]) == merge([*first, *second])


def test_metadata_that_changes_nothing_is_not_sent() -> None:
    assert merge([{"metadata": None}, {"metadata": {}}]) == {}


def test_field_is_cleared_only_if_its_last_value_is_null() -> None:
    merged = merge([{"email": None, "name": None}, {"name": "Ann", "stripe_id": ""}])
    assert cleared(merged) == {"email", "stripe_id"}


def test_empty_metadata_value_counts_as_cleared() -> None:
    assert cleared({"metadata": {"plan": "", "seats": 0, "tags": None}}) == {"metadata.plan", "metadata.tags"}
