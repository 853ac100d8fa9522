"""The demo finds each kind of difference between the sent events and both sides."""

from typing import Any

import pytest

from sandbox.audit.expected import Profile
from sandbox.demo.comparison import differences, wrong_outcomes
from sandbox.demo.world import APPLIED, DUPLICATE, InStripe

Rows = dict[str, dict[str, Any]]

ANN = Profile("Ann", "ann@example.com", send_email_receipts=True, metadata={"plan": "pro"})
BOB = Profile(None, "bob@example.com", send_email_receipts=False)
TWO = Profile("Two", "two@example.com", send_email_receipts=True)
EXPECTED = {"ann": ANN, "bob": BOB, "two": TWO, "left": BOB}
APART = {"two": "cus_a", "left": None}
UNTOUCHED = {
    each.id: each
    for each in (
        InStripe("cus_other", "Somebody Else", "ann@example.com"),
        InStripe("cus_left1", None, None, {"autumn_id": "left", "plan": "pro"}),
        InStripe("cus_left2", None, None, {"autumn_id": "left"}),
    )
}


def autumn_row(profile: Profile, stripe_id: str | None) -> dict[str, Any]:
    return {
        "name": profile.name,
        "email": profile.email,
        "send_email_receipts": profile.send_email_receipts,
        "metadata": dict(profile.metadata),
        "stripe_id": stripe_id,
    }


def stripe_customer(name: str | None, email: str | None, **metadata: str) -> dict[str, Any]:
    return {"name": name, "email": email, "metadata": metadata}


@pytest.fixture
def autumn() -> Rows:
    rows = {"ann": autumn_row(ANN, "cus_a"), "bob": autumn_row(BOB, "cus_b")}
    return rows | {"two": autumn_row(TWO, "cus_a"), "left": autumn_row(BOB, None)}


@pytest.fixture
def stripe() -> Rows:
    return {
        "cus_a": stripe_customer("Ann", "ann@example.com", autumn_id="ann", autumn_send_email_receipts="true"),
        "cus_b": stripe_customer(None, "bob@example.com", autumn_id="bob", autumn_send_email_receipts="false"),
        "cus_other": stripe_customer("Somebody Else", "ann@example.com"),
        "cus_left1": stripe_customer(None, None, autumn_id="left", plan="pro"),
        "cus_left2": stripe_customer(None, None, autumn_id="left"),
        "cus_gone": {"id": "cus_gone", "object": "customer", "deleted": True},
    }


def found(autumn: Rows, stripe: Rows) -> list[str]:
    wrong = differences(EXPECTED, autumn, stripe, apart=APART, untouched=UNTOUCHED)
    return [str(difference) for difference in wrong]


def test_equal_sides_have_no_findings(autumn: Rows, stripe: Rows) -> None:
    assert found(autumn, stripe) == []


@pytest.mark.parametrize(
    ("field", "stale", "what"),
    [
        ("name", "An", "name in Autumn is 'An', should be 'Ann'"),
        ("email", "old@example.com", "email in Autumn is 'old@example.com', should be 'ann@example.com'"),
        ("send_email_receipts", False, "send_email_receipts in Autumn is False, should be True"),
        ("metadata", {"plan": "free"}, "metadata.plan in Autumn is 'free', should be 'pro'"),
    ],
)
def test_stale_value_in_autumn_is_found(autumn: Rows, stripe: Rows, field: str, stale: Any, what: str) -> None:
    autumn["ann"][field] = stale

    assert found(autumn, stripe) == [f"ann: {what}"]


@pytest.mark.parametrize(
    ("field", "stale", "what"),
    [
        ("name", None, "name in Stripe is None, should be 'Ann'"),
        ("email", "old@example.com", "email in Stripe is 'old@example.com', should be 'ann@example.com'"),
    ],
)
def test_stale_profile_in_stripe_is_found(autumn: Rows, stripe: Rows, field: str, stale: Any, what: str) -> None:
    stripe["cus_a"][field] = stale

    assert found(autumn, stripe) == [f"ann: {what}"]


def test_value_that_should_be_cleared_is_found(autumn: Rows, stripe: Rows) -> None:
    stripe["cus_b"]["name"] = "Bob"

    assert found(autumn, stripe) == ["bob: name in Stripe is 'Bob', should be None"]


def test_equal_but_stale_values_are_found(autumn: Rows, stripe: Rows) -> None:
    autumn["ann"]["email"] = stripe["cus_a"]["email"] = "old@example.com"

    assert found(autumn, stripe) == [
        "ann: email in Autumn is 'old@example.com', should be 'ann@example.com'",
        "ann: email in Stripe is 'old@example.com', should be 'ann@example.com'",
    ]


@pytest.mark.parametrize("flag", ["false", None])
def test_wrong_or_missing_flag_in_stripe_is_found(autumn: Rows, stripe: Rows, flag: str | None) -> None:
    stripe["cus_a"]["metadata"]["autumn_send_email_receipts"] = flag

    what = f"metadata.autumn_send_email_receipts in Stripe is {flag!r}, should be 'true'"
    assert found(autumn, stripe) == [f"ann: {what}"]


def test_unclaimed_stripe_customer_is_found(autumn: Rows, stripe: Rows) -> None:
    del stripe["cus_a"]["metadata"]["autumn_id"]

    assert found(autumn, stripe) == ["ann: metadata.autumn_id in Stripe is None, should be 'ann'"]


