"""A worker without a lock: each attempt has its own lease, so two wake-ups of a customer are two syncs at once."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import JsonValue
from redis.asyncio import Redis

from jobs.autumn.client import AutumnClient
from jobs.autumn.models import UpdateCustomerResponse
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
WAITING: Final = "chaos:waiting-update"
"""The key of the customer whose update waits for another one, in all processes."""
WAIT_SECONDS: Final = 20
"""The longest wait of an update. Then an update of any customer may wait."""
WAITS: Final = "chaos:waits"
"""The key of the number of waits so far."""
MOST_WAITS: Final = 10
PAUSE_SECONDS: Final = 0.02
wake_ups: Counter[str] = Counter()


class UntilTwoOverlap:
    """A client of Autumn that holds an update until the same customer has another one, and then sends both.

    Two syncs at once are not enough: on a slow machine their writes to Stripe overlap, Stripe's lock refuses one of
    them, and its sync tries again after the update of the other. One update waits at a time, because it holds a slot.
    """

    def __init__(self, client: AutumnClient, redis: Redis) -> None:
        """Send with `client`. The processes meet in `redis`."""
        self._client, self._redis = client, redis

    def __getattr__(self, name: str) -> Any:
        """Return what the client has."""
        return getattr(self._client, name)

    async def update(self, customer_id: str, changes: Mapping[str, JsonValue]) -> UpdateCustomerResponse:
        """Update as the client does."""
        customer = customer_id.encode()
        if await self._redis.get(WAITING) == customer:
            await self._redis.delete(WAITING)
        elif await self._redis.set(WAITING, customer, nx=True, ex=WAIT_SECONDS):
            await self._wait(customer)
        return await self._client.update(customer_id, changes)

    async def _wait(self, customer: bytes) -> None:
        if await self._redis.incr(WAITS) > MOST_WAITS:
            return
        while await self._redis.get(WAITING) == customer:  # noqa: ASYNC110 - another process may end it
            await asyncio.sleep(PAUSE_SECONDS)


async def sync_twice(ctx: dict[str, Any], *customer_ids: str) -> None:
    """Sync each customer twice at the same time at its first wake-ups."""
    wake_ups.update(customer_ids)
    twice = [customer_id for customer_id in customer_ids if wake_ups[customer_id] <= DOUBLED]
    await sync_customer(ctx, *customer_ids, *twice)


def __getattr__(name: str) -> type:
    """Make `WorkerSettings` when arq imports it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    settings = settings_with(mailbox_type=LocksNobodyOut, autumn=UntilTwoOverlap)
    whole = dict(vars(settings))
    whole["functions"] = [
        replace(each, coroutine=sync_twice) if each.name == SYNC_JOB else each for each in whole["functions"]
    ]
    return type("WorkerSettings", (), whole)
