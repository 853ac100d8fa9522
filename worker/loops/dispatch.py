"""Dispatch of customers that are due: add jobs to arq's queue, each for a few customers, the longest waiting first.

A dispatch that starts no sync in time is repeated under a new job id, so losing a job is harmless. With the old id,
arq would take the new job for a duplicate.
"""

import asyncio
from collections.abc import Sequence

from arq.connections import ArqRedis

from jobs.queue.mailbox import Mailbox
from worker.wakeups import ring

SYNC_JOB = "sync_customer"
MAX_DISPATCHED = 50
"""The most customers dispatched at a time, over all workers. At two seconds for each sync, 50 use up the rate limits.
With more, leases would be held while syncs wait for a slot."""
POLL_SECONDS = 1.0
IDLE_SECONDS = 5.0
"""The pause while no customer waits or is dispatched, unless a recheck is due before."""
PAUSE_SECONDS = 0.02
"""The pause after each dispatch. Customers that become due meanwhile share a job."""
CUSTOMERS_PER_JOB = 10
"""The most customers in one job. arq needs seven round trips to Redis for a job, and customers share that cost. With
more customers in a job, some workers would get none."""
DUE_SECONDS = -1.0
"""When a job is due, from now. The clock of the worker that reads it may be a second behind."""


class Dispatcher:
    """Dispatches customers each second while any waits, at once after `wake`, and else every five seconds."""

    def __init__(self, mailbox: Mailbox, redis: ArqRedis) -> None:
        """Do no I/O."""
        self._mailbox = mailbox
        self._redis = redis
        self._awake = asyncio.Event()
        self._pause_seconds = POLL_SECONDS

    def wake(self) -> None:
        """Dispatch at once: a customer may be due, or a sync has ended."""
        self._awake.set()

    async def dispatch_due(self) -> None:
        """Wait for the pause or until woken, then dispatch the customers that are due. Raises RedisError."""
        try:
            async with asyncio.timeout(self._pause_seconds):
                await self._awake.wait()
        except TimeoutError:
            pass
        self._awake.clear()
        self._pause_seconds = POLL_SECONDS
        now_ms, customers, quiet_ms = await self._mailbox.dispatch(MAX_DISPATCHED)
        # Another worker may move an event and then die, so the pause has an end even if nothing waits.
        self._pause_seconds = max(POLL_SECONDS, min(IDLE_SECONDS, quiet_ms / 1000))
        if customers:
            await self._enqueue(customers, now_ms)
        await asyncio.sleep(PAUSE_SECONDS)

    async def _enqueue(self, customers: Sequence[str], now_ms: int) -> None:
        """Add the jobs, and ring the bell.

        Jobs that a lost connection prevents are repeated later, like any dispatch without a sync.
        """
        for first in range(0, len(customers), CUSTOMERS_PER_JOB):
            some = customers[first : first + CUSTOMERS_PER_JOB]
            # arq names a job's keys after its id alone. Without the prefix, two deployments would share them.
            job_id = f"{self._mailbox.keys.prefix}:{SYNC_JOB}:{some[0]}:{now_ms}"
            await self._redis.enqueue_job(SYNC_JOB, *some, _job_id=job_id, _defer_by=DUE_SECONDS)
        await ring(self._redis)
