"""The check that a process uses the Stripe account which owns its keys in Redis.

It runs when a process starts with a new Stripe key while Stripe does not answer. Until the account is known, the
process moves no event and runs no job: with another account's key it would write to the wrong customers. Waiting loses
nothing, because no customer can be synced while Stripe does not answer. A mismatch ends the process.
"""

import asyncio
import os
from typing import Final

import structlog
from redis.asyncio import Redis

from config.settings import Settings
from worker.ownership import Account, ForeignDeploymentError, compare_with, fetch_account, warn_if_unknown

PAUSE_SECONDS: Final = 4.0
"""The pause between two requests. It is short, so that the note of a failing loop is renewed before it expires."""

log = structlog.get_logger(__name__)


class StripeAwayError(Exception):
    """Stripe did not return its account. The text is an error code."""


class OwnerLoop:
    """Requests the account until Stripe returns it, compares it once, and sets `compared`."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        """Do no I/O."""
        self._settings = settings
        self._redis = redis
        self._request: asyncio.Task[Account] | None = None
        self.compared = asyncio.Event()

    async def compare(self) -> None:
        """Wait a few seconds for the account and compare it. Once it is compared, only wait.

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
            # An exception would run cleanup that can block. Nothing needs it: all state is in Redis.
            os._exit(os.EX_CONFIG)
        if not is_compared:
            raise StripeAwayError(account.why_not)
        if account.digest:
            log.info("account_verified")
        warn_if_unknown(account)
        self.compared.set()

    async def _answer(self) -> Account:
        """Return Stripe's answer. Raises StripeAwayError after a few seconds; the next call awaits the same request."""
        if self._request is None:
            self._request = asyncio.create_task(self._fetch_account())
        try:
            await asyncio.wait({self._request}, timeout=PAUSE_SECONDS + 1)
        except asyncio.CancelledError:
            self._request.cancel()
            raise
        if not self._request.done():
            raise StripeAwayError("no_answer_yet")
        request, self._request = self._request, None
        return request.result()

    async def _fetch_account(self) -> Account:
        await asyncio.sleep(PAUSE_SECONDS)
        return await fetch_account(self._settings, self._settings.request_timeout_seconds)
