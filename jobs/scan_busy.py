"""The customers that a scan leaves out: those with changes waiting, and those that were synced while it listed.

Their lists may be older than what was or will be done to them. Reads only.
"""

from collections.abc import AsyncIterator

from redis.asyncio import Redis

from jobs.mailbox import MailboxKeys
from jobs.record import RecordKeys
from jobs.wrong_types import answer_or_none

ENTRIES_AT_A_TIME = 100
"""An entry of the inbox may have a quarter of a megabyte."""
OUTCOMES_AT_A_TIME = 1000


async def busy_customers(redis: Redis, prefix: str, inbox: str, *, since_ms: int) -> AsyncIterator[list[str]]:
    """The customers by the batch; some more than once. `since_ms` is when the listing began, on the clock of Redis.

    In the direction in which a change travels, so that none is missed on its way: the inbox, who waits, who is worked
    on, what was settled.
    """
    async for batch in _named_in(redis, inbox, b"customer_id", "-", ENTRIES_AT_A_TIME):
        yield batch
    keys = MailboxKeys(prefix)
    for names in (keys.waiting, keys.called):
        yield [customer.decode() for customer in await redis.zrange(names, 0, -1)]
    outcomes = RecordKeys(prefix).outcomes
    async for batch in _named_in(redis, outcomes, b"customer", f"{since_ms}-0", OUTCOMES_AT_A_TIME):
        yield batch


async def _named_in(redis: Redis, stream: str, field: bytes, first: str, count: int) -> AsyncIterator[list[str]]:
    while True:
        # A key of the wrong type names nobody: then a sync may be asked for that finds nothing to do.
        entries = await answer_or_none(redis.xrange(stream, min=first, count=count))
        if not entries:
            return
        yield [fields[field].decode(errors="replace") for _, fields in entries if field in fields]
        first = "(" + entries[-1][0].decode()
