"""The overview that `status`, /readyz and /metrics show: ages, counts and times, on a real Redis."""

import time

import pytest
from redis.asyncio import Redis

from jobs.queue.batch import Batch, EntryOutcome, Settlement
from jobs.queue.dead_letters import DeadLetters
from jobs.queue.mailbox import Mailbox
from jobs.queue.record import read_totals
from jobs.queue.status import Overview, read_overview
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX, World
from tests.support.steps import change, seed

DEAD = {"reason": "refused", "message": "no", "attempts": "1", "since": ""}
MINUTE_MS = 60_000


@pytest.fixture
def mailbox(redis: Redis) -> Mailbox:
    return Mailbox(redis, inbox=INBOX, prefix=PREFIX, max_waiting=3)


async def overview_of(redis: Redis) -> Overview:
    return await read_overview(redis, PREFIX, INBOX)


async def minutes_ago(redis: Redis) -> float | None:
    """Return the minutes since the oldest event was sent."""
    overview = await overview_of(redis)
    age_seconds = overview.age_seconds(overview.oldest_sent_ms)
    return None if age_seconds is None else age_seconds // 60


async def add(redis: Redis, customer: str, minutes: int) -> str:
    """Add an event that was sent `minutes` ago."""
    entry = {"customer_id": customer, "changes": '{"name": "x"}'}
    sent_ms = int(time.time() * 1000) - minutes * MINUTE_MS
    return str((await redis.xadd(INBOX, dict(entry.items()), id=f"{sent_ms}-0")).decode())


async def take(mailbox: Mailbox, customer: str) -> Batch:
    await mailbox.move()
    await mailbox.dispatch(100)
    batch = await mailbox.take(customer)
    assert batch is not None
    return batch


async def test_oldest_event_may_be_in_inbox(redis: Redis, mailbox: Mailbox) -> None:
    assert await minutes_ago(redis) is None
    await add(redis, "ann", 7)
    await add(redis, "bob", 5)
    assert await minutes_ago(redis) == 7
    await mailbox.move()
    assert await minutes_ago(redis) == 7


async def test_event_left_in_full_inbox_counts(redis: Redis, mailbox: Mailbox) -> None:
    for index in range(4):
        await add(redis, f"user_{index}", 9 - index)
    assert await mailbox.move() == (3, True)
    for index in range(3):
        batch = await take(mailbox, f"user_{index}")
        await mailbox.settle(batch.lease, Settlement([EntryOutcome(batch.entries[0].id, "e")]))
    assert await minutes_ago(redis) == 6


async def test_retried_customer_keeps_its_age(redis: Redis, mailbox: Mailbox) -> None:
    await add(redis, "ann", 20)
    await add(redis, "bob", 3)
    batch = await take(mailbox, "ann")
    assert await minutes_ago(redis) == 20, "an event in progress has no outcome yet"
    await mailbox.settle(batch.lease, Settlement([], again_after_ms=5 * MINUTE_MS))
    assert await minutes_ago(redis) == 20
    await redis.zadd(f"{PREFIX}:waiting", {"ann": 0})
    batch = await take(mailbox, "ann")
    await mailbox.settle(batch.lease, Settlement([EntryOutcome(batch.entries[0].id, "e")]))
    assert await minutes_ago(redis) == 3


async def test_age_is_that_of_first_unsettled_event(redis: Redis, mailbox: Mailbox) -> None:
    entries = [await add(redis, "ann", minutes) for minutes in (30, 20, 10)]
    batch = await take(mailbox, "ann")
    settled = [EntryOutcome(entries[0], "e0"), EntryOutcome(entries[1], "e1", DEAD)]
    await mailbox.settle(batch.lease, Settlement(settled))
    assert await minutes_ago(redis) == 10


async def test_future_entry_id_gives_no_negative_age(redis: Redis, mailbox: Mailbox) -> None:
    await add(redis, "ann", -2)
    assert await minutes_ago(redis) is None
    await mailbox.move()
    assert await minutes_ago(redis) == 0


async def test_inbox_with_older_clock_never_makes_mailbox_older(redis: Redis, mailbox: Mailbox) -> None:
    await add(redis, "ann", 5)
    await mailbox.move()
    await redis.delete(INBOX)
    await add(redis, "ann", 50)
    await mailbox.move()
    assert await minutes_ago(redis) == 5
    assert await redis.xlen(f"{PREFIX}:mailbox:ann") == 2


async def test_events_in_mailboxes_are_counted(redis: Redis, mailbox: Mailbox) -> None:
    entries = [await add(redis, "ann", minutes) for minutes in (5, 4, 3, 2)]
    await add(redis, "a b", 1)
    await redis.xadd(INBOX, {"customer_id": "bob", "event_id": "once"})
    await redis.xadd(INBOX, {"customer_id": "bob", "event_id": "once"})
    assert (await overview_of(redis)).inbox == 7
    batch = await take(mailbox, "ann")
    await mailbox.settle(
        batch.lease, Settlement([EntryOutcome(entries[0], "e0"), EntryOutcome(entries[1], "e1", DEAD)])
    )
    overview = await overview_of(redis)
    lengths = [await redis.xlen(f"{PREFIX}:mailbox:{customer}") for customer in ("ann", "bob")]
    assert (overview.inbox, overview.in_mailboxes, lengths) == (0, 3, [2, 1])


async def test_only_applied_event_is_success(redis: Redis, mailbox: Mailbox) -> None:
    begin = time.monotonic()
    entry = await add(redis, "ann", 1)
    batch = await take(mailbox, "ann")
    await mailbox.settle(batch.lease, Settlement([EntryOutcome(entry, "e", DEAD)]))
    assert (await overview_of(redis)).last_success_ms is None
    entry = await add(redis, "ann", 0)
    batch = await take(mailbox, "ann")
    await mailbox.settle(batch.lease, Settlement([EntryOutcome(entry, "e")]))
    overview = await overview_of(redis)
    age_seconds = overview.age_seconds(overview.last_success_ms)
    assert age_seconds is not None
    # Both times are in whole milliseconds.
    assert 0 <= age_seconds <= time.monotonic() - begin + 0.001


async def test_dead_letter_counts_until_dropped(redis: Redis, mailbox: Mailbox) -> None:
    await add(redis, "a b", 0)
    await mailbox.move()
    overview = await overview_of(redis)
    assert overview.dead == 1
    assert overview.newest_dead_ms is not None
    letters = DeadLetters(redis, inbox=INBOX, prefix=PREFIX)
    await letters.drop([await letters.newest()])
    overview = await overview_of(redis)
    assert (overview.dead, overview.newest_dead_ms) == (0, None)


async def test_dead_letters_and_retries_are_counted_by_reason(world: World) -> None:
    seed(world, "ann")
    await world.redis.xadd(INBOX, {"customer_id": "a b"})
    await change(world, "nobody", name="x")
    world.autumn.switches.add(Fault("503", route="customers.update", times=1))
    await change(world, "ann", name="Ann")
    await world.run()
    totals = await read_totals(world.redis, PREFIX)
    by_reason = {name: value for name, value in totals.items() if ":" in name}
    assert by_reason == {"dead:invalid_event": 1, "dead:customer_not_found": 1, "retries:service_unavailable": 1}
    assert totals["dead"] == 2
