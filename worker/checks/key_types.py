"""The check that our keys have the right types. It only reads."""

from collections.abc import Mapping
from typing import Final

from redis.asyncio import Redis

from autumn_sync_client.outcomes import event_buckets
from jobs.notifications.state import NotificationKeys
from jobs.queue.breaker import breaker_key
from jobs.queue.failing_loops import LOOPS, failing_key
from jobs.queue.key_types import or_none
from jobs.queue.mailbox import MailboxKeys
from jobs.queue.ownership import owner_key, reader_key
from jobs.queue.record import RecordKeys
from jobs.queue.watch.state import WatchKeys
from jobs.rate_limit import limit_kinds
from jobs.scan.record import ScanKeys
from jobs.stripe.client import ENDPOINTS
from worker.loops.watchdog import canary_key
from worker.status.history import KEPT_SECONDS, History
from worker.wakeups import bell_of
from worker.web.sign_in_keys import signing_key, tries_key

NAMES: Final = {"zset": "sorted set"}
CUSTOMERS_AT_MOST: Final = 100
SECONDS_AN_HOUR: Final = 3600
HOURS_KEPT: Final = KEPT_SECONDS // SECONDS_AN_HOUR + 1


async def wrong_core_keys(redis: Redis, prefix: str, inbox: str) -> list[str]:
    """Return a sentence for each key of the wrong type that stops all work. Raises RedisError."""
    waits, records = MailboxKeys(prefix), RecordKeys(prefix)
    sets = dict.fromkeys([waits.waiting, waits.dispatched, waits.oldest], "zset")
    return await _wrong(redis, {inbox: "stream", records.dead: "stream", **sets})


async def wrong_keys(redis: Redis, prefix: str, inbox: str) -> list[str]:
    """Return a sentence for each key of the wrong type, including those of the first waiting customers.

    Raises RedisError.
    """
    waits, records, scans, watch = MailboxKeys(prefix), RecordKeys(prefix), ScanKeys(prefix), WatchKeys(prefix)
    seconds, _ = await redis.time()
    hour = seconds // SECONDS_AN_HOUR
    shared = {
        waits.rechecks: "zset",
        waits.queue: "zset",
        bell_of(waits.queue): "stream",
        breaker_key(prefix): "hash",
        records.totals: "hash",
        **dict.fromkeys((records.outcomes, records.reviews, records.aside), "stream"),
        records.last_success: "string",
        owner_key(prefix): "hash",
        reader_key(inbox): "string",
        scans.lease: "string",
        scans.run: "string",
        scans.history: "list",
        scans.fingerprints: "string",
        scans.watermark: "string",
        scans.requested: "string",
        **_watch_kinds(watch),
        NotificationKeys(prefix).state: "hash",
        NotificationKeys(prefix).lease: "string",
        signing_key(prefix): "string",
        tries_key(prefix): "zset",
        canary_key(prefix): "string",
        **limit_kinds(prefix, ENDPOINTS),
        **{failing_key(prefix, loop): "string" for loop in LOOPS},
        **{History(redis, prefix).key(hour - back): "hash" for back in range(HOURS_KEPT)},
        f"{prefix}:scans": "zset",
        **{records.events(bucket): "hash" for bucket in event_buckets(seconds)},
    }
    for customer in await _customers(redis, waits):
        shared[waits.mailbox(customer)] = "stream"
        shared[records.customer(customer)] = "hash"
        shared[waits.remembered(customer)] = "string"
        shared[waits.lease(customer)] = "string"
        shared |= dict.fromkeys((watch.request(customer), watch.requests(customer)), "string")
        shared[watch.edits(customer)] = "hash"
    return [*await wrong_core_keys(redis, prefix, inbox), *await _wrong(redis, shared)]


def _watch_kinds(watch: WatchKeys) -> Mapping[str, str]:
    hashes = (watch.watch, watch.later_events, watch.backlog_events, watch.links)
    sets = (watch.seen, watch.later, watch.backlog)
    return {**dict.fromkeys(hashes, "hash"), **dict.fromkeys(sets, "zset"), watch.lease: "string"}


async def _customers(redis: Redis, waits: MailboxKeys) -> list[str]:
    async with redis.pipeline(transaction=False) as pipe:
        for key in (waits.oldest, waits.dispatched, waits.waiting):
            pipe.zrange(key, 0, CUSTOMERS_AT_MOST - 1)
        answers = [or_none(answer) for answer in await pipe.execute(raise_on_error=False)]
    return list({customer.decode(errors="replace"): None for answer in answers for customer in answer or []})


async def _wrong(redis: Redis, needed: Mapping[str, str]) -> list[str]:
    async with redis.pipeline(transaction=False) as pipe:
        for key in needed:
            pipe.type(key)
        kinds = [kind.decode() for kind in await pipe.execute()]
    return [
        f"{key} is a {NAMES.get(kind, kind)} and must be a {NAMES.get(needed[key], needed[key])}"
        for key, kind in zip(needed, kinds, strict=True)
        if kind not in {"none", needed[key]}
    ]
