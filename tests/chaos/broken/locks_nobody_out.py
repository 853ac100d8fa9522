"""Works without a lock: each attempt has a lease of its own, so two wake-ups of a customer are two syncs at once."""

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
        """A key that nobody else ever asks for."""
        return f"{super().lease(customer_id)}:{attempt.get()}"


class LocksNobodyOut(Mailbox):
    """Every attempt gets a lease."""

    def __init__(self, redis: Redis, *, inbox: str, prefix: str) -> None:
        """As the real one, with other keys."""
        super().__init__(redis, inbox=inbox, prefix=prefix)
        self.keys = LeasesOfOnesOwn(prefix)

    async def take(self, customer_id: str) -> Batch | None:
        """Take the batch under a lease of this attempt's own; arq runs each in a context of its own."""
        attempt.set(secrets.token_hex(8))
        return await super().take(customer_id)


def __getattr__(name: str) -> type:
    """`WorkerSettings`, made when arq asks for it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    return settings_with(mailbox_type=LocksNobodyOut)
