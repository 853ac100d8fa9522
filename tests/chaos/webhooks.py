"""Stripe's webhooks to the workers, through a load balancer as a platform has it: each goes to one of the workers."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.queue.watch.state import WatchKeys
from jobs.watch.events import TYPES
from sandbox.everything import Sandbox
from sandbox.serve import serving
from sandbox.stripe.webhooks import WebhookEndpoint
from tests.chaos.options import Options
from tests.chaos.outside import PREFIX, TWICE, WEBHOOK_SECRET

PATH: Final = "/stripe/webhook"
TIMEOUT: Final = aiohttp.ClientTimeout(total=8)
PASSED_ON: Final = ("Content-Type", "Stripe-Signature")


@dataclass
class WorkerWebhooks:
    """The load balancer. `first` are the events that a webhook brought before a poll did."""

    ports: Sequence[int]
    redis: Redis
    session: aiohttp.ClientSession
    rng: random.Random
    endpoint: WebhookEndpoint | None = None
    accepted: int = 0
    first: set[str] = field(default_factory=set)

    @property
    def longest_delay_seconds(self) -> float:
        """The longest time from an event to its webhook."""
        delays = None if self.endpoint is None else self.endpoint.delay_seconds
        return max(delays or (0.0,))

    def end(self) -> None:
        """Send no more webhooks to the workers."""
        if self.endpoint is not None:
            self.endpoint.url = None

    async def pass_on(self, request: web.Request) -> web.Response:
        """Pass a webhook on to one of the workers, and return the worker's status."""
        body, port = await request.read(), self.rng.choice(self.ports)
        event_id = str((await request.json())["id"])
        try:
            was_noted = await self.redis.zscore(WatchKeys(PREFIX).seen, event_id) is not None
        except (RedisError, OSError):
            was_noted = False
        headers = {name: request.headers[name] for name in PASSED_ON}
        url = f"http://127.0.0.1:{port}{PATH}"
        try:
            async with self.session.post(url, data=body, headers=headers, timeout=TIMEOUT) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return web.Response(status=502)
        if status == 200:
            self.accepted += 1
            if not was_noted:
                self.first.add(event_id)
        return web.Response(status=status)


@asynccontextmanager
async def worker_webhooks(
    options: Options, box: Sandbox, redis: Redis, session: aiohttp.ClientSession, ports: Sequence[int]
) -> AsyncIterator[WorkerWebhooks]:
    """Send Stripe's events to the workers on these ports, if the options ask for it."""
    webhooks = WorkerWebhooks(ports, redis, session, random.Random(f"{options.seed} load balancer"))
    if not options.webhook_share:
        yield webhooks
        return
    app = web.Application()
    app.router.add_post(PATH, webhooks.pass_on)
    async with serving(app) as url:
        endpoint = box.stripe.webhooks.add_endpoint(url + PATH, secret=WEBHOOK_SECRET, types=TYPES)
        endpoint.random = random.Random(f"{options.seed} worker webhooks")
        endpoint.delay_seconds, endpoint.twice = (0.0, options.event_webhook_seconds), TWICE
        webhooks.endpoint = endpoint
        try:
            yield webhooks
        finally:
            webhooks.end()
