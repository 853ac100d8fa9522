"""Where things stand: what waits, for whom, and since when. Reads only, changes nothing."""

from dataclasses import dataclass

from redis.asyncio import Redis

from jobs.line import Line, read_line
from jobs.mailbox import MailboxKeys
from jobs.record import RecordKeys, read_customer, read_totals


@dataclass(frozen=True)
class Standing:
    """Where one customer stands.

    `state` is `idle`, `waiting` (until `due_ms`, milliseconds since the epoch) or `working` (called, or being worked
    on). `oldest_entry` is the id of the first of `entries` waiting events; its part before the dash is when it was
    sent.
    """

    state: str
    due_ms: int | None
    entries: int
    oldest_entry: str | None
    record: dict[str, str]


@dataclass(frozen=True)
class Overview:
    """How much waits altogether, and the counters since the beginning."""

    inbox: int
    waiting: int
    working: int
    dead: int
    totals: dict[str, int]
    line: Line | None
    """Why nothing but a probe goes out; None while all is well."""


async def read_standing(redis: Redis, prefix: str, customer_id: str) -> Standing:
    """Where one customer stands now."""
    keys = MailboxKeys(prefix)
    async with redis.pipeline(transaction=True) as pipe:
        pipe.zscore(keys.waiting, customer_id)
        pipe.zscore(keys.called, customer_id)
        pipe.xlen(keys.mailbox(customer_id))
        pipe.xrange(keys.mailbox(customer_id), count=1)
        waiting, called, entries, first = await pipe.execute()
    record = await read_customer(redis, prefix, customer_id)
    oldest = first[0][0].decode() if first else None
    if called is not None:
        return Standing("working", None, entries, oldest, record)
    if waiting is not None:
        return Standing("waiting", int(waiting), entries, oldest, record)
    return Standing("idle", None, entries, oldest, record)


async def read_overview(redis: Redis, prefix: str, inbox: str) -> Overview:
    """How much waits now."""
    keys = MailboxKeys(prefix)
    async with redis.pipeline(transaction=True) as pipe:
        pipe.xlen(inbox)
        pipe.zcard(keys.waiting)
        pipe.zcard(keys.called)
        pipe.xlen(RecordKeys(prefix).dead)
        in_inbox, waiting, working, dead = await pipe.execute()
    totals, line = await read_totals(redis, prefix), await read_line(redis, prefix)
    return Overview(in_inbox, waiting, working, dead, totals, line)
