"""POST /stripe/webhook: events that Stripe sends, so that the watch sees them within a second.

The signature is the access check. The poller stays, so an event that is lost here is read from the list. No line of the
log and no response contains a value of an event.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import structlog
from aiohttp import web
from pydantic import SecretStr
from redis.exceptions import RedisError

from jobs.errors import describe
from jobs.stripe.events import EventAnswer
from jobs.stripe.webhooks import WebhookError, verified_event
from worker.web.server import BODY_LIMITS

log = structlog.get_logger(__name__)

PATH: Final = "/stripe/webhook"
EVENT_BYTES: Final = 512 * 1024
"""The largest event that is read. Stripe's are a few kilobytes; one with full metadata stays below 100."""
ACT_SECONDS: Final = 15.0
"""The longest time until an event is stored. Stripe sends it again if there is no answer."""

LOG_AGAIN_SECONDS: Final = 600.0

Act = Callable[[EventAnswer], Awaitable[None]]
"""Does what an event leads to. It returns after Redis has it. Raises RedisError."""


def add_webhooks(app: web.Application, secrets: Sequence[SecretStr], act: Act) -> None:
    """Add the route to the application, with its own limit of a body."""
    app[BODY_LIMITS][PATH] = EVENT_BYTES
    app.add_routes([web.post(PATH, Webhooks([secret.get_secret_value() for secret in secrets], act).receive)])


def webhooks_of(secrets: Sequence[SecretStr], act: Act | None) -> list[Callable[[web.Application], None]]:
    """Return a function that adds the route to an application; none without secrets or without `act`."""
    return [partial(add_webhooks, secrets=secrets, act=act)] if secrets and act is not None else []


class Webhooks:
    """The handler of the route."""

    def __init__(self, secrets: Sequence[str], act: Act) -> None:
        """Keep both; nothing is opened."""
        self._secrets = secrets
        self._act = act
        self._logged_at: dict[str, float] = {}

    async def receive(self, request: web.Request) -> web.Response:
        """Check the signature of an event, and answer 200 after Redis has it. Stripe repeats after any other answer."""
        signature = request.headers.get("Stripe-Signature", "")
        try:
            event = verified_event(await request.read(), signature, self._secrets, now=time.time())
        except WebhookError as error:
            self._log_once(str(error))
            return web.Response(status=400, text=f"{error}\n")
        try:
            async with asyncio.timeout(ACT_SECONDS):
                await self._act(event)
        except (RedisError, TimeoutError, OSError):
            return web.Response(status=503, text="The event could not be stored. Send it again.\n")
        except Exception as error:
            log.error("webhook_failed", cause=describe(error))
            return web.Response(status=500, text="The event could not be processed. Send it again.\n")
        return web.Response(text="The event is stored.\n")

    def _log_once(self, reason: str) -> None:
        """Log each reason once in ten minutes, because anybody can send requests."""
        now = time.monotonic()
        if now - self._logged_at.get(reason, -LOG_AGAIN_SECONDS) >= LOG_AGAIN_SECONDS:
            self._logged_at[reason] = now
            log.warning("webhook_refused", reason=reason)
