"""Receipt addresses: which payments get one, which lose one, and that none is mailed twice."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.plan.customer import AutumnCustomer, PaymentIntent, Payments, StripeCustomer
from jobs.plan.policy import Policy, ReceiptsMode
from jobs.plan.receipts import OPEN, receipt_findings, receipt_steps
from jobs.plan.steps import RECEIPT_MARK, SetReceiptEmail, TakeBackReceiptEmail

NOW = 1_000_000.0
ON = AutumnCustomer("ann", "Ann", "ann@example.com", "cus_1", "test", send_email_receipts=True)
OFF = replace(ON, send_email_receipts=False)
STRIPE = StripeCustomer("cus_1", "Ann", "ann@example.com", "test", {"autumn_id": "ann"})
OPEN_MODE, RECOVER = Policy(receipts="open"), Policy(receipts="recover", recover_seconds=3600)


def paid(seconds_ago: float, receipt_email: str | None = None) -> PaymentIntent:
    return PaymentIntent("pi_1", "succeeded", receipt_email, {}, NOW - seconds_ago)


def steps(autumn: AutumnCustomer, policy: Policy, *intents: PaymentIntent) -> tuple[object, ...]:
    return receipt_steps(autumn, STRIPE, Payments(intents), policy, NOW)


def written(intent: PaymentIntent, step: SetReceiptEmail | TakeBackReceiptEmail) -> PaymentIntent:
    address = step.address if isinstance(step, SetReceiptEmail) else None
    return replace(intent, receipt_email=address, metadata={**intent.metadata, RECEIPT_MARK: step.mark})


@pytest.mark.parametrize("status", sorted(OPEN))
@pytest.mark.parametrize("policy", [OPEN_MODE, RECOVER])
def test_open_payment_gets_the_address(status: str, policy: Policy) -> None:
    intent = PaymentIntent("pi_1", status, None)
    assert steps(ON, policy, intent) == (SetReceiptEmail("pi_1", "ann@example.com", 0, mails_at_once=False),)


@pytest.mark.parametrize("mode", ["mirror", "open", "recover"])
@pytest.mark.parametrize(
    "intent",
    [
        PaymentIntent("pi_1", "canceled", None),
        PaymentIntent("pi_1", "processing", "app@example.com"),
        PaymentIntent("pi_1", "processing", "app@example.com", {RECEIPT_MARK: "set-0-0123456789abcdef"}),
        PaymentIntent("pi_1", "processing", None, {RECEIPT_MARK: "set-0-0123456789abcdef"}),
        PaymentIntent("pi_1", "succeeded", "app@example.com", {}, NOW),
        PaymentIntent("pi_1", "succeeded", None, {RECEIPT_MARK: "set-0-0123456789abcdef"}, NOW),
        PaymentIntent("pi_1", "succeeded", None, {}, None),
        paid(3601),
    ],
)
def test_payment_is_left_alone_for_either_flag(mode: ReceiptsMode, intent: PaymentIntent) -> None:
    policy = Policy(receipts=mode, recover_seconds=3600)
    assert steps(ON, policy, intent) == ()
    assert steps(OFF, policy, intent) == ()


def test_only_recover_mails_receipts_of_recent_payments() -> None:
    assert steps(ON, RECOVER, paid(3599)) == (SetReceiptEmail("pi_1", "ann@example.com", 0, mails_at_once=True),)
    assert steps(ON, OPEN_MODE, paid(1)) == ()


def test_address_is_taken_back_and_set_again_under_next_turn() -> None:
    intent = PaymentIntent("pi_1", "processing", None)
    (set_it,) = receipt_steps(ON, STRIPE, Payments((intent,)), OPEN_MODE, NOW)
    intent = written(intent, set_it)
    assert steps(ON, OPEN_MODE, intent) == ()
    (take_back,) = receipt_steps(OFF, STRIPE, Payments((intent,)), OPEN_MODE, NOW)
    assert take_back == TakeBackReceiptEmail("pi_1", 0)
    intent = written(intent, take_back)
    assert steps(OFF, OPEN_MODE, intent) == ()
    assert steps(ON, OPEN_MODE, intent) == (SetReceiptEmail("pi_1", "ann@example.com", 1, mails_at_once=False),)


def test_address_is_not_written_again_with_another_value() -> None:
    intent = PaymentIntent("pi_1", "processing", None)
    (set_it,) = receipt_steps(ON, STRIPE, Payments((intent,)), OPEN_MODE, NOW)
    moved = replace(STRIPE, email="new@example.com")
    assert receipt_steps(ON, moved, Payments((written(intent, set_it),)), OPEN_MODE, NOW) == ()


def test_unset_receipts_and_unseen_payments_are_findings() -> None:
    full = PaymentIntent("pi_full", "processing", None, {f"k{index}": "v" for index in range(50)})
    payments = Payments((full,), all_seen=False)
    assert receipt_steps(ON, STRIPE, payments, OPEN_MODE, NOW) == ()
    found = receipt_findings(ON, STRIPE, payments, OPEN_MODE, NOW)
    assert [finding.kind for finding in found] == ["payments-not-all-seen", "receipt-not-set"]
    assert "pi_full" in found[1].text


EVENTS = st.lists(st.sampled_from(["on", "off", "sync", "pay", "moved", "app sets", "app clears"]), max_size=30)


@given(EVENTS, st.sampled_from([OPEN_MODE, RECOVER]))
def test_no_order_mails_twice_or_changes_the_apps_address(events: list[str], policy: Policy) -> None:
    autumn, stripe, intent = OFF, STRIPE, PaymentIntent("pi_1", "processing", None)
    keys: set[tuple[str, int]] = set()
    mails, apps_own = 0, False
    for event in events:
        match event:
            case "on" | "off":
                autumn = ON if event == "on" else OFF
            case "moved":
                stripe = replace(stripe, email=f"{len(keys)}@example.com")
            case "app sets" | "app clears" if intent.status in OPEN:
                intent = replace(intent, receipt_email="app@example.com" if event == "app sets" else None)
                apps_own = event == "app sets"
            case "pay" if intent.status in OPEN:
                intent = replace(intent, status="succeeded", succeeded_at=NOW)
                mails += intent.receipt_email is not None
            case "sync":
                for step in receipt_steps(autumn, stripe, Payments((intent,)), policy, NOW):
                    assert not apps_own
                    key = (step.mark.split("-")[0], step.turn)
                    assert key not in keys, "an idempotency key would be used for two different writes"
                    keys.add(key)
                    intent = written(intent, step)
                    mails += intent.status == "succeeded"
    assert mails <= 1
