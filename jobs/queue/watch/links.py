"""The index of the watch in Redis: the Autumn customer of each linked Stripe customer, and whether its receipts are on.

Syncs write it in `settle.lua`, and each whole scan writes all of it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from jobs.queue.key_types import answer_or_none
from jobs.queue.record import RecordKeys
from jobs.queue.replacing import delete_if_wrong
from jobs.queue.scripts import Scripts
from jobs.queue.watch.state import WatchKeys

LINKS_KEPT: Final = 1_000_000
"""The most entries of the index. The events of other customers lead to nothing, and the next scan compares them."""
LINKS_AT_A_TIME: Final = 1_000


@dataclass(frozen=True)
class Link:
    """The Stripe customer of an Autumn customer; empty if it is linked to none of its own."""

    stripe_id: str
    receipts_on: bool = False


@dataclass(frozen=True)
class LinkedCustomer:
    """The Autumn customer of a Stripe customer, and whether its receipts are on."""

    customer_id: str
    receipts_on: bool


def link_entry(customer_id: str, *, receipts_on: bool) -> str:
    """Return the entry of a Stripe customer in the index."""
    return f"{int(receipts_on)}:{customer_id}"


class Links:
    """The client of the index."""

    def __init__(self, redis: Redis, prefix: str, *, links_kept: int = LINKS_KEPT) -> None:
        """Open no connection. `redis` answers in bytes."""
        self._redis = redis
        self._prefix = prefix
        self._links_kept = links_kept
        self._links = WatchKeys(prefix).links
        self._scripts = Scripts(redis, "write_links")

    async def customer_of(self, stripe_id: str) -> LinkedCustomer | None:
        """Return the customer of a Stripe customer; None if the index does not have it. Raises RedisError."""
        answer: Any = self._redis.hget(self._links, stripe_id)
        flag, _, customer = (await answer_or_none(answer) or b"").decode(errors="replace").partition(":")
        return LinkedCustomer(customer, flag == "1") if customer else None

    async def write(self, entries: Mapping[str, str] | Mapping[bytes, str], *, since_ms: int) -> None:
        """Store the entries by Stripe customer, and remove the empty ones.

        Entries of customers that were synced since `since_ms` (on the clock of Redis) stay. Raises RedisError.
        """
        pairs = [part for pair in entries.items() for part in pair]
        keys = [self._links, RecordKeys(self._prefix).totals]
        if pairs:
            await self._scripts.run("write_links", keys, [self._prefix, since_ms, self._links_kept, *pairs])

    async def pages(self) -> AsyncIterator[Sequence[tuple[bytes, bytes]]]:
        """Yield all links in pages: the Stripe customer, and its customer. Some may come twice. Raises RedisError."""
        await delete_if_wrong(self._redis, self._prefix, self._links, "hash")
        cursor = 0
        while True:
            cursor, page = await self._redis.hscan(self._links, cursor, count=LINKS_AT_A_TIME)
            yield [(stripe_id, entry[2:]) for stripe_id, entry in page.items()]
            if not cursor:
                return

    async def forget(self, customer_id: str) -> None:
        """Remove the entries of a customer. Raises RedisError."""
        async for page in self.pages():
            ours = [stripe_id for stripe_id, customer in page if customer == customer_id.encode()]
            if ours:
                await self._redis.hdel(self._links, *ours)  # type: ignore[arg-type, misc]  # one type for both clients, and bytes go as they are
