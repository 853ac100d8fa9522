"""A dry run of a customer's sync: fetch both sides and make the plan, but apply nothing.

Used by commands and pages that show the plan, and by the scan of one customer. It writes to no service, and to Redis
only the shared rates, because they limit its requests, too.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from jobs.autumn.client import AutumnClient
from jobs.plan.customer import AutumnCustomer, Mode, StripeView
from jobs.plan.dry_run import DryRun, dry_run
from jobs.plan.plan import Plan
from jobs.plan.policy import Policy
from jobs.stripe.client import StripeGateway
from jobs.sync.fetch import as_autumn_customer, fetch_payments, fetch_stripe


class PreviewDeps(Protocol):
    """The dependencies of a preview: a part of those of a sync, and of those of a scan."""

    @property
    def autumn(self) -> AutumnClient:
        """The client of Autumn."""

    @property
    def stripe(self) -> StripeGateway:
        """The client of Stripe."""

    @property
    def mode(self) -> Mode:
        """The mode of the keys."""

    @property
    def policy(self) -> Policy:
        """The operator's settings."""

    @property
    def now(self) -> Callable[[], float]:
        """The clock, in seconds since the epoch."""


@dataclass(frozen=True)
class Preview:
    """Both sides as fetched, and the plan of a sync without a change. Holds names and addresses.

    `at_ms` is when the fetch began, in milliseconds since the epoch. `plan` is the first plan of the dry run, with the
    findings of all. `metadata_keys` are the keys that are copied from Autumn to Stripe.
    """

    at_ms: int
    autumn: AutumnCustomer
    stripe: StripeView
    plan: Plan
    metadata_keys: tuple[str, ...] = ()


async def preview(deps: PreviewDeps, customer_id: str) -> Preview:
    """Return the preview of a customer. Payments are fetched only if a step depends on them.

    Events in the mailbox are ignored. Raises SyncError if a fetch fails (`customer_not_found`), and RedisError.
    """
    now = deps.now()
    autumn = as_autumn_customer(await deps.autumn.get(customer_id))

    def planned(view: StripeView) -> DryRun:
        return dry_run(autumn, view, mode=deps.mode, policy=deps.policy, now=now)

    view = await fetch_stripe(deps.stripe, autumn)
    run = planned(view)
    if run.wants_payments and view.linked is not None:
        view = replace(view, payments=await fetch_payments(deps.stripe, view.linked.id, deps.policy))
        run = planned(view)
    return Preview(int(now * 1000), autumn, view, run.plan, deps.policy.metadata_keys)
