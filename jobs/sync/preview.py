"""What a sync of a customer would do now: both sides are looked at and the plan is made, and nothing is applied.

For whoever shows it to a person. Reads only: no write to a service and none to Redis but for the shared rates, whose
turn every look waits for like a sync's.
"""

from dataclasses import dataclass, replace

from jobs.plan.customer import AutumnCustomer, StripeView
from jobs.plan.plan import Plan, Request, make_plan
from jobs.sync.deps import Deps
from jobs.sync.fetch import as_autumn_customer, fetch_payments, fetch_stripe


@dataclass(frozen=True)
class Preview:
    """Both sides as they are, and the plan of a sync that nothing was said to. Holds names and addresses.

    `at_ms` is when the look began, in milliseconds since the epoch. `metadata_keys` are those that are copied from
    Autumn to Stripe.
    """

    at_ms: int
    autumn: AutumnCustomer
    stripe: StripeView
    plan: Plan
    metadata_keys: tuple[str, ...] = ()


async def preview(deps: Deps, customer_id: str) -> Preview:
    """Look at both sides, at the payments where the plan wants them, and plan. What waits in the mailbox is left out.

    Raises SyncError where a look fails, such as GiveUp `customer_not_found`; RedisError.
    """
    now = deps.now()
    autumn = as_autumn_customer(await deps.autumn.get(customer_id))
    view = await fetch_stripe(deps.stripe, autumn)
    plan = make_plan(autumn, view, Request(), mode=deps.mode, policy=deps.policy, now=now)
    if plan.wants_payments and view.linked is not None:
        payments = await fetch_payments(deps.stripe, view.linked.id, deps.policy)
        view = replace(view, payments=payments)
        plan = make_plan(autumn, view, Request(), mode=deps.mode, policy=deps.policy, now=now)
    return Preview(int(now * 1000), autumn, view, plan, deps.policy.metadata_keys)
