"""Removal of all data that Redis holds about a customer, while workers run.

Events that wait are not removed, because no accepted event is ever lost. Autumn and Stripe are not called.
"""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from redis.asyncio import Redis

from autumn_sync_client.outcomes import event_buckets, parse_outcome
from jobs.queue.breaker import breaker_key
from jobs.queue.dead_letters import DeadLetter, DeadLetters
from jobs.queue.key_types import answer_or_none
from jobs.queue.mailbox import MailboxKeys
from jobs.queue.record import RecordKeys
from jobs.queue.replacing import delete_if_wrong
from jobs.queue.scripts import Scripts
from jobs.queue.watch.links import Links
from jobs.queue.watch.state import WatchKeys

PAGE = 500


class StillWaitingError(Exception):
    """Events of the customer wait or are being applied, so nothing was removed."""


@dataclass(frozen=True)
class Forgotten:
    """The numbers of things that were removed besides the customer record."""

    dead_letters: int
    outcomes: int
    event_ids: int


async def forget(redis: Redis, *, inbox: str, prefix: str, customer_id: str) -> Forgotten:
    """Remove the record, the remembered values, the dead letters, outcomes, event ids and the watch of a customer.

    A later event of the customer is stored as usual, and a repeated one counts as new. After a failure, call this
    again: it removes the rest. Raises StillWaitingError if nothing was removed, and RedisError.
    """
    async for fields in _entries(redis, inbox):
        if fields.get(b"customer_id") == customer_id.encode():
            raise StillWaitingError
    mailbox, record, watch = MailboxKeys(prefix), RecordKeys(prefix), WatchKeys(prefix)
    keys = [
        mailbox.lease(customer_id),
        mailbox.dispatched,
        mailbox.waiting,
        mailbox.rechecks,
        mailbox.mailbox(customer_id),
        record.customer(customer_id),
        mailbox.remembered(customer_id),
        breaker_key(prefix),
        watch.request(customer_id),
        watch.edits(customer_id),
        watch.later,
        watch.later_events,
        watch.backlog,
        watch.backlog_events,
        watch.requests(customer_id),
        record.totals,
    ]
    if not await Scripts(redis, "erase_customer").run("erase_customer", keys, [prefix, customer_id]):
        raise StillWaitingError
    await Links(redis, prefix).forget(customer_id)
    entries = await _forget_letters(DeadLetters(redis, inbox=inbox, prefix=prefix), customer_id)
    entries |= await _forget_aside(redis, record.aside, customer_id)
    outcomes = await _forget_outcomes(redis, record.outcomes, customer_id, entries)
    await _forget_outcomes(redis, record.reviews, customer_id, set())
    event_ids = await _forget_event_ids(redis, record, customer_id, entries)
    return Forgotten(len(entries), outcomes, event_ids)


async def _forget_letters(letters: DeadLetters, customer_id: str) -> set[str]:
    """Drop the customer's dead letters and return their entry ids. An invalid event names it only in `sent`."""
    entries: set[str] = set()
    async for page in letters.pages(until=await letters.newest()):
        ours = {letter.id: letter.entry for letter in page if _is_about(letter, customer_id)}
        entries |= {ours[dropped] for dropped in await letters.drop(list(ours))}
    return entries


async def _forget_aside(redis: Redis, stream: str, customer_id: str) -> set[str]:
    entries: set[str] = set()
    async for letter_id, fields in _stream(redis, stream):
        if customer_id.encode() in {fields.get(b"customer"), fields.get(b"sent.customer_id")}:
            await redis.xdel(stream, letter_id)
            entries.add(fields.get(b"entry", b"").decode(errors="replace"))
    return entries


def _is_about(letter: DeadLetter, customer_id: str) -> bool:
    return letter.customer == customer_id or letter.sent.get(b"customer_id") == customer_id.encode()


async def _forget_outcomes(redis: Redis, stream: str, customer_id: str, entries: set[str]) -> int:
    removed = 0
    async for entry_id, fields in _stream(redis, stream):
        customer, entry = (fields.get(name, b"").decode(errors="replace") for name in (b"customer", b"entry"))
        if _is_named(customer, entry, customer_id, entries):
            removed += await redis.xdel(stream, entry_id)
    return removed


async def _forget_event_ids(redis: Redis, keys: RecordKeys, customer_id: str, entries: set[str]) -> int:
    removed = 0
    for bucket in event_buckets(time.time()):
        await delete_if_wrong(redis, keys.prefix, keys.events(bucket), "hash")
        async for event_id, raw in redis.hscan_iter(keys.events(bucket), count=PAGE):
            outcome = parse_outcome(raw)
            if outcome is not None and _is_named(outcome.customer_id, outcome.entry_id, customer_id, entries):
                removed += await redis.hdel(keys.events(bucket), event_id)  # type: ignore[misc]  # one type for both clients
    return removed


def _is_named(customer: str, entry: str, customer_id: str, entries: set[str]) -> bool:
    return customer == customer_id or entry in entries


async def _entries(redis: Redis, stream: str) -> AsyncIterator[Mapping[bytes, bytes]]:
    async for _, fields in _stream(redis, stream):
        yield fields


async def _stream(redis: Redis, stream: str) -> AsyncIterator[tuple[bytes, Mapping[bytes, bytes]]]:
    """Yield every entry of a stream, oldest first, page by page."""
    after = "-"
    # A key of the wrong type holds no data of ours.
    while page := await answer_or_none(redis.xrange(stream, min=after, count=PAGE)):
        for entry in page:
            yield entry
        after = "(" + page[-1][0].decode()
