"""Look up, one by one, what the lists leave open.

Stripe's list leaves out the customers of test clocks, so a linked customer that it lacks may still be there. If the
lists are bounded in time, the other side of a customer may be older than the bound.
"""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Final

from jobs.customer import StripeCustomer
from jobs.errors import GiveUp, OthersFound, TryAgain
from jobs.listing import Lists, patiently
from jobs.scan_progress import ScanProgress
from jobs.spool import Spool

LOOK_UPS_AT_MOST: Final = 1_000
"""Linked customers that Stripe's list lacks and that one scan looks up: two minutes at the rate of a scan. Test clocks
have fewer customers; if more are missing, the key is perhaps of another account."""
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


async def look_up_links(lists: Lists, spool: Spool, progress: ScanProgress, *, at_most: int) -> None:
    """Look up linked customers that Stripe's list lacks, and count the others. Raises SyncError if a look fails."""
    for stripe_id in await asyncio.to_thread(spool.unseen_links, at_most):
        linked = await patiently(partial(lists.stripe.retrieve, stripe_id), lists, progress)
        progress.looked_up += 1
        if isinstance(linked, StripeCustomer):
            await asyncio.to_thread(spool.add_looked_up, [linked])
        else:
            await asyncio.to_thread(spool.add_absent, stripe_id)
    progress.not_checked = await asyncio.to_thread(spool.count_unchecked)


async def fill_gaps(lists: Lists, spool: Spool, progress: ScanProgress) -> None:
    """Add the Stripe customers that are ours and no list showed, and whom Autumn knows of the other owners.

    For lists that were bounded in time. Raises SyncError where a look fails.
    """
    for customer_id, email in await asyncio.to_thread(spool.without_stripe):
        ours = await patiently(partial(_find_ours, lists, customer_id, email), lists, progress)
        progress.looked_up += 1
        await asyncio.to_thread(spool.add_looked_up, ours)
    for owner in await asyncio.to_thread(spool.unknown_owners):
        progress.looked_up += 1
        try:
            await patiently(partial(lists.autumn.get, owner), lists, progress)
        except GiveUp:
            continue
        await asyncio.to_thread(spool.add_looked_up, (), [owner])


async def _find_ours(lists: Lists, customer_id: str, email: str | None) -> tuple[StripeCustomer, ...]:
    """The Stripe customers of one of Autumn's. None if the look showed others only: the sync will look itself."""
    try:
        ours, _ = await lists.stripe.find_ours(customer_id, email)
    except OthersFound:
        return ()
    return ours
