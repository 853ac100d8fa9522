"""Send events for a customer and read their outcomes.

    from jobs.enqueue import outcome_of, send
    from jobs.events import new_update

    update = new_update(customer_id="user_42", changes={"email": "ann@example.com"}, event_id="signup-42")
    event_id = await send(redis, update)
    outcome = await outcome_of(redis, event_id, wait_seconds=10)

These functions use the caller's connection, and never repeat a call. Apps without the worker use `autumn_sync_client`,
which has the shared code. This file needs only pydantic and redis.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import redis as redis_sync
from redis.asyncio import Redis

from autumn_sync_client.outcomes import Outcome, is_final, polls
from autumn_sync_client.redis_commands import INBOX_STREAM, KEY_PREFIX, add_event, id_of
from jobs.events import CustomerUpdate
from jobs.queue.record import read_outcome

Known = TypeVar("Known", Outcome, Outcome | None)


async def send(redis: Redis, update: CustomerUpdate, *, stream: str = INBOX_STREAM) -> str:
    """Add an update to the inbox. Return the id for `outcome_of`: the `event_id`, or the entry's id if there is none.

    Sending the same `event_id` again within 24 hours changes nothing, so a failed send may be repeated.
    """
    entry_id = await redis.execute_command(*add_event(update, stream))  # type: ignore[no-untyped-call]  # of redis-py
    return id_of(update, entry_id)


async def send_many(redis: Redis, updates: Iterable[CustomerUpdate], *, stream: str = INBOX_STREAM) -> None:
    """Add updates to the inbox in order, in one transaction. Send a few hundred at a time at most.

    A repetition after an error keeps their order, because Redis has added all of them or none.
    """
    async with redis.pipeline(transaction=True) as pipe:
        for update in updates:
            pipe.execute_command(*add_event(update, stream))
        await pipe.execute()


def send_sync(redis: "redis_sync.Redis", update: CustomerUpdate, *, stream: str = INBOX_STREAM) -> str:
    """Do the same as `send`, for apps without an event loop."""
    entry_id = redis.execute_command(*add_event(update, stream))  # type: ignore[no-untyped-call]  # of redis-py
    return id_of(update, entry_id)


async def outcome_of(
    redis: Redis, event_id: str, *, wait_seconds: float = 0.0, prefix: str = KEY_PREFIX
) -> Outcome | None:
    """Return the outcome of an event of the last 24 hours. Wait up to `wait_seconds` until it is no longer waiting.

    After that time the status may still be `waiting`. None means that the event is unknown: it was not sent, or it is
    still in the inbox.
    """
    return await poll_outcome(lambda: read_outcome(redis, prefix, event_id), wait_seconds=wait_seconds)


async def poll_outcome(read: Callable[[], Awaitable[Known]], *, wait_seconds: float) -> Known:
    """Read an outcome until the event is no longer waiting, or until `wait_seconds` are over. Return the last one."""
    outcome = await read()
    for left, pause in polls(wait_seconds):
        if left <= 0 or is_final(outcome):
            break
        await asyncio.sleep(pause)
        outcome = await read()
    return outcome
