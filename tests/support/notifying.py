"""Notifiers as new processes, and a way to let their next request be due."""

from redis.asyncio import Redis

from config.loading import load_settings
from config.settings import Settings
from jobs.notifications.state import NotificationKeys
from tests.conftest import PREFIX
from tests.support.receiver import Receiver
from worker.notifier import Notifier

KEYS = NotificationKeys(PREFIX)


def settings_of(receiver: Receiver, **more: str) -> Settings:
    keys = {"AUTUMN_SECRET_KEY": "am_sk_test_x", "STRIPE_API_KEY": "sk_test_x", "REDIS_URL": "redis://localhost"}
    return load_settings(**keys, NOTIFY_URL=receiver.url, **more)


def notifier_of(redis: Redis, receiver: Receiver, **more: str) -> Notifier:
    """Return the notifier of a new process."""
    return Notifier(settings_of(receiver, **more), redis)


async def send_due(redis: Redis, notifier: Notifier) -> None:
    """Let the next request be due, and send it."""
    if await redis.exists(KEYS.state):
        await redis.hset(KEYS.state, "next_ms", "0")  # type: ignore[misc]  # one type for both clients
    await notifier.tick()
