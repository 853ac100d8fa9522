"""The audit finds each violation of a rule for both sides, and nothing on sides that keep the rules."""

import pytest

from sandbox.audit.checks import check_customer, check_echo, check_outcomes, check_owners, check_receipts
from sandbox.audit.expected import Profile, possible_values, profile_of
from sandbox.audit.sides import Record, Sides

BEFORE = Profile("Ann", "ann@example.com", send_email_receipts=False, metadata={"plan": "pro", "seats": 2})
ROW = {
    "name": "Ann",
    "email": "ann@example.com",
    "send_email_receipts": False,
    "metadata": {"plan": "pro", "seats": 2},
    "stripe_id": "cus_a",
}
CUSTOMER = {
    "name": "Ann",
    "email": "ann@example.com",
    "metadata": {"autumn_id": "ann", "autumn_send_email_receipts": "false", "seats": "2"},
}


def texts(row: Record, customer: Record) -> list[str]:
    sides = Sides({"ann": row}, {"cus_a": customer})
    return [str(each) for each in check_customer("ann", BEFORE, sides, ["seats"])]


def test_sides_that_agree_have_no_findings() -> None:
    assert texts(ROW, CUSTOMER) == []
    assert profile_of(ROW) == BEFORE


def test_null_and_empty_text_are_the_same() -> None:
    assert texts(ROW, {**CUSTOMER, "phone": ""}) == []


@pytest.mark.parametrize(
    ("stripe_id", "text"),
    [
        (None, "ann: is not linked to a Stripe customer"),
        ("cus_b", "ann: is linked to cus_b, which is deleted or missing in Stripe"),
    ],
)
def test_broken_link_is_found(stripe_id: str | None, text: str) -> None:
    assert texts({**ROW, "stripe_id": stripe_id}, CUSTOMER) == [text]


def test_later_write_wins_and_null_deletes_a_metadata_key() -> None:
    after = BEFORE.after({"name": "A", "metadata": {"plan": None}}).after({"name": None})
    assert after == Profile(None, "ann@example.com", send_email_receipts=False, metadata={"seats": 2})


def test_stripe_edit_of_name_or_email_counts_on_both_sides() -> None:
    after = BEFORE.after_edit({"name": "Edited", "phone": "1", "metadata": {"note": "n"}})
    assert after.in_autumn()["name"] == after.in_stripe("ann")["name"] == ("Edited",)
    assert after.only_in_stripe == {"phone": "1", "metadata.note": "n"}
    assert after.metadata == BEFORE.metadata


def test_uncertain_write_adds_a_right_value_until_a_certain_one() -> None:
    writes = [({"name": "A"}, True), ({"name": "B"}, False)]
    assert possible_values(BEFORE, writes)["name"] == ("A", "B")
    assert possible_values(BEFORE, [*writes, ({"name": "C"}, True)])["name"] == ("C",)


def test_second_stripe_customer_receipt_and_echo_are_found() -> None:
    assert [each.damage for each in check_owners(Sides({}, {"a": CUSTOMER, "b": CUSTOMER}))] == [
        "duplicate Stripe customers"
    ]
    assert [each.about for each in check_receipts(["pi_1", "pi_2", "pi_1"])] == ["pi_1"]
    assert [str(each) for each in check_echo("ann", {"name": ("Ann", "Old")}, "evt_1")] == [
        "ann: name in Autumn was changed from 'Ann' to 'Old' by evt_1"
    ]


def test_event_without_an_outcome_is_found() -> None:
    found = check_outcomes({"1": "applied", "2": "dead"}, {"2": "dead"}, absent="no outcome")
    assert [str(each) for each in found] == ["1: expected outcome applied, found no outcome"]
