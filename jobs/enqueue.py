"""Send events for a customer and read their outcomes.

    from jobs.enqueue import outcome_of, send
    from jobs.events import new_update

    update = new_update(customer_id="user_42", changes={"email": "ann@example.com"}, event_id="signup-42")
    event_id = await send(redis, update)
    outcome = await outcome_of(redis, event_id, wait_seconds=10)

Apps import this file. It needs only pydantic and redis.
"""

import asyncio
import time
from collections.abc import Iterable

import redis as redis_sync
from redis.asyncio import Redis

from jobs.events import CustomerUpdate
from jobs.queue.record import Outcome, read_outcome

INBOX_STREAM = "customer-updates"
KEY_PREFIX = "customer-sync"
FIRST_POLL_SECONDS = 0.02
SLOWEST_POLL_SECONDS = 0.5


async def send(redis: Redis, update: CustomerUpdate, *, stream: str = INBOX_STREAM) -> str:
    """Add an update to the inbox. Return the id for `outcome_of`: the `event_id`, or the entry's id if there is none.

    Sending the same `event_id` again within 24 hours changes nothing, so a failed send may be repeated.
    """
    entry_id: bytes | str = await redis.xadd(stream, dict(update.fields().items()))
    return _id_of(update, entry_id)


async def send_many(redis: Redis, updates: Iterable[CustomerUpdate], *, stream: str = INBOX_STREAM) -> None:
    """Add updates to the inbox in order, in one round trip. Send a few hundred at a time at most."""
    async with redis.pipeline(transaction=False) as pipe:
        for update in updates:
            pipe.xadd(stream, dict(update.fields().items()))
        await pipe.execute()


def send_sync(redis: "redis_sync.Redis", update: CustomerUpdate, *, stream: str = INBOX_STREAM) -> str:
    """Do the same as `send`, for apps without an event loop."""
    entry_id = redis.xadd(stream, dict(update.fields().items()))
    return _id_of(update, entry_id)  # type: ignore[arg-type]  # redis-py types both clients' answers as one


def _id_of(update: CustomerUpdate, entry_id: bytes | str) -> str:
    if update.event_id is not None:
        return update.event_id
    return entry_id.decode() if isinstance(entry_id, bytes) else entry_id


async def outcome_of(
    redis: Redis, event_id: str, *, wait_seconds: float = 0.0, prefix: str = KEY_PREFIX
) -> Outcome | None:
    """Return the outcome of an event of the last 24 hours. Wait up to `wait_seconds` until it is no longer waiting.

    After that time the status may still be `waiting`. None means that the event is unknown: it was not sent, or it is
    still in the inbox.
    """
    deadline = time.monotonic() + wait_seconds
    pause = FIRST_POLL_SECONDS
    while True:
        outcome = await read_outcome(redis, prefix, event_id)
        left = deadline - time.monotonic()
        if left <= 0 or (outcome is not None and outcome.status != "waiting"):
            return outcome
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 2, SLOWEST_POLL_SECONDS)
