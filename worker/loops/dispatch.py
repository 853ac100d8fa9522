"""Calling who is due: the customers that wait get wake-ups in arq, each for a few of them, the longest waiting first.

Also the sweep that makes wake-ups expendable: a call that nobody answered in time is made again, under a new job id,
so that arq's memory of the lost one cannot hide it.
"""

import asyncio
from collections.abc import Sequence

from arq.connections import ArqRedis

from jobs.queue.mailbox import Mailbox

SYNC_JOB = "sync_customer"
CALLED_AT_MOST = 50
"""Customers called at a time, over all workers: enough to use up the rates at two seconds for each sync. More would
have their mail taken out early to wait for the throttle, and too long if a rate is slowed down."""
LOOK_SECONDS = 1.0
PAUSE_SECONDS = 0.02
"""Between two calls: arq looks at its queue no more often, and what is due by then shares a wake-up."""
CUSTOMERS_OF_A_JOB = 10
"""At most. arq goes to Redis seven times for a job, so what it costs is shared; few enough to go round the workers."""


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
        """Run once: wait for a second or until told, then call whoever is due."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._look.wait()
        except TimeoutError:
            pass
        self._look.clear()
        now_ms, customers = await self._mailbox.dispatch(CALLED_AT_MOST)
        if customers:
            await self._wake(customers, now_ms)
        await asyncio.sleep(PAUSE_SECONDS)

    async def _wake(self, customers: Sequence[str], now_ms: int) -> None:
        """Enqueue the wake-ups. The sweep makes up for those that a lost connection prevents."""
        for first in range(0, len(customers), CUSTOMERS_OF_A_JOB):
            some = customers[first : first + CUSTOMERS_OF_A_JOB]
            # arq's keys for a job are those of its id alone: without the prefix, deployments would share them.
            job_id = f"{self._mailbox.keys.prefix}:{SYNC_JOB}:{some[0]}:{now_ms}"
            await self._redis.enqueue_job(SYNC_JOB, *some, _job_id=job_id)
