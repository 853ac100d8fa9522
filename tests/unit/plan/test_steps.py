"""The steps of a plan: their descriptions and the fields that they write."""

from typing import get_args

import pytest

from jobs.plan.steps import CreateInStripe, SetReceiptEmail, Step, TakeBackReceiptEmail, UpdateAutumn, UpdateStripe

DESCRIBED: dict[str, Step] = {
    "update Autumn": UpdateAutumn({}),
    "link it to cus_2": UpdateAutumn({"stripe_id": "cus_2", "name": "Ann"}),
    "unlink it": UpdateAutumn({"stripe_id": None}),
    "have Autumn confirm that the Stripe customer is gone": UpdateAutumn({}, expects_gone=True),
    "create a Stripe customer that carries ann": CreateInStripe("ann"),
    "write name, email (cleared), metadata.plan (cleared), metadata.autumn_id to cus_1": UpdateStripe(
        "cus_1", name="Ann", email="", metadata=(("plan", ""), ("autumn_id", "ann"))
    ),
    "set the receipt address of pi_1": SetReceiptEmail("pi_1", "ann@example.com", 0, mails_at_once=False),
    "set the receipt address of pi_1, which mails it at once": SetReceiptEmail(
        "pi_1", "ann@example.com", 0, mails_at_once=True
    ),
    "take back the receipt address of pi_1": TakeBackReceiptEmail("pi_1", 0),
}


@pytest.mark.parametrize(("text", "step"), DESCRIBED.items())
def test_step_is_described_in_words(text: str, step: Step) -> None:
    assert step.describe() == text


def test_every_step_has_a_description() -> None:
    assert {type(step) for step in DESCRIBED.values()} == set(get_args(Step))


def test_update_of_stripe_lists_its_written_fields() -> None:
    step = UpdateStripe("cus_1", name="Ann", email="", metadata=(("plan", ""), ("autumn_id", "ann")))
    assert step.written == {"name": "Ann", "email": "", "metadata.plan": "", "metadata.autumn_id": "ann"}
    assert not step.writes_nothing
    assert (UpdateStripe("cus_1").written, UpdateStripe("cus_1").writes_nothing) == ({}, True)


def test_taking_back_writes_no_address() -> None:
    assert (TakeBackReceiptEmail("pi_1", 0).address, TakeBackReceiptEmail("pi_1", 0).mark) == ("", "unset-1")
