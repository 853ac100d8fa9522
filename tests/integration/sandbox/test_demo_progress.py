"""The demo sends each entry at its time and reads its outcome, through a real Redis."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from sandbox.demo.run import Progress
from sandbox.demo.world import APPLIED, DUPLICATE, Entry, entry_of
from sandbox.redis import EmbeddedRedis

INBOX, PREFIX = "changes", "mine"
ON = entry_of(0.0, "ann", {"send_email_receipts": True}, "on")
OFF = replace(entry_of(0.0, "ann", {"send_email_receipts": False}, "off"), waits=True)
BOB = entry_of(0.0, "bob", {"name": "Bob"}, "name")
LATER = entry_of(5.0, "bob", {"name": "Bobby"}, "name")


@pytest.fixture
async def text_redis(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[Redis]:
    """Yield a client for the empty Redis that answers in text, as the demo's does."""
    assert await redis.dbsize() == 0
    async with Redis.from_url(redis_server.url, decode_responses=True) as client:
        yield client


def progress_of(redis: Redis, entries: Sequence[Entry]) -> Progress:
    return Progress(redis, entries, inbox=INBOX, prefix=PREFIX)


async def in_the_inbox(redis: Redis) -> list[dict[str, str]]:
    return [fields for _, fields in await redis.xrange(INBOX)]


async def end(redis: Redis, progress: Progress, entry: Entry, reason: str = "") -> None:
    """Record the outcome of an entry as the worker does."""
    (entry_id,) = [entry_id for entry_id, sent in progress.sent.items() if sent == entry]
    await redis.xadd(f"{PREFIX}-outcomes", {"entry": entry_id, "reason": reason})
    if reason:
        await redis.xadd(f"{PREFIX}:dead", {"entry": entry_id, "reason": reason, "message": "why"})
    await progress.read()


async def test_entries_are_sent_at_their_times(text_redis: Redis) -> None:
    progress = progress_of(text_redis, [ON, BOB, LATER])

    await progress.send(1.0)
    assert await in_the_inbox(text_redis) == [ON.fields, BOB.fields]
    await progress.send(5.0)
    assert await in_the_inbox(text_redis) == [ON.fields, BOB.fields, LATER.fields]


async def test_waiting_entry_is_sent_after_its_customers_previous_outcome(text_redis: Redis) -> None:
    progress = progress_of(text_redis, [ON, OFF, BOB])

    await progress.send(1.0)
    await progress.send(2.0)
    assert await in_the_inbox(text_redis) == [ON.fields, BOB.fields]
    await end(text_redis, progress, ON)
    await progress.send(3.0)
    assert await in_the_inbox(text_redis) == [ON.fields, BOB.fields, OFF.fields]


async def test_entries_behind_a_waiting_one_keep_their_order(text_redis: Redis) -> None:
    progress = progress_of(text_redis, [ON, OFF, replace(ON, about="on again")])

    await progress.send(1.0)
    assert await in_the_inbox(text_redis) == [ON.fields]
    await end(text_redis, progress, ON)
    await progress.send(1.0)
    assert await in_the_inbox(text_redis) == [ON.fields, OFF.fields, ON.fields]


async def test_demo_ends_when_every_entry_has_an_outcome(text_redis: Redis) -> None:
    again = replace(BOB, outcome=DUPLICATE)
    progress = progress_of(text_redis, [ON, OFF, BOB, again])
    await progress.send(1.0)
    await end(text_redis, progress, ON)
    await end(text_redis, progress, BOB, "needs-review")
    await text_redis.hset(f"{PREFIX}:totals", "duplicates", "1")  # type: ignore[misc]  # one type for both clients
    await progress.read()
    assert not progress.is_over, "one is not sent yet"

    await progress.send(1.0)
    assert not progress.is_over, "one has not ended"
    assert [str(missing) for missing in progress.missing()] == [
        f"event {list(progress.sent)[-1]}: off of ann has no outcome"
    ]
    await end(text_redis, progress, OFF)
    assert progress.is_over
    assert list(progress.outcomes.values()) == [APPLIED, "needs-review", APPLIED]
    assert progress.dead_by_reason() == {("needs-review", "why"): 1}
