"""Asking for syncs: `customer.reconcile` entries in the inbox. All that a scan ever does about what it found."""

import asyncio
import hashlib
from collections.abc import Iterator
from itertools import islice

from redis.asyncio import Redis

from jobs.enqueue import send_many
from jobs.events import CustomerUpdate, EventError, new_update
from jobs.scan_progress import ScanProgress

ASKED_AT_A_TIME = 500


async def ask_for_syncs(redis: Redis, inbox: str, customers: Iterator[str], progress: ScanProgress) -> int:
    """Ask for a sync of each of the customers; how many.

    What is asked for twice in one run, because the first try was cut short, is one event. What the workers have not
    taken yet stays in the inbox, where an entry costs the least.
    """
    while batch := await asyncio.to_thread(lambda: list(islice(customers, ASKED_AT_A_TIME))):
        updates = [update for customer in batch if (update := _reconcile(customer, progress.run)) is not None]
        await send_many(redis, updates, stream=inbox)
        progress.asked += len(updates)
    return progress.asked


def _reconcile(customer_id: str, run: str) -> CustomerUpdate | None:
    """The event; None for an id that fits into none."""
    event_id = f"scan-{run}-{hashlib.sha256(customer_id.encode()).hexdigest()[:20]}"
    try:
        return new_update(customer_id=customer_id, type="customer.reconcile", event_id=event_id)
    except EventError:
        return None
