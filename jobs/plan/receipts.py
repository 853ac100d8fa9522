"""Decide which payments get a receipt address, and which lose one that we set. No I/O here.

A payment intent carries our mark in its metadata. The mark holds a turn, which counts how often the address was set and
taken back, and a digest of the address. The mark alone decides the next step and its idempotency key. So after a crash
the same step is due, and no receipt is mailed twice:

- An address is set only if there is none, and if the mark does not show that we set one. If we did, somebody has
  removed it since, and that decision stays.
- An address is taken back only if it is still the address of the mark, and only before the payment succeeds.
"""

from collections.abc import Mapping
from typing import Final

from jobs.plan.customer import (
    METADATA_KEYS_MAX,
    SEND_EMAIL_RECEIPTS,
    AutumnCustomer,
    PaymentIntent,
    Payments,
    StripeCustomer,
)
from jobs.plan.findings import Finding
from jobs.plan.policy import Policy
from jobs.plan.steps import (
    RECEIPT_MARK,
    RECEIPT_MARK_FORM,
    ReceiptStep,
    SetReceiptEmail,
    TakeBackReceiptEmail,
    address_digest,
)

OPEN: Final = frozenset(
    {"requires_payment_method", "requires_confirmation", "requires_action", "processing", "requires_capture"}
)


def may_have_been_on(stripe: StripeCustomer) -> bool:
    """Return whether receipts may have been on. Stripe shows "false" only after our addresses are taken back.

    Without the key the answer is True: there was no room for it, or somebody removed it.
    """
    return stripe.metadata.get(SEND_EMAIL_RECEIPTS) != "false"


def wants_payments(autumn: AutumnCustomer, stripe: StripeCustomer, policy: Policy, *, suspicious: bool) -> bool:
    """Return whether the sync needs the payments. It does not if the flag is off on both sides.

    `suspicious`: a write may have arrived late and set an address.
    """
    if not policy.reads_payments:
        return False
    if autumn.send_email_receipts:
        return bool(stripe.email)
    return may_have_been_on(stripe) or suspicious


def receipt_steps(
    autumn: AutumnCustomer, stripe: StripeCustomer, payments: Payments, policy: Policy, now: float
) -> tuple[ReceiptStep, ...]:
    """Return the steps that apply the flag to the payments. `now` is in seconds since the epoch."""
    if not policy.reads_payments:
        return ()
    if not autumn.send_email_receipts:
        return tuple(
            TakeBackReceiptEmail(intent.id, _turn(intent.metadata))
            for intent in payments.intents
            if intent.status in OPEN and _is_ours(intent)
        )
    if not stripe.email:
        return ()
    return tuple(
        SetReceiptEmail(intent.id, stripe.email, _turn(intent.metadata), intent.status not in OPEN)
        for intent in payments.intents
        if _may_be_set(intent, policy, now) and not _is_full(intent)
    )


def receipt_findings(
    autumn: AutumnCustomer, stripe: StripeCustomer, payments: Payments, policy: Policy, now: float
) -> tuple[Finding, ...]:
    """Return the findings about the payments that were fetched."""
    found = []
    if not payments.all_seen:
        text = f"only the newest {len(payments.intents)} payments were checked"
        found.append(Finding("payments-not-all-seen", text))
    if autumn.send_email_receipts and stripe.email:
        full = [each.id for each in payments.intents if _may_be_set(each, policy, now) and _is_full(each)]
        found += [Finding("receipt-not-set", f"{intent} has no room for our mark in its metadata") for intent in full]
    return tuple(found)


def _may_be_set(intent: PaymentIntent, policy: Policy, now: float) -> bool:
    if intent.receipt_email or _marks_set(intent.metadata):
        return False
    if intent.status in OPEN:
        return True
    recovers = policy.receipts == "recover" and intent.status == "succeeded" and not intent.was_mailed
    return recovers and intent.succeeded_at is not None and intent.succeeded_at >= now - policy.recover_seconds


def _is_full(intent: PaymentIntent) -> bool:
    return RECEIPT_MARK not in intent.metadata and len(intent.metadata) >= METADATA_KEYS_MAX


def _is_ours(intent: PaymentIntent) -> bool:
    if not intent.receipt_email:
        return False
    mark = RECEIPT_MARK_FORM.fullmatch(intent.metadata.get(RECEIPT_MARK, ""))
    return mark is not None and mark["kind"] == "set" and mark["digest"] == address_digest(intent.receipt_email)


def _marks_set(metadata: Mapping[str, str]) -> bool:
    return metadata.get(RECEIPT_MARK, "").startswith("set-")


def _turn(metadata: Mapping[str, str]) -> int:
    mark = RECEIPT_MARK_FORM.fullmatch(metadata.get(RECEIPT_MARK, ""))
    return int(mark["turn"]) if mark is not None else 0
