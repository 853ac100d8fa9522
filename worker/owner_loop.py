"""The wait for the Stripe account, of a process that Stripe did not tell its account at the start.

Until it is known and compared with the owner that Redis keeps, the process takes no job: one with another account's
keys would write changes to the wrong customers. Nothing is lost by waiting, since no customer can be synced while
Stripe does not answer. A mismatch ends the process as at the start.
"""

import asyncio
import os
from typing import Final

import structlog
from redis.asyncio import Redis

from config.settings import Settings
from worker.ownership import ForeignDeploymentError, ask_for_account, compare_with, warn_if_unknown

EX_CONFIG: Final = 78
PAUSE_SECONDS: Final = 4.0

log = structlog.get_logger(__name__)


class StripeAwayError(Exception):
    """Stripe did not tell its account: the text is a code."""


class OwnerLoop:
    """Asks Stripe until it tells its account, compares once, and sets `compared`."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        """Asks nothing yet."""
        self._settings = settings
        self._redis = redis
        self.compared = asyncio.Event()

    async def look(self) -> None:
        """Ask once more, after a pause; a turn after the last one only waits.

        Raises: StripeAwayError, which turns /readyz and `customer-sync status` red, and RedisError.
        """
        await asyncio.sleep(PAUSE_SECONDS)
        if self.compared.is_set():
            return
        account = await ask_for_account(self._settings)
        if account.may_follow:
            raise StripeAwayError(account.why_not)
        try:
            await compare_with(self._settings, self._redis, account, note=True)
        except ForeignDeploymentError as error:
            log.critical("deployment_foreign", error=error.text, fix=error.fix, ends_with=EX_CONFIG)
            # Not by an exception: nothing may hold up the end, and all that matters is in Redis.
            os._exit(EX_CONFIG)
        if account.digest:
            log.info("account_known")
        warn_if_unknown(account)
        self.compared.set()
