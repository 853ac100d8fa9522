"""The wait for the Stripe account, of a process that has another key than the last start and does not know its account.

Until the account is known and compared with the owner that Redis keeps, the process touches no event and takes no job:
one with another account's keys would write changes to the wrong customers. Nothing is lost by waiting, since no
customer can be synced while Stripe does not answer. A mismatch ends the process as at the start.
"""

import asyncio
import os
from typing import Final

import structlog
from redis.asyncio import Redis

from config.settings import Settings
from worker.ownership import Account, ForeignDeploymentError, ask_for_account, compare_with, warn_if_unknown

PAUSE_SECONDS: Final = 4.0
"""The time between two requests, and the longest run: a note of a loop that fails is made again before it expires."""

log = structlog.get_logger(__name__)


class StripeAwayError(Exception):
    """Stripe did not tell its account: the text is a code."""


class OwnerLoop:
    """Asks Stripe until it tells its account, compares once, and sets `compared`."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        """Asks nothing yet."""
        self._settings = settings
        self._redis = redis
        self._request: asyncio.Task[Account] | None = None
        self.compared = asyncio.Event()

    async def look(self) -> None:
        """Wait for an answer for a few seconds, run by run; a run after the last one only waits.

        Raises: StripeAwayError, which turns /readyz and `customer-sync status` red, and RedisError.
        """
        if self.compared.is_set():
            await asyncio.sleep(PAUSE_SECONDS)
            return
        account = await self._answer()
        try:
            is_compared = await compare_with(self._settings, self._redis, account, note=True)
        except ForeignDeploymentError as error:
            log.critical("deployment_rejected", error=error.text, fix=error.fix, ends_with=os.EX_CONFIG)
            # Not by an exception: nothing may hold up the end, and all that matters is in Redis.
            os._exit(os.EX_CONFIG)
        if not is_compared:
            raise StripeAwayError(account.why_not)
        if account.digest:
            log.info("account_verified")
        warn_if_unknown(account)
        self.compared.set()

    async def _answer(self) -> Account:
        """Return what Stripe tells. The request goes on if a run is over before it. Raises StripeAwayError."""
        if self._request is None:
            self._request = asyncio.create_task(self._ask())
        try:
            await asyncio.wait({self._request}, timeout=PAUSE_SECONDS + 1)
        except asyncio.CancelledError:
            self._request.cancel()
            raise
        if not self._request.done():
            raise StripeAwayError("no_answer_yet")
        request, self._request = self._request, None
        return request.result()

    async def _ask(self) -> Account:
        await asyncio.sleep(PAUSE_SECONDS)
        return await ask_for_account(self._settings, self._settings.request_timeout_seconds)
