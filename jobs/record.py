"""What became of events and customers: written by the scripts that settle, read here.

Owns the keys of the outcomes, the totals, the customers' records and the dead letters.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

HALF_DAY_SECONDS = 43_200
Status = Literal["waiting", "applied", "dead"]


@dataclass(frozen=True)
class Outcome:
    """What became of one event.

    `status` is `waiting` until a sync has ended it as `applied` or `dead`; `reason` is set for a dead one; `at` is in
    milliseconds since the epoch, None while it waits.
    """

    status: Status
    customer_id: str
    entry_id: str
    reason: str | None = None
    at: int | None = None


@dataclass(frozen=True)
class RecordKeys:
    """The keys in Redis of what became of things."""

    prefix: str

    @property
    def totals(self) -> str:
        """A hash of counters since the beginning, some by reason: `dead:REASON`, `retries:REASON`. Permanent."""
        return f"{self.prefix}:totals"

    @property
    def dead(self) -> str:
        """The stream of dead letters. Permanent: only a person drops one."""
        return f"{self.prefix}:dead"

    @property
    def last_success(self) -> str:
        """When a change was last applied, in milliseconds since the epoch. Permanent."""
        return f"{self.prefix}:last-success"

    @property
    def outcomes(self) -> str:
        """The stream of outcomes, trimmed."""
        return f"{self.prefix}-outcomes"

    def customer(self, customer_id: str) -> str:
        """A hash of what the last sync of a customer found. Lives 30 days after the last one."""
        return f"{self.prefix}:customer:{customer_id}"

    def events(self, bucket: int) -> str:
        """A hash from event id to outcome, for half a day since the epoch. Lives 36 hours."""
        return f"{self.prefix}:events:{bucket}"


def event_buckets(now_seconds: float) -> Sequence[int]:
    """The buckets that hold event ids of the last 24 hours, newest first.

    One bucket ahead, because this clock may be behind the one of Redis.
    """
    newest = int(now_seconds // HALF_DAY_SECONDS) + 1
    return range(newest, newest - 4, -1)


async def read_outcome(redis: Redis, prefix: str, event_id: str) -> Outcome | None:
    """The outcome of an event of the last 24 hours, by its `event_id` or its entry's id; None if it is not known."""
    keys = RecordKeys(prefix)
    async with redis.pipeline(transaction=False) as pipe:
        for bucket in event_buckets(time.time()):
            pipe.hget(keys.events(bucket), event_id)
        notes: list[bytes | None] = await pipe.execute()
    for note in notes:
        if note is not None:
            found = json.loads(note)
            return Outcome(found["status"], found["customer"], found["entry"], found.get("reason"), found.get("at"))
    return None


async def read_totals(redis: Redis, prefix: str) -> dict[str, int]:
    """The counters since the beginning, by name."""
    totals = await _hash(redis, RecordKeys(prefix).totals)
    return {name.decode(): int(value) for name, value in totals.items()}


async def read_customer(redis: Redis, prefix: str, customer_id: str) -> dict[str, str]:
    """What the last sync of a customer found; empty if there was none."""
    return as_text(await _hash(redis, RecordKeys(prefix).customer(customer_id)))


async def read_refused(redis: Redis, prefix: str, customers: Sequence[str]) -> list[dict[str, tuple[str, str]]]:
    """What Stripe refused to take of each customer, by field: its code and the digest of the value."""
    async with redis.pipeline(transaction=False) as pipe:
        for customer in customers:
            pipe.hget(RecordKeys(prefix).customer(customer), "refused")
        return [parse_pairs(raw.decode()) if raw else {} for raw in await pipe.execute()]


def parse_pairs(kept: str) -> dict[str, tuple[str, str]]:
    """A field of a customer's record with two words for each field of the customer: `refused` or `forms`."""
    return {name: (first, second) for name, (first, second) in json.loads(kept).items()} if kept else {}


def as_text(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """Fields of Redis as text; bytes that are no UTF-8 are shown as replacement characters."""
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in fields.items()}


async def _hash(redis: Redis, key: str) -> dict[bytes, bytes]:
    # redis-py types the answers of its two clients as one.
    answer = redis.hgetall(key)
    return answer if isinstance(answer, dict) else await answer
