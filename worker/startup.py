"""The checks before arq starts: Redis is fit for a worker, and its keys belong to this deployment.

They run before arq, because arq calls Redis when it starts and ends, and an error there would hide our error text and
exit code.
"""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from config.settings import Settings
from worker.checks.key_types import wrong_core_keys
from worker.loops.watchdog import RedisUnfitError, check_redis
from worker.ownership import refuse_foreign, warn_if_unknown
from worker.redis_access import lacking_rights
from worker.redis_client import PATIENCE_SECONDS, PAUSE_SECONDS, open_briefly
from worker.redis_errors import Trouble, trouble_of_rights, trouble_of_types, trouble_with

log = structlog.get_logger(__name__)


class RedisAwayError(Exception):
    """Redis did not answer for as long as a worker waits. The text says what to check."""


@dataclass(frozen=True)
class Prepared:
    """The risks, a sentence each, and whether the owner can only be compared when Stripe returns its account."""

    risks: list[str]
    owner_follows: bool


async def prepare(settings: Settings) -> Prepared:
    """Wait until Redis is fit, and assign its keys to this deployment if they have no other owner.

    Raises ForeignDeploymentError if they belong to another deployment, and the errors of `wait_for_redis`.
    """
    risks = await wait_for_redis(settings)
    with _ended_by_sigterm():
        async with open_briefly(settings.redis_url.get_secret_value(), settings.redis_certificate) as redis:
            try:
                account, is_compared = await refuse_foreign(settings, redis)
            except RedisError as error:
                raise RedisAwayError(str(await trouble_with(redis, error))) from error
    warn_if_unknown(account, is_compared=is_compared)
    return Prepared(risks, owner_follows=not is_compared)


async def wait_for_redis(settings: Settings, patience_seconds: float = PATIENCE_SECONDS) -> list[str]:
    """Wait until Redis answers, and return its risks for our data, a sentence each.

    Raises RedisUnfitError if a person must fix a setting, a right or Redis itself. Raises RedisAwayError if Redis is
    away for longer than `patience_seconds`, and CancelledError on SIGTERM.
    """
    give_up_at, is_logged = time.monotonic() + patience_seconds, False
    with _ended_by_sigterm():
        async with open_briefly(settings.redis_url.get_secret_value(), settings.redis_certificate) as redis:
            while True:
                trouble = await _check(redis, settings)
                if not isinstance(trouble, Trouble):
                    return trouble
                if trouble.is_setting:
                    raise RedisUnfitError(str(trouble))
                if not is_logged:
                    log.warning("redis_awaited", seconds=patience_seconds, error=trouble.text, fix=trouble.fix)
                    is_logged = True
                if time.monotonic() >= give_up_at:
                    raise RedisAwayError(str(trouble))
                await asyncio.sleep(PAUSE_SECONDS)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Cancel the task on SIGTERM, for the length of the block."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def _check(redis: Redis, settings: Settings) -> list[str] | Trouble:
    """Return the risks, or the trouble that keeps Redis from being used. Raises RedisUnfitError."""
    try:
        risks = await check_redis(redis)
        lacking = await lacking_rights(redis, settings.key_prefix, settings.inbox_stream)
        if lacking:
            return trouble_of_rights(lacking)
        # A node of a cluster refuses a key, so this finds a cluster even if INFO is not allowed.
        await redis.exists(settings.inbox_stream)
        wrong = await wrong_core_keys(redis, settings.key_prefix, settings.inbox_stream)
        if wrong:
            return trouble_of_types(wrong)
        # Last, because a Redis that cannot save refuses PING but answers all of the above.
        await redis.ping()
    except RedisError as error:
        return await trouble_with(redis, error)
    return risks
