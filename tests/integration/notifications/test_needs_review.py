"""Notifications about reconciles of the watch that found what needs review: other outcomes never hide one."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from jobs.notifications.state import NotificationQueue, ReasonCount
from jobs.queue.batch import OUTCOMES_KEPT, RECORD_SECONDS, REVIEWS_KEPT, EntryOutcome, Settlement
from jobs.queue.dead_letters import LARGEST_PART
from jobs.queue.erase import forget
from jobs.queue.mailbox import Mailbox
from tests.conftest import INBOX, PREFIX
from tests.support.notifying import notifier_of, send_due
from tests.support.receiver import Receiver

REVIEWS = f"{PREFIX}:reviews"
OTHERS = OUTCOMES_KEPT + 2_000
"""More outcomes than are kept."""
REVIEW = EntryOutcome("5-0", "5-0", dropped="needs-review")


async def settle(redis: Redis, customer: str, outcomes: Sequence[EntryOutcome]) -> None:
    """Settle a sync of a customer with these outcomes."""
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX)
    await redis.xadd(INBOX, {"customer_id": customer, "changes": "{}"})
    await mailbox.move()
    await mailbox.dispatch(10)
    batch = await mailbox.take(customer)
    assert batch is not None
    done = [EntryOutcome(entry.id, entry.id) for entry in batch.entries]
    assert await mailbox.settle(batch.lease, Settlement([*outcomes, *done]))


async def settle_others(redis: Redis) -> None:
    await settle(redis, "zoe", [EntryOutcome(f"6-{number}", f"6-{number}") for number in range(OTHERS)])


async def next_count(redis: Redis) -> ReasonCount:
    """Return the count of the next request, and leave it unsent."""
    queue = NotificationQueue(redis, PREFIX)
    state = await queue.begin()
    assert state is not None
    count = await queue.count_reviews(state)
    assert await queue.note({})
    return count


async def test_reconciles_that_need_review_are_sent_once(redis: Redis, receiver: Receiver) -> None:
    dead = {"reason": "needs-review", "message": "", "attempts": "1", "since": ""}
    await settle(redis, "ann", [REVIEW])
    await settle(redis, "cy", [replace(REVIEW, dropped="customer_not_found")])
    await settle(redis, "dan", [replace(REVIEW, dropped="", dead=dead)])
    notifier = notifier_of(redis, receiver)
    await notifier.tick()
    letter, sent = receiver.sent()
    assert (letter["type"], letter["count"], letter["customers"]) == ("dead_letters", 1, ["dan"])
    assert sent["id"].startswith(f"{PREFIX}:needs-review:")
    assert (sent["type"], sent["count"], sent["customers"]) == ("needs_review", 1, ["ann"])
    await send_due(redis, notifier)
    assert len(receiver.bodies) == 1


async def test_many_other_outcomes_hide_no_review(redis: Redis, receiver: Receiver) -> None:
    for customer in ("ann", "ben", "cy"):
        await settle(redis, customer, [REVIEW])
    await settle_others(redis)
    await notifier_of(redis, receiver).tick()
    (sent,) = receiver.sent()
    assert (sent["type"], sent["count"], sent["is_complete"]) == ("needs_review", 3, True)
    assert sent["customers"] == ["ann", "ben", "cy"]


async def test_review_outlives_other_outcomes_while_receiver_fails(redis: Redis, receiver: Receiver) -> None:
    receiver.statuses = [503]
    await settle(redis, "ann", [REVIEW])
    notifier = notifier_of(redis, receiver)
    await notifier.tick()
    await settle(redis, "ben", [REVIEW])
    await settle_others(redis)
    await send_due(redis, notifier)
    assert receiver.bodies[1] == receiver.bodies[0]
    await send_due(redis, notifier)
    assert [(each["count"], each["customers"]) for each in receiver.sent()] == [(1, ["ben"])]


async def test_reviews_trimmed_by_newer_ones_are_told(redis: Redis) -> None:
    await settle(redis, "ann", [REVIEW] * 150)
    assert (await next_count(redis)).count == 150
    # The request is still about those 150, as if a receiver had failed.
    await settle(redis, "ben", [REVIEW] * REVIEWS_KEPT)
    count = await next_count(redis)
    assert count.count < 150
    assert not count.is_complete


async def test_full_stream_of_sent_reviews_leaves_new_count_complete(redis: Redis, receiver: Receiver) -> None:
    await settle(redis, "ann", [REVIEW] * 2 * REVIEWS_KEPT)
    notifier = notifier_of(redis, receiver)
    await notifier.tick()
    (sent,) = receiver.sent()
    assert REVIEWS_KEPT <= sent["count"] < 2 * REVIEWS_KEPT
    assert not sent["is_complete"]
    assert f"at least {sent['count']}" in sent["text"]
    await settle(redis, "ben", [REVIEW])
    await send_due(redis, notifier)
    assert [(each["count"], each["is_complete"]) for each in receiver.sent()] == [(1, True)]


@pytest.mark.parametrize("is_stream", [True, False])
async def test_unusable_stream_of_reviews_is_replaced(redis: Redis, receiver: Receiver, is_stream: bool) -> None:
    if is_stream:
        await redis.xadd(REVIEWS, {"x": "x"}, id=f"{LARGEST_PART}-{LARGEST_PART}")
    else:
        await redis.set(REVIEWS, "x")
    await settle(redis, "ann", [REVIEW])
    await notifier_of(redis, receiver).tick()
    assert receiver.sent()[0]["customers"] == ["ann"]


async def test_reviews_expire(redis: Redis) -> None:
    await settle(redis, "ann", [REVIEW])
    assert 0 < await redis.ttl(REVIEWS) <= RECORD_SECONDS
    await redis.delete(REVIEWS)
    assert (await next_count(redis)).count == 0


async def test_forgotten_customer_is_not_in_a_later_notification(redis: Redis) -> None:
    for customer in ("ann", "ben"):
        await settle(redis, customer, [REVIEW])
    await forget(redis, inbox=INBOX, prefix=PREFIX, customer_id="ann")
    assert await next_count(redis) == ReasonCount({"needs-review": 1}, ("ben",))
