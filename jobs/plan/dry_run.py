"""What a sync would do to its end, step after step, as far as it can be told without writing. Purely computational.

It follows `make_plan` over the states that each step would leave behind, as the sync follows it over those it sees.
"""

from dataclasses import replace
from typing import Final

from jobs.plan.customer import AUTUMN_ID, AutumnCustomer, Mode, PaymentIntent, Payments, StripeCustomer, StripeView
from jobs.plan.plan import CreateInStripe, Plan, Request, Step, UpdateAutumn, after_update, make_plan
from jobs.plan.policy import Policy
from jobs.plan.profile import UpdateStripe
from jobs.plan.receipts import MARK, ReceiptStep, SetReceiptEmail, TakeBackReceiptEmail

NEW_CUSTOMER: Final = "the new one"
"""Stands for the id of a Stripe customer that is not created yet."""
_PLANS_AT_MOST: Final = 10
"""More than any state of the link needs: confirm that it is gone, create, link, profile, receipts."""


def steps_ahead(
    autumn: AutumnCustomer, view: StripeView, *, mode: Mode, policy: Policy, now: float
) -> tuple[Plan, tuple[Step, ...]]:
    """The first plan, with what later ones find on top, and every step from here on; `now` in seconds since the epoch.

    The steps end early where the next one depends on what was not seen, such as the payments of a customer that is
    yet to be linked.
    """
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
                return replace(first, findings=tuple(findings)), tuple(steps)
            autumn, view = seen
        plan = make_plan(autumn, view, request, mode=mode, policy=policy, now=now)
        findings |= dict.fromkeys(plan.findings)
    return replace(first, findings=tuple(findings)), tuple(steps)


def describe(step: Step) -> str:
    """A step in words; names ids and fields, no values."""
    match step:
        case UpdateAutumn(expects_gone=True):
            return "have Autumn confirm that it is gone"
        case UpdateAutumn(changes):
            return f"link {changes['stripe_id']}" if "stripe_id" in changes else "update Autumn"
        case CreateInStripe():
            return "create a Stripe customer"
        case UpdateStripe(stripe_id):
            return f"write {', '.join(written(step))} to {stripe_id}"
        case SetReceiptEmail(intent_id, mails_at_once=mails):
            return f"set the receipt address of {intent_id}" + (", which mails it at once" if mails else "")
        case TakeBackReceiptEmail(intent_id):
            return f"take back the receipt address of {intent_id}"


def written(step: UpdateStripe) -> list[str]:
    """The names of the fields that a step writes."""
    profile = [name for name in ("name", "email") if getattr(step, name) is not None]
    return profile + [f"metadata.{key}" for key, _ in step.metadata]


def _after(
    step: Step, autumn: AutumnCustomer, view: StripeView, mode: Mode
) -> tuple[AutumnCustomer, StripeView] | None:
    """Both sides after a step; None where that cannot be told."""
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
            target = next((each for each in view.everyone if each.id == step.stripe_id), None)
            return None if target is None else (autumn, view.with_customer(_written(target, step)))
        case SetReceiptEmail() | TakeBackReceiptEmail():
            return None if view.payments is None else (autumn, replace(view, payments=_paid(view.payments, step)))


def _without_payments(view: StripeView) -> StripeView:
    """A customer that is not there yet has no payments."""
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
    address = step.address if isinstance(step, SetReceiptEmail) else None

    def after(intent: PaymentIntent) -> PaymentIntent:
        if intent.id != step.intent_id:
            return intent
        return replace(intent, receipt_email=address, metadata={**intent.metadata, MARK: step.mark})

    return replace(payments, intents=tuple(after(intent) for intent in payments.intents))
