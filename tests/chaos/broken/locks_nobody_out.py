"""A worker without a lock: each attempt has its own lease, so two wake-ups of a customer are two syncs at once."""

import secrets
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final

from redis.asyncio import Redis

from jobs.queue.batch import Batch
from jobs.queue.mailbox import Mailbox, MailboxKeys
from tests.chaos.broken.parts import settings_with
from worker.loops.dispatch import SYNC_JOB
from worker.main import sync_customer

attempt: ContextVar[str] = ContextVar("attempt", default="nobody")


@dataclass(frozen=True)
class LeasesOfOnesOwn(MailboxKeys):
    """The keys, with the lease's made of the customer and the attempt."""

    def lease(self, customer_id: str) -> str:
        """Return a key that no other attempt uses."""
        return f"{super().lease(customer_id)}:{attempt.get()}"


class LocksNobodyOut(Mailbox):
    """A mailbox that gives every attempt a lease."""

    def __init__(self, redis: Redis, *, inbox: str, prefix: str) -> None:
        """The arguments of `Mailbox`, with other keys."""
        super().__init__(redis, inbox=inbox, prefix=prefix)
        self.keys = LeasesOfOnesOwn(prefix)

    async def take(self, customer_id: str) -> Batch | None:
        """Take the batch under this attempt's own lease. arq runs each attempt in its own context."""
        attempt.set(secrets.token_hex(8))
        return await super().take(customer_id)


DOUBLED: Final = 2
"""The first wake-ups of each customer in each process that are doubled. A sync that overlaps another one leads to a
recheck, so if each was doubled, there would always be another recheck to come."""
wake_ups: Counter[str] = Counter()


async def sync_twice(ctx: dict[str, Any], *customer_ids: str) -> None:
    """Sync each customer twice at the same time at its first wake-ups: they overlap however slow the machine is."""
    wake_ups.update(customer_ids)
    twice = [customer_id for customer_id in customer_ids if wake_ups[customer_id] <= DOUBLED]
    await sync_customer(ctx, *customer_ids, *twice)


def __getattr__(name: str) -> type:
    """Make `WorkerSettings` when arq imports it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    settings = settings_with(mailbox_type=LocksNobodyOut)
    whole = dict(vars(settings))
    whole["functions"] = [
        replace(each, coroutine=sync_twice) if each.name == SYNC_JOB else each for each in whole["functions"]
    ]
    return type("WorkerSettings", (), whole)
