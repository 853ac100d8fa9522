"""Write the index of the watch (`jobs.queue.watch.links`) from the two lists of a whole scan.

The index then also has the customers that no sync has fetched, and no entry of a customer whose link has ended.
"""

import asyncio
import json
from collections.abc import Collection
from typing import Final

from jobs.events import CUSTOMER_ID_MAX
from jobs.queue.watch.links import LINKS_AT_A_TIME, Links, link_entry
from jobs.scan.spool import Spool

_LINKED: Final = """SELECT a.stripe_id, a.id, a.shown FROM autumn a LEFT JOIN stripe s ON s.id = a.stripe_id
WHERE a.stripe_id IS NOT NULL AND (s.owner IS NULL OR s.owner = a.id) AND a.stripe_id NOT IN (SELECT id FROM absent)"""
"""The links, without those to a Stripe customer that belongs to another customer or does not exist."""


async def write_links(links: Links, spool: Spool, *, since_ms: int) -> None:
    """Remove the entries of the index that no customer has any more, and write all links.

    Entries of customers that were synced since `since_ms` (on the clock of Redis) stay. Raises RedisError.
    """
    # Remove first, because a full index takes no more entries.
    async for page in links.pages():
        known = await asyncio.to_thread(_known, spool, [stripe_id.decode(errors="replace") for stripe_id, _ in page])
        ended = {stripe_id: "" for stripe_id, customer in page if (stripe_id, customer) not in known}
        await links.write(ended, since_ms=since_ms)
    for after in range(0, spool.last_row("autumn"), LINKS_AT_A_TIME):
        await links.write(await asyncio.to_thread(_listed, spool, after), since_ms=since_ms)


def _listed(spool: Spool, after: int) -> dict[str, str]:
    """Return the entries of one page, without the ids that fit into no event."""
    rows = spool.rows(f"{_LINKED} AND a.rowid > ? AND a.rowid <= ?", (after, after + LINKS_AT_A_TIME))
    return {
        stripe_id: link_entry(customer, receipts_on=shown == "true")
        for stripe_id, customer, shown in rows
        if len(customer) <= CUSTOMER_ID_MAX
    }


def _known(spool: Spool, stripe_ids: Collection[str]) -> set[tuple[bytes, bytes]]:
    """Return the Stripe customers of these that are linked, each with its Autumn customer."""
    query = f"{_LINKED} AND a.stripe_id IN (SELECT value FROM json_each(?))"  # noqa: S608 - made of the constant above
    rows = spool.rows(query, (json.dumps(list(stripe_ids)),))
    return {(stripe_id.encode(), customer.encode()) for stripe_id, customer, _ in rows}
