"""A worker that writes names and e-mails to Autumn before Stripe, as if echoes did not exist.

Autumn then writes them to Stripe itself, and Stripe's webhook brings the values of that moment back to Autumn.
"""

from dataclasses import replace
from typing import Any

from jobs.plan.customer import AutumnCustomer, Mode, StripeView
from jobs.plan.plan import Plan, Request, make_plan
from jobs.plan.policy import Policy
from jobs.plan.profile import PROFILE
from jobs.plan.steps import UpdateStripe
from tests.chaos.broken.parts import settings_with


def plan_autumn_first(
    autumn: AutumnCustomer, view: StripeView, request: Request, *, mode: Mode, policy: Policy, now: float
) -> Plan:
    """Return the right plan without the write to Stripe before an update of Autumn."""
    plan = make_plan(autumn, view, request, mode=mode, policy=policy, now=now)
    if not request.changes or len(plan.steps) != 1 or not isinstance(plan.steps[0], UpdateStripe):
        return plan
    write = plan.steps[0]
    shown = next(customer for customer in view.all_customers if customer.id == write.stripe_id)
    written: dict[str, Any] = {
        name: getattr(write, name) or None for name in PROFILE if getattr(write, name) is not None
    }
    as_if_written = view.with_customer(replace(shown, **written))
    return make_plan(autumn, as_if_written, request, mode=mode, policy=policy, now=now)


def __getattr__(name: str) -> type:
    """Make `WorkerSettings` when arq imports it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    return settings_with(make_plan=plan_autumn_first)
