"""The fetch of both sides of a customer, from which a plan is made. Reads only.

Used by the sync before it writes, and by the dry run.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pydantic import JsonValue

from jobs.autumn.client import AutumnClient
from jobs.autumn.models import UpdateCustomerResponse
from jobs.autumn.pages import CustomerPage, PageSize, fitting_page
from jobs.errors import GiveUp, TryAgain
from jobs.plan.customer import AUTUMN_MODES, AutumnCustomer, NoCustomer, Payments, StripeCustomer, StripeView
from jobs.plan.policy import Policy
from jobs.rate_limit import Limits
from jobs.stripe.client import StripeGateway
from jobs.sync.deps import Deps

LISTED_MAX: Final = 20_000
"""The most Autumn customers that are read to find the one that is linked to a Stripe customer."""


def as_autumn_customer(answer: UpdateCustomerResponse) -> AutumnCustomer:
    """Return the part of Autumn's answer that a sync compares. The client has verified its `id`."""
    return AutumnCustomer(
        id=answer.id or "",
        name=answer.name,
        email=answer.email,
        stripe_id=answer.stripe_id,
        mode=AUTUMN_MODES.get(answer.env),
        send_email_receipts=answer.send_email_receipts,
        metadata=answer.metadata,
        fingerprint=answer.fingerprint,
        created_at_ms=int(answer.created_at),
        elsewhere=answer.elsewhere,
    )


async def fetch_stripe(stripe: StripeGateway, autumn: AutumnCustomer) -> StripeView:
    """Return the linked customer; if there is none, those that carry our id. Raises SyncError."""
    is_missing = False
    if autumn.stripe_id is not None:
        linked = await stripe.retrieve(autumn.stripe_id)
        if isinstance(linked, StripeCustomer):
            return StripeView(linked=linked)
        is_missing = linked is NoCustomer.MISSING
    ours, searched = await stripe.find_ours(autumn.id, autumn.email)
    return StripeView(is_missing=is_missing, ours=ours, searched=searched)


async def find_linked_elsewhere(
    autumn: AutumnClient, limits: Limits, customer_id: str, ours: Sequence[StripeCustomer]
) -> dict[str, str]:
    """Return the Stripe customers of `ours` that another Autumn customer is linked to, each with its id.

    Autumn has no search by stripe_id, so its list is read, `LISTED_MAX` customers at most. If the list is longer, or
    cannot be read, the id is empty for the others: it is not known. Raises SyncError.
    """
    wanted, size = {each.id for each in ours}, PageSize()
    found: dict[str, str] = {}
    cursor, read = "", 0

    async def read_page(limit: int) -> CustomerPage:
        async with limits.autumn_list():
            return await autumn.list_page(cursor, limit)

    while read < LISTED_MAX:
        try:
            page = await fitting_page(read_page, size)
        except (GiveUp, TryAgain) as error:
            if isinstance(error, TryAgain) and error.code != "unexpected_response":
                raise
            break
        read += len(page.list)
        found |= {
            each.stripe_id: each.id or "" for each in page.list if each.stripe_id in wanted and each.id != customer_id
        }
        if page.next_cursor is None or found.keys() == wanted:
            return found
        cursor = page.next_cursor
    return dict.fromkeys(wanted, "") | found


async def fetch_view(deps: Deps, autumn: AutumnCustomer) -> StripeView:
    """Return the linked Stripe customer, or else those with our id, and which of them another one is linked to.

    Raises SyncError.
    """
    view = await fetch_stripe(deps.stripe, autumn)
    return replace(view, linked_elsewhere=await linked_elsewhere(deps, autumn, view.ours))


async def fetch_wanted(deps: Deps, autumn: AutumnCustomer, stripe_id: JsonValue) -> StripeView:
    """Return the customer that a change wants to link to, and whether another one has it since a rename.

    Return none if the change removes the link. Raises SyncError.
    """
    wanted = await deps.stripe.retrieve(str(stripe_id)) if stripe_id else None
    if not isinstance(wanted, StripeCustomer):
        return StripeView()
    if wanted.owner != autumn.id or autumn.stripe_id == stripe_id:
        return StripeView(wanted=wanted)
    elsewhere = await linked_elsewhere(deps, autumn, (wanted,))
    # A person chose this customer, so refuse it only if the other one is known.
    return StripeView(wanted=wanted, linked_elsewhere={each: other for each, other in elsewhere.items() if other})


async def linked_elsewhere(deps: Deps, autumn: AutumnCustomer, ours: Sequence[StripeCustomer]) -> dict[str, str]:
    """Return those of `ours` that another Autumn customer is linked to, with its id. Raises SyncError.

    After a rename in Autumn, a Stripe customer keeps the old id. An Autumn customer that is created with that id is
    newer than the Stripe customer, so only older ones are searched.
    """
    created_at = autumn.created_at_ms
    older = [each for each in ours if each.created_at and created_at and each.created_at <= created_at // 1000]
    return await find_linked_elsewhere(deps.autumn, deps.limits, autumn.id, older) if older else {}


async def fetch_payments(stripe: StripeGateway, stripe_id: str, policy: Policy) -> Payments:
    """Return the customer's newest payments, with their charges if the policy needs those. Raises SyncError."""
    return await stripe.payments(stripe_id, with_charges=policy.reads_charges)
