"""What a worker process holds open from its start to its end: connections, doors, and the loops beside the jobs."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog
from arq.connections import ArqRedis
from redis.asyncio import Redis

from config.logs import configure_logs
from config.settings import Settings
from jobs.autumn import open_autumn
from jobs.mailbox import Mailbox
from jobs.policy import Policy
from jobs.rate_limit import RENEW_SECONDS, Limits, Rates
from jobs.resources import Resources
from jobs.stripe_gateway import open_stripe
from worker.intake import take_in
from worker.supervise import Supervisor
from worker.watchdog import CANARY_SECONDS, Watchdog, check_redis

log = structlog.get_logger(__name__)

PAUSE_AFTER_ERROR_SECONDS = 1.0
RENEWALS_PER_LEASE = 3


def policy_of(settings: Settings) -> Policy:
    """What the operator has decided, as the jobs take it."""
    return Policy(
        when_unlinked=settings.stripe_when_unlinked,
        when_gone=settings.stripe_when_gone,
        when_missing=settings.autumn_when_missing,
        metadata_keys=settings.stripe_metadata_keys,
        receipts=settings.receipts,
        recover_seconds=settings.receipts_recover_hours * 3600,
    )


@asynccontextmanager
async def open_resources(settings: Settings, redis: Redis) -> AsyncIterator[Resources]:
    """Open everything a job is handed, over an open Redis; all of it is closed at the end."""
    rates = Rates(
        autumn_updates=settings.autumn_updates_per_second,
        autumn_max_in_flight=settings.autumn_max_in_flight,
        stripe_requests=settings.stripe_rate,
        stripe_endpoint_requests=settings.stripe_endpoint_requests_per_second,
    )
    limits = Limits(redis, rates, prefix=settings.key_prefix)
    async with AsyncExitStack() as stack:
        autumn = await stack.enter_async_context(
            open_autumn(
                base_url=settings.autumn_api_url,
                secret_key=settings.autumn_secret_key.get_secret_value(),
                api_version=settings.autumn_api_version,
                timeout_seconds=settings.request_timeout_seconds,
            )
        )
        stripe = await stack.enter_async_context(
            open_stripe(
                api_key=settings.stripe_api_key.get_secret_value(),
                base_url=settings.stripe_api_base,
                turn=limits.stripe,
                timeout_seconds=settings.request_timeout_seconds,
            )
        )
        yield Resources(
            mailbox=Mailbox(redis, inbox=settings.inbox_stream, prefix=settings.key_prefix),
            autumn=autumn,
            stripe=stripe,
            limits=limits,
            mode=settings.mode,
            policy=policy_of(settings),
            retry_for_seconds=settings.retry_for_seconds,
            look_after_seconds=settings.echo_check_seconds,
            random=random.Random(),
            now=time.time,
        )


@asynccontextmanager
async def working(settings: Settings, redis: ArqRedis) -> AsyncIterator[tuple[Resources, Supervisor]]:
    """Resources with the loops of a worker running beside them: taking in, calling, renewing leases."""
    configure_logs(settings.log_format, settings.log_level)
    for risk in await check_redis(redis):
        log.warning("redis_at_risk", risk=risk)
    async with open_resources(settings, redis) as resources:
        mailbox = resources.mailbox
        supervisor = Supervisor(mailbox, redis)
        loops = [
            asyncio.create_task(_for_ever("intake", lambda: take_in(mailbox, supervisor.look_now))),
            asyncio.create_task(_for_ever("supervise", supervisor.call_who_is_due)),
            asyncio.create_task(_for_ever("renew", mailbox.renew, mailbox.lease_seconds / RENEWALS_PER_LEASE)),
            asyncio.create_task(_for_ever("places", resources.limits.renew, RENEW_SECONDS)),
            asyncio.create_task(_for_ever("watchdog", Watchdog(redis, settings.key_prefix).look, CANARY_SECONDS)),
        ]
        log.info("started", mode=resources.mode)
        try:
            yield resources, supervisor
        finally:
            await _end(loops)
            log.info("stopped")


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: a cancellation may meet code that takes it for its own time-out."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1.0)


async def _for_ever(name: str, turn: Callable[[], Awaitable[Any]], pause_seconds: float = 0.0) -> None:
    """Take turns until cancelled, with a pause after each. A turn that fails is logged and changes nothing else."""
    while True:
        try:
            await turn()
            await asyncio.sleep(pause_seconds)
        except Exception as error:
            log.error("loop_failed", loop=name, error=type(error).__name__)
            await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)
