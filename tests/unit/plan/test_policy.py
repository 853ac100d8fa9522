"""The policy, and the data that a sync reads because of it."""

import pytest

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
