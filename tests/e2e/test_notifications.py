"""Workers that send notifications: one of them sends, a killed one loses nothing, and a receiver delays nothing."""

import signal
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from jobs.notifications.state import NotificationKeys
from sandbox.everything import Sandbox, sandbox
from tests.conftest import INBOX, PREFIX
from tests.support.processes import wait_until, worker
from tests.support.receiver import HANGS, Receiver, receiving
from tests.support.watching import watched

KEYS = NotificationKeys(PREFIX)


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        everything.autumn.seed("ann")
        yield everything


@pytest.fixture
async def redis(box: Sandbox) -> AsyncIterator[Redis]:
    async with Redis.from_url(box.redis.url) as client:
        yield client


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


def environment_of(box: Sandbox, receiver: Receiver) -> dict[str, str]:
    return {**box.environment, "NOTIFY_URL": receiver.url, "NOTIFY_SECRET": "a-secret-of-notifications"}


async def plant_dead_letter(redis: Redis) -> None:
    await redis.xadd(f"{PREFIX}:dead", {"customer": "ann", "reason": "needs-review"})


async def make_due(redis: Redis) -> None:
    await redis.hset(KEYS.state, "next_ms", "0")  # type: ignore[misc]  # one type for both clients


async def test_killed_worker_repeats_one_request_with_the_same_id(
    box: Sandbox, redis: Redis, receiver: Receiver
) -> None:
    await plant_dead_letter(redis)
    receiver.statuses = [HANGS]
    async with worker(environment_of(box, receiver)) as first:
        await receiver.reaches(1)
        first.process.send_signal(signal.SIGKILL)
        await first.process.wait()
    # As if the minute of its lease had passed.
    await redis.delete(KEYS.lease)
    async with worker(environment_of(box, receiver)) as second:
        await second.says("notifications_sent")
        before, after = receiver.sent(0), receiver.sent(1)
        assert before[0] == after[0]
        assert after[0]["customers"] == ["ann"]
        await make_due(redis)

        async def has_passed() -> bool:
            return await redis.hget(KEYS.state, "next_ms") != b"0"  # type: ignore[misc, no-any-return]  # see above

        await wait_until(has_passed)
    assert [each["type"] for number in range(2, len(receiver.bodies)) for each in receiver.sent(number)] == []


async def test_an_event_that_two_workers_see_is_sent_once(box: Sandbox, redis: Redis, receiver: Receiver) -> None:
    environment = environment_of(box, receiver)
    async with worker(environment) as one, worker(environment) as other:
        await redis.xadd(INBOX, {"customer_id": "ann", "changes": "poison"})
        event = await send(redis, new_update(customer_id="ann", changes={"name": "Ann"}))
        outcome = await outcome_of(redis, event, wait_seconds=100)
        assert outcome is not None

        async def is_sent() -> bool:
            await make_due(redis)
            return bool(receiver.bodies)

        await wait_until(is_sent)
        logs = "".join([*one.log, *other.log])
    assert "ann@" not in logs
    letters = [each for number in range(len(receiver.bodies)) for each in receiver.sent(number)]
    assert [each["count"] for each in letters if each["type"] == "dead_letters"] == [1]


async def test_hanging_receiver_delays_no_event_no_probe_and_no_stop(
    box: Sandbox, redis: Redis, receiver: Receiver
) -> None:
    await plant_dead_letter(redis)
    receiver.statuses = [HANGS] * 100
    async with watched(environment_of(box, receiver)) as shown:
        await receiver.reaches(1)
        event = await send(redis, new_update(customer_id="ann", changes={"name": "Ann"}))
        outcome = await outcome_of(redis, event, wait_seconds=100)
        assert outcome is not None
        assert outcome.status == "applied"
        assert (await shown.answer("/healthz"))[0] == 200

        async def is_shown() -> bool:
            return "customer_sync_unsent_notification_age_seconds" in (await shown.scrape()).samples

        await wait_until(is_shown)
        shown.running.process.send_signal(signal.SIGTERM)
        await shown.running.says("process_stopped")
        assert await shown.running.process.wait() == 0
    # It was interrupted, so the next worker may send at once.
    assert not await redis.exists(KEYS.lease)


async def test_worker_without_a_receiver_stores_nothing(box: Sandbox, redis: Redis) -> None:
    await plant_dead_letter(redis)
    async with worker(box.environment):
        pass
    assert not await redis.exists(KEYS.state)