def test_missing_link_and_orphaned_stripe_customer_are_found(autumn: Rows, stripe: Rows) -> None:
    autumn["ann"]["stripe_id"] = None

    assert found(autumn, stripe) == [
        "ann: is not linked to a Stripe customer",
        "cus_a: is in Stripe, but no customer in Autumn is linked to it",
    ]


@pytest.mark.parametrize("stripe_id", ["cus_gone", "cus_never_was"])
def test_link_to_a_deleted_customer_is_found(autumn: Rows, stripe: Rows, stripe_id: str) -> None:
    del stripe["cus_a"]
    autumn["ann"]["stripe_id"] = stripe_id

    assert found(autumn, stripe) == [f"ann: is linked to {stripe_id}, which is deleted or missing in Stripe"]


def test_second_stripe_customer_with_the_same_autumn_id_is_found(autumn: Rows, stripe: Rows) -> None:
    stripe["cus_second"] = stripe_customer("Ann", "ann@example.com", autumn_id="ann")

    assert found(autumn, stripe) == [
        "ann: 2 Stripe customers carry this autumn_id",
        "cus_second: is in Stripe, but no customer in Autumn is linked to it",
    ]


def test_deleted_second_stripe_customer_is_no_finding(autumn: Rows, stripe: Rows) -> None:
    stripe["cus_second"] = {"id": "cus_second", "object": "customer", "deleted": True}

    assert found(autumn, stripe) == []


def test_two_customers_with_one_stripe_customer_are_found(autumn: Rows, stripe: Rows) -> None:
    del stripe["cus_b"]
    autumn["bob"]["stripe_id"] = "cus_a"

    assert "bob: metadata.autumn_id in Stripe is 'ann', should be 'bob'" in found(autumn, stripe)


def test_missing_or_extra_autumn_customer_is_found(autumn: Rows, stripe: Rows) -> None:
    autumn["eve"] = autumn.pop("ann")

    assert found(autumn, stripe) == ["ann: is not in Autumn", "eve: is in Autumn, but was never created"]


@pytest.mark.parametrize(("field", "value"), [("name", "Ann"), ("email", None), ("metadata", {"autumn_id": "ann2"})])
def test_changed_unrelated_customer_is_found(autumn: Rows, stripe: Rows, field: str, value: Any) -> None:
    stripe["cus_other"][field] = value

    assert found(autumn, stripe) == ["cus_other: must not be changed, and was changed in Stripe"]


def test_deleted_unrelated_customer_is_found(autumn: Rows, stripe: Rows) -> None:
    stripe["cus_other"] = {"id": "cus_other", "object": "customer", "deleted": True}

    assert found(autumn, stripe) == ["cus_other: must not be changed, and is gone from Stripe"]


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("stripe_id", "cus_left1", "stripe_id in Autumn is 'cus_left1', should be None"),
        ("email", "new@example.com", "email in Autumn is 'new@example.com', should be 'bob@example.com'"),
    ],
)
def test_changed_protected_customer_is_found(autumn: Rows, stripe: Rows, field: str, value: str, what: str) -> None:
    autumn["left"][field] = value

    assert found(autumn, stripe) == [f"left: {what}"]


def test_metadata_that_a_stripe_customer_lost_is_found(autumn: Rows, stripe: Rows) -> None:
    del stripe["cus_left1"]["metadata"]["plan"]

    assert found(autumn, stripe) == ["cus_left1: must not be changed, and was changed in Stripe"]


def test_stripe_customer_linked_only_to_another_is_found(autumn: Rows, stripe: Rows) -> None:
    stripe["cus_a2"] = stripe["cus_a"] | {"metadata": {**stripe["cus_a"]["metadata"]}}
    del stripe["cus_a"]["metadata"]["autumn_id"]
    autumn["ann"]["stripe_id"] = "cus_a2"

    assert found(autumn, stripe) == ["cus_a: is in Stripe, but no customer in Autumn is linked to it"]


def test_expected_outcomes_have_no_findings() -> None:
    expected = {"1-0": APPLIED, "2-0": "invalid_event", "3-0": DUPLICATE}

    assert wrong_outcomes(expected, {"1-0": APPLIED, "2-0": "invalid_event"}) == []


@pytest.mark.parametrize(
    ("expected", "end", "what"),
    [
        (APPLIED, {"1-0": "not_taken"}, "expected outcome applied, found not_taken"),
        ("invalid_event", {"1-0": APPLIED}, "expected outcome invalid_event, found applied"),
        ("invalid_event", {"1-0": "unexpected"}, "expected outcome invalid_event, found unexpected"),
        (DUPLICATE, {"1-0": APPLIED}, "expected outcome dropped as a duplicate, found applied"),
        (APPLIED, {}, "expected outcome applied, found dropped as a duplicate"),
    ],
)
def test_unexpected_outcome_is_found(expected: str, end: dict[str, str], what: str) -> None:
    assert [str(wrong) for wrong in wrong_outcomes({"1-0": expected}, end)] == [f"event 1-0: {what}"]


def test_outcome_of_unknown_entry_is_found() -> None:
    assert [str(wrong) for wrong in wrong_outcomes({}, {"9-0": APPLIED})] == ["event 9-0: was never sent"]
