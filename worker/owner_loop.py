"""Comparing with the owner that Redis keeps, later: for a worker that Stripe did not tell its account at the start.

A mismatch ends the process as at the start. To turn /readyz red is not enough: the process would go on to write one
account's changes to another.
"""

import asyncio
import os
from typing import Final

import structlog
from redis.asyncio import Redis

from config.settings import Settings
from worker.ownership import ForeignDeploymentError, ask_for_account, compare_with

EX_CONFIG: Final = 78
PAUSE_SECONDS: Final = 5.0
QUICK_TRIES: Final = 60
SLOW_PAUSE_SECONDS: Final = 60.0
"""After the quick tries: a Stripe that is away for longer is asked once a minute."""

log = structlog.get_logger(__name__)


class OwnerLoop:
    """Asks Stripe until it tells its account, and compares once."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        """Asks nothing yet."""
        self._settings = settings
        self._redis = redis
        self._tries = 0
        self._is_done = False

    async def look(self) -> None:
        """Ask once more, after a pause; a turn after the last one only waits. Raises RedisError."""
        await asyncio.sleep(PAUSE_SECONDS if self._tries < QUICK_TRIES else SLOW_PAUSE_SECONDS)
        if self._is_done:
            return
        self._tries += 1
        account = await ask_for_account(self._settings)
        if account.may_follow:
            return
        try:
            await compare_with(self._settings, self._redis, account, note=True)
        except ForeignDeploymentError as error:
            log.critical("deployment_foreign", error=error.text, fix=error.fix, ends_with=EX_CONFIG)
            # Not by an exception: nothing may hold up the end, and all that matters is in Redis.
            os._exit(EX_CONFIG)
        self._is_done = True
        if account.digest:
            log.info("account_known", tries=self._tries)
        else:
            log.warning("account_unknown", reason=account.why_not)
