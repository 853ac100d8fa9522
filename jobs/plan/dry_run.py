"""A dry run: all steps of a sync, only shown. No I/O here.

It calls `make_plan` again with the state that each step would leave behind, as the sync does with the real state.
"""

from dataclasses import dataclass, replace
from typing import Final

from jobs.plan.customer import AUTUMN_ID, AutumnCustomer, Mode, PaymentIntent, Payments, StripeCustomer, StripeView
from jobs.plan.plan import Plan, Request, after_update, make_plan
from jobs.plan.policy import Policy
from jobs.plan.steps import (
    RECEIPT_MARK,
    CreateInStripe,
    ReceiptStep,
    SetReceiptEmail,
    Step,
    TakeBackReceiptEmail,
    UpdateAutumn,
    UpdateStripe,
)

NEW_CUSTOMER: Final = "the new one"
"""Stands for the id of a Stripe customer that is not created yet."""
_PLANS_AT_MOST: Final = 10
"""More than any state of the link needs: confirm gone, create, link, profile, receipts."""


@dataclass(frozen=True)
class DryRun:
    """The first plan with the findings of all plans, and the steps of all plans.

    The steps end early if the next one depends on a value that was not fetched. `wants_payments` is True if that value
    is the payments.
    """

    plan: Plan
    steps: tuple[Step, ...]
    wants_payments: bool


def dry_run(autumn: AutumnCustomer, view: StripeView, *, mode: Mode, policy: Policy, now: float) -> DryRun:
    """Return the dry run of a sync without changes. `now` is in seconds since the epoch."""
    request, steps = Request(), list[Step]()
    first = plan = make_plan(autumn, view, request, mode=mode, policy=policy, now=now)
    findings = dict.fromkeys(first.findings)
    for _ in range(_PLANS_AT_MOST):
        if not plan.steps:
            break
        for step in plan.steps:
            steps.append(step)
            if isinstance(step, UpdateAutumn) and step.expects_gone:
                request = replace(request, gone_confirmed=True)
                continue
            seen = _after(step, autumn, view, mode)
            if seen is None:
                return DryRun(replace(first, findings=tuple(findings)), tuple(steps), wants_payments=False)
            autumn, view = seen
        plan = make_plan(autumn, view, request, mode=mode, policy=policy, now=now)
        findings |= dict.fromkeys(plan.findings)
    return DryRun(replace(first, findings=tuple(findings)), tuple(steps), plan.wants_payments)


def _after(
    step: Step, autumn: AutumnCustomer, view: StripeView, mode: Mode
) -> tuple[AutumnCustomer, StripeView] | None:
    """Return both sides after a step; None if that cannot be derived."""
    match step:
        case UpdateAutumn(changes):
            seen = after_update(autumn, view, changes)
            stripe_id = changes.get("stripe_id")
            linked = replace(autumn, stripe_id=stripe_id) if isinstance(stripe_id, str) else autumn
            return None if seen is None else (linked, _without_payments(seen))
        case CreateInStripe(autumn_id):
            new = StripeCustomer(NEW_CUSTOMER, None, None, mode, {AUTUMN_ID: autumn_id})
            return autumn, replace(view, ours=(new,))
        case UpdateStripe():
            target = next((each for each in view.all_customers if each.id == step.stripe_id), None)
            return None if target is None else (autumn, view.with_customer(_written(target, step)))
        case SetReceiptEmail() | TakeBackReceiptEmail():
            return None if view.payments is None else (autumn, replace(view, payments=_paid(view.payments, step)))


def _without_payments(view: StripeView) -> StripeView:
    """Set the payments of a customer that is only planned to none."""
    is_new = view.linked is not None and view.linked.id == NEW_CUSTOMER
    return replace(view, payments=Payments(())) if is_new else view


def _written(stripe: StripeCustomer, step: UpdateStripe) -> StripeCustomer:
    metadata = {**stripe.metadata, **dict(step.metadata)}
    return replace(
        stripe,
        name=stripe.name if step.name is None else step.name or None,
        email=stripe.email if step.email is None else step.email or None,
        metadata={key: value for key, value in metadata.items() if value},
    )


def _paid(payments: Payments, step: ReceiptStep) -> Payments:
    def after(intent: PaymentIntent) -> PaymentIntent:
        if intent.id != step.intent_id:
            return intent
        return replace(
            intent, receipt_email=step.address or None, metadata={**intent.metadata, RECEIPT_MARK: step.mark}
        )

    return replace(payments, intents=tuple(after(intent) for intent in payments.intents))
