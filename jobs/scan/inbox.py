"""Request reconciles through the inbox, and read the customers that a scan leaves out.

A `customer.reconcile` event is the only thing that a scan does about its findings. A scan leaves out customers with
waiting events and customers that were synced while it listed, because its lists may be older than those writes.
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


async def request_reconciles(redis: Redis, inbox: str, customers: Iterator[str], progress: ScanProgress) -> int:
    """Request a reconcile of each customer, and return the number of requests.

    The event id depends on the run and the customer, so a resumed run does not request one twice.
    """
    while batch := await asyncio.to_thread(lambda: list(islice(customers, REQUESTED_AT_A_TIME))):
        updates = [update for customer in batch if (update := _reconcile(customer, progress.run)) is not None]
        await send_many(redis, updates, stream=inbox)
        progress.requested += len(updates)
    return progress.requested


def _reconcile(customer_id: str, run: str) -> CustomerUpdate | None:
    """Return the event; None for an id that fits into no event."""
    event_id = f"scan-{run}-{hashlib.sha256(customer_id.encode()).hexdigest()[:20]}"
    try:
        return new_update(customer_id=customer_id, type="customer.reconcile", event_id=event_id)
    except EventError:
        return None


ENTRIES_AT_A_TIME = 100
"""Small, because an inbox entry may have a quarter of a megabyte."""
OUTCOMES_AT_A_TIME = 1000


async def busy_customers(redis: Redis, prefix: str, inbox: str, *, since_ms: int) -> AsyncIterator[list[str]]:
    """Yield lists of customers that have events waiting, or were synced since `since_ms` on the clock of Redis.

    A customer may come more than once. The order follows an event: inbox, waiting, dispatched, settled. So an event
    that moves on during the reads is not missed.
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
        # A key of the wrong type names no customer. An unnecessary reconcile does no harm.
        entries = await answer_or_none(redis.xrange(stream, min=first, count=count))
        if not entries:
            return
        yield [fields[field].decode(errors="replace") for _, fields in entries if field in fields]
        first = "(" + entries[-1][0].decode()
