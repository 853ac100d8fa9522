"""Asking for syncs: `customer.reconcile` entries in the inbox. All that a scan ever does about what it found.

The customers that a scan leaves out: those with changes waiting, and those that were synced while it listed.

Their lists may be older than what was or will be done to them. Reads only.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from itertools import islice

from redis.asyncio import Redis

from jobs.enqueue import send_many
from jobs.events import CustomerUpdate, EventError, new_update
from jobs.queue.key_types import answer_or_none
from jobs.queue.mailbox import MailboxKeys
from jobs.queue.record import RecordKeys
from jobs.scan.record import ScanProgress

REQUESTED_AT_A_TIME = 500


async def request_syncs(redis: Redis, inbox: str, customers: Iterator[str], progress: ScanProgress) -> int:
    """Ask for a sync of each of the customers; how many.

    What is asked for twice in one run, because the first try was cut short, is one event. What the workers have not
    taken yet stays in the inbox, where an entry costs the least.
    """
    while batch := await asyncio.to_thread(lambda: list(islice(customers, REQUESTED_AT_A_TIME))):
        updates = [update for customer in batch if (update := _reconcile(customer, progress.run)) is not None]
        await send_many(redis, updates, stream=inbox)
        progress.requested += len(updates)
    return progress.requested


def _reconcile(customer_id: str, run: str) -> CustomerUpdate | None:
    """The event; None for an id that fits into none."""
    event_id = f"scan-{run}-{hashlib.sha256(customer_id.encode()).hexdigest()[:20]}"
    try:
        return new_update(customer_id=customer_id, type="customer.reconcile", event_id=event_id)
    except EventError:
        return None


ENTRIES_AT_A_TIME = 100
"""An entry of the inbox may have a quarter of a megabyte."""
OUTCOMES_AT_A_TIME = 1000


async def busy_customers(redis: Redis, prefix: str, inbox: str, *, since_ms: int) -> AsyncIterator[list[str]]:
    """The customers by the batch; some more than once. `since_ms` is when the listing began, on the clock of Redis.

    In the direction in which a change travels, so that none is missed on its way: the inbox, who waits, who is worked
    on, what was settled.
    """
    async for batch in _named_in(redis, inbox, b"customer_id", "-", ENTRIES_AT_A_TIME):
        yield batch
    keys = MailboxKeys(prefix)
    for names in (keys.waiting, keys.dispatched):
        yield [customer.decode() for customer in await redis.zrange(names, 0, -1)]
    outcomes = RecordKeys(prefix).outcomes
    async for batch in _named_in(redis, outcomes, b"customer", f"{since_ms}-0", OUTCOMES_AT_A_TIME):
        yield batch


async def _named_in(redis: Redis, stream: str, field: bytes, first: str, count: int) -> AsyncIterator[list[str]]:
    while True:
        # A key of the wrong type names nobody: then a sync may be asked for that finds nothing to do.
        entries = await answer_or_none(redis.xrange(stream, min=first, count=count))
        if not entries:
            return
        yield [fields[field].decode(errors="replace") for _, fields in entries if field in fields]
        first = "(" + entries[-1][0].decode()
