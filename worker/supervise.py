"""Calling who is due: each customer that waits gets one wake-up in arq, a few at a time, the longest waiting first.

Also the sweep that makes wake-ups expendable: a call that nobody answered in time is made again, under a new job id,
so that arq's memory of the lost one cannot hide it.
"""

import asyncio

from arq.connections import ArqRedis

from jobs.mailbox import Mailbox

SYNC_JOB = "sync_customer"
CALLED_AT_MOST = 100
"""Customers called at a time, over all workers: to keep a few workers busy and arq's queue short."""
LOOK_SECONDS = 1.0
ENQUEUED_AT_A_TIME = 20


class Supervisor:
    """Calls customers each second, and at once when told to look."""

    def __init__(self, mailbox: Mailbox, redis: ArqRedis) -> None:
        """Opens nothing."""
        self._mailbox = mailbox
        self._redis = redis
        self._look = asyncio.Event()

    def look_now(self) -> None:
        """Somebody may be due, or there is room for another call."""
        self._look.set()

    async def call_who_is_due(self) -> None:
        """One turn: wait for a second or until told, then call whoever is due."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._look.wait()
        except TimeoutError:
            pass
        self._look.clear()
        now_ms, customers = await self._mailbox.call(CALLED_AT_MOST)
        for first in range(0, len(customers), ENQUEUED_AT_A_TIME):
            batch = customers[first : first + ENQUEUED_AT_A_TIME]
            await asyncio.gather(*(self._wake(customer, now_ms) for customer in batch))

    async def _wake(self, customer_id: str, now_ms: int) -> None:
        await self._redis.enqueue_job(SYNC_JOB, customer_id, _job_id=f"{SYNC_JOB}:{customer_id}:{now_ms}")
