"""A worker without a lock: each attempt has its own lease, so two wake-ups of a customer are two syncs at once."""

import secrets
from contextvars import ContextVar
from dataclasses import dataclass

from redis.asyncio import Redis

from jobs.queue.batch import Batch
from jobs.queue.mailbox import Mailbox, MailboxKeys
from tests.chaos.broken.parts import settings_with

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


def __getattr__(name: str) -> type:
    """Make `WorkerSettings` when arq imports it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    return settings_with(mailbox_type=LocksNobodyOut)
