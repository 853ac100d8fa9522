"""How an app says that a customer changed, and asks what became of it.

    from jobs.enqueue import outcome_of, send
    from jobs.events import new_update

    update = new_update(customer_id="user_42", changes={"email": "ann@example.com"}, event_id="signup-42")
    event_id = await send(redis, update)
    outcome = await outcome_of(redis, event_id, wait_seconds=10)

Apps import this file: it needs pydantic and redis, nothing else.
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
FIRST_LOOK_SECONDS = 0.02
SLOWEST_LOOK_SECONDS = 0.5


async def send(redis: Redis, update: CustomerUpdate, *, stream: str = INBOX_STREAM) -> str:
    """Add an update to the inbox; the id to ask for its outcome by: its `event_id`, or else its entry's id.

    Sending the same `event_id` again within 24 hours changes nothing, so a send that failed half-way may be repeated.
    """
    entry_id: bytes | str = await redis.xadd(stream, dict(update.fields().items()))
    return _id_of(update, entry_id)


async def send_many(redis: Redis, updates: Iterable[CustomerUpdate], *, stream: str = INBOX_STREAM) -> None:
    """Add updates to the inbox in their order, in one round trip; for a few hundred at a time."""
    async with redis.pipeline(transaction=False) as pipe:
        for update in updates:
            pipe.xadd(stream, dict(update.fields().items()))
        await pipe.execute()


def send_sync(redis: "redis_sync.Redis", update: CustomerUpdate, *, stream: str = INBOX_STREAM) -> str:
    """The same as `send`, for apps without an event loop."""
    entry_id = redis.xadd(stream, dict(update.fields().items()))
    return _id_of(update, entry_id)  # type: ignore[arg-type]  # redis-py types both clients' answers as one


def _id_of(update: CustomerUpdate, entry_id: bytes | str) -> str:
    if update.event_id is not None:
        return update.event_id
    return entry_id.decode() if isinstance(entry_id, bytes) else entry_id


async def outcome_of(
    redis: Redis, event_id: str, *, wait_seconds: float = 0.0, prefix: str = KEY_PREFIX
) -> Outcome | None:
    """What became of an event of the last 24 hours, waiting for its end up to `wait_seconds`.

    An outcome whose status is still `waiting` after that is returned as it is; None means that the event is not
    known: it was not sent, or is still in the inbox.
    """
    deadline = time.monotonic() + wait_seconds
    pause = FIRST_LOOK_SECONDS
    while True:
        outcome = await read_outcome(redis, prefix, event_id)
        left = deadline - time.monotonic()
        if left <= 0 or (outcome is not None and outcome.status != "waiting"):
            return outcome
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 2, SLOWEST_LOOK_SECONDS)
