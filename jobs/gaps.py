"""What two lists that are bounded in time leave open: a customer's other side may be older than the bound.

Looked up one by one, because there are few of them; a scan of everybody has no such gaps and looks nothing up.
"""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Final

from jobs.customer import StripeCustomer
from jobs.errors import GiveUp, TryAgain
from jobs.listing import Lists, patiently
from jobs.scan_progress import ScanProgress
from jobs.spool import Spool

PROBE_PATIENCE_SECONDS: Final = 30.0


async def has_search(lists: Lists, progress: ScanProgress) -> bool:
    """Whether Stripe's account has search, by one probe; without it a sync links fewer customers and creates none.

    True if the search fails for so long that nobody can tell: no scan should fail because of that. Raises SyncError.
    """
    try:
        probing = replace(lists, patience_seconds=min(PROBE_PATIENCE_SECONDS, lists.patience_seconds))
        return await patiently(lists.stripe.has_search, probing, progress)
    except TryAgain:
        return True


async def fill_gaps(lists: Lists, spool: Spool, progress: ScanProgress) -> None:
    """Add the linked customers that Stripe's list did not show, those that are ours, and whom Autumn knows of the rest.

    Raises SyncError where a look fails.
    """
    for stripe_id in await asyncio.to_thread(spool.unseen_links):
        linked = await patiently(partial(lists.stripe.retrieve, stripe_id), lists, progress)
        progress.looked_up += 1
        if isinstance(linked, StripeCustomer):
            await asyncio.to_thread(spool.add_looked_up, [linked])
    for customer_id, email in await asyncio.to_thread(spool.without_stripe):
        ours, _ = await patiently(partial(lists.stripe.find_ours, customer_id, email), lists, progress)
        progress.looked_up += 1
        await asyncio.to_thread(spool.add_looked_up, ours)
    for owner in await asyncio.to_thread(spool.unknown_owners):
        progress.looked_up += 1
        try:
            await patiently(partial(lists.autumn.get, owner), lists, progress)
        except GiveUp:
            continue
        await asyncio.to_thread(spool.add_looked_up, (), [owner])
