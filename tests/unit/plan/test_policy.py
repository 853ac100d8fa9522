"""The policy, and the data that a sync reads because of it."""

import pytest

from jobs.plan.customer import StripeCustomer, StripeView
from jobs.plan.policy import Policy, ReceiptsMode


@pytest.mark.parametrize(
    ("receipts", "reads_payments", "reads_charges"),
    [("mirror", False, False), ("open", True, False), ("recover", True, True)],
)
def test_policy_reads_only_what_receipts_need(
    receipts: ReceiptsMode, reads_payments: bool, reads_charges: bool
) -> None:
    policy = Policy(receipts=receipts)
    assert (policy.reads_payments, policy.reads_charges) == (reads_payments, reads_charges)


EVENT = "an event with the stripe_id of its Stripe customer"


@pytest.mark.parametrize(
    ("policy", "elsewhere", "has_ours", "settings"),
    [
        (Policy(when_unlinked="report"), False, True, "STRIPE_WHEN_UNLINKED to link-only or create"),
        (Policy(when_unlinked="report"), False, False, "STRIPE_WHEN_UNLINKED to create"),
        (Policy(when_unlinked="link-only"), False, False, "STRIPE_WHEN_UNLINKED to create"),
        (Policy(), True, True, "STRIPE_WHEN_UNLINKED_ELSEWHERE to create"),
        (
            Policy(when_unlinked="link-only"),
            True,
            False,
            "STRIPE_WHEN_UNLINKED_ELSEWHERE to create and STRIPE_WHEN_UNLINKED to create",
        ),
        (Policy(when_unlinked="link-only", when_unlinked_elsewhere="create"), True, True, None),
        (Policy(), False, False, None),
    ],
)
def test_advice_names_the_settings_that_let_a_sync_link(
    policy: Policy, elsewhere: bool, has_ours: bool, settings: str | None
) -> None:
    view = StripeView(ours=(StripeCustomer("cus_1", None, None, "test"),) if has_ours else ())
    others = ("revenuecat",) if elsewhere else ()
    begin = "Send" if settings is None else f"Set {settings} and restart the workers, or send"
    assert policy.how_to_link(others, view) == f"{begin} {EVENT}"


def test_advice_names_no_setting_that_cannot_help() -> None:
    assert Policy(when_unlinked="report").how_to_link((), StripeView(searched=False)) == f"Send {EVENT}"
