"""The resources of a worker process from start to end: connections, deps, and the loops beside the jobs."""

import asyncio
import hashlib
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog
from arq.connections import ArqRedis
from redis.asyncio import Redis

from config.logs import configure_logs
from config.settings import Settings
from jobs.autumn.client import AutumnClient, open_autumn
from jobs.observer import NOBODY, Observer
from jobs.plan.policy import Policy
from jobs.queue.mailbox import Mailbox
from jobs.queue.watch.links import Links
from jobs.queue.watch.queue import WatchQueue
from jobs.rate_limit import RENEW_SECONDS, Limits, Rates
from jobs.scan.record import ScanRecord
from jobs.scan.run import ScanDeps
from jobs.stripe.client import StripeGateway, Throttle, open_stripe
from jobs.stripe.events import EventAnswer
from jobs.sync.deps import Deps
from jobs.watch.act import Actor
from jobs.watch.poller import TICK_SECONDS, Poller
from worker.loops.dispatch import Dispatcher
from worker.loops.heartbeat import Heartbeat
from worker.loops.intake import Intake
from worker.loops.owner import OwnerLoop, StripeAwayError
from worker.loops.runner import Loops
from worker.loops.scanner import Scanner
from worker.loops.watchdog import CANARY_SECONDS, Watchdog
from worker.notifier import CHECK_SECONDS, Notifier
from worker.status.history import History, Sampler
from worker.status.shared_state import SharedStateReader
from worker.telemetry.metrics import Metrics
from worker.telemetry.traces import tracing

log = structlog.get_logger(__name__)

RENEWALS_PER_LEASE = 3


def policy_of(settings: Settings) -> Policy:
    """Return the operator's settings as the policy of the jobs."""
    return Policy(
        when_unlinked=settings.stripe_when_unlinked,
        when_gone=settings.stripe_when_gone,
        when_unlinked_elsewhere=settings.stripe_when_unlinked_elsewhere,
        when_missing=settings.autumn_when_missing,
        metadata_keys=settings.stripe_metadata_keys,
        receipts=settings.receipts,
        recover_seconds=settings.receipts_recover_hours * 3600,
    )


def rates_of(settings: Settings) -> Rates:
    """Return the rates, which hold over all processes."""
    return Rates(
        autumn_updates=settings.autumn_updates_per_second,
        autumn_max_in_flight=settings.autumn_max_in_flight,
        stripe_requests=settings.stripe_rate,
        stripe_endpoint_requests=settings.stripe_endpoint_requests_per_second,
    )


@asynccontextmanager
async def open_services(
    settings: Settings, throttle: Throttle, observer: Observer = NOBODY
) -> AsyncIterator[tuple[AutumnClient, StripeGateway]]:
    """Open the clients of both services, and close them at the end. `throttle` gives the slots for Stripe."""
    async with (
        open_autumn(
            base_url=settings.autumn_api_url,
            secret_key=settings.autumn_secret_key.get_secret_value(),
            api_version=settings.autumn_api_version,
            timeout_seconds=settings.request_timeout_seconds,
            observer=observer,
        ) as autumn,
        _open_stripe(settings, throttle, observer) as stripe,
    ):
        yield autumn, stripe


def _open_stripe(
    settings: Settings, throttle: Throttle, observer: Observer
) -> AbstractAsyncContextManager[StripeGateway]:
    return open_stripe(
        api_key=settings.stripe_api_key.get_secret_value(),
        base_url=settings.stripe_api_base,
        throttle=throttle,
        timeout_seconds=settings.request_timeout_seconds,
        observer=observer,
    )


@asynccontextmanager
async def open_resources(settings: Settings, redis: Redis, observer: Observer = NOBODY) -> AsyncIterator[Deps]:
    """Open the dependencies of the jobs on an open Redis, and close them at the end."""
    limits = Limits(redis, rates_of(settings), prefix=settings.key_prefix, observer=observer)
    async with open_services(settings, limits.stripe, observer) as (autumn, stripe):
        yield Deps(
            mailbox=Mailbox(redis, inbox=settings.inbox_stream, prefix=settings.key_prefix),
            autumn=autumn,
            stripe=stripe,
            limits=limits,
            mode=settings.mode,
            policy=policy_of(settings),
            retry_for_seconds=settings.retry_for_seconds,
            recheck_after_seconds=settings.echo_check_seconds,
            link_trust_seconds=settings.link_trust_seconds,
            random=random.Random(),
            now=time.time,
            observer=observer,
        )


@asynccontextmanager
async def run_health_loops(
    process_type: str,
    settings: Settings,
    redis: ArqRedis,
    metrics: Metrics,
    deps: Deps | None = None,
    act: Callable[[EventAnswer], Awaitable[None]] | None = None,
    may_add: asyncio.Event | None = None,
) -> AsyncIterator[Loops]:
    """Run the health loops of a process for the length of the block, and serve PORT if it is set.

    Yields `Loops`, which starts the process's other loops, so that health shows those that keep failing. The operator's
    page is served only with `deps`, because it fetches customers. Stripe's webhooks are received only with `act`,
    which does what an event leads to, and with secrets. Events of apps are received only with `may_add`, after it
    is set.
    """
    heartbeat = Heartbeat(metrics.lagged)
    watchdog = Watchdog(redis, settings.key_prefix, heartbeat)
    metrics.runs_as(process_type, settings.mode)
    loops = Loops(redis, settings.key_prefix)
    shared = SharedStateReader(
        redis,
        prefix=settings.key_prefix,
        inbox=settings.inbox_stream,
        scan_schedule=settings.scan_schedule,
        failing=loops.failing,
    )
    sampler = Sampler(History(redis, settings.key_prefix), shared.read_cached, metrics.throttled_calls)
    tasks = [
        loops.start("history", sampler.note_minute),
        loops.start("heartbeat", heartbeat.beat),
        loops.start("watchdog", watchdog.write_canary, CANARY_SECONDS),
    ]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_end, tasks)
        if settings.port is not None:
            # A worker without a port does not import the templates and the web server, a tenth of all its imports.
            from worker.web.api.events import open_intake  # noqa: PLC0415 - see above
            from worker.web.pages import pages_of  # noqa: PLC0415 - see above
            from worker.web.server import make_app, serving  # noqa: PLC0415 - see above
            from worker.web.webhooks import webhooks_of  # noqa: PLC0415 - see above

            pages = [] if deps is None else [pages_of(settings, redis, deps, shared.read_cached)]
            hooks = webhooks_of(settings.stripe_webhook_secrets, act)
            intake = [] if may_add is None else await stack.enter_async_context(open_intake(settings, may_add))
            app = make_app(heartbeat, shared.read_cached, metrics, add_more=[*pages, *hooks, *intake])
            await stack.enter_async_context(serving(app, settings.port))
        yield loops


@asynccontextmanager
async def run_worker(
    settings: Settings, redis: ArqRedis, metrics: Metrics, *, owner_follows: bool = False
) -> AsyncIterator[tuple[Deps, Dispatcher]]:
    """Open the deps and run the loops of a worker: intake, dispatch, and the renewal of leases and slots.

    With `owner_follows`, no loop that touches events starts before Stripe returns its account (worker.loops.owner).
    """
    configure_logs(settings.log_format, settings.log_level)
    is_owner = asyncio.Event()

    async def act(event: EventAnswer) -> None:
        await is_owner.wait()
        await poller.actor.receive(event)

    async with (
        tracing(metrics) as observer,
        open_resources(settings, redis, observer) as deps,
        open_watch(settings, redis, deps) as poller,
        run_health_loops("worker", settings, redis, metrics, deps, act, is_owner) as loops,
    ):
        mailbox = deps.mailbox
        dispatcher = Dispatcher(mailbox, redis)
        tasks: list[asyncio.Task[None]] = []
        try:
            if owner_follows:
                tasks.append(await _owner_compared(settings, redis, loops))
            is_owner.set()
            tasks += [
                loops.start("intake", Intake(mailbox, dispatcher.wake).take_in),
                loops.start("dispatch", dispatcher.dispatch_due),
                loops.start("renew", mailbox.renew, mailbox.lease_seconds / RENEWALS_PER_LEASE),
                loops.start("slots", deps.limits.renew, RENEW_SECONDS),
            ]
            # Without polls, the tick still requests the deferred reconciles of webhooks.
            tasks.append(loops.start("watch", poller.tick, TICK_SECONDS))
            if settings.notify_url is not None:
                tasks.append(loops.start("notifications", Notifier(settings, redis).tick, CHECK_SECONDS))
            log.info("process_started", mode=deps.mode)
            yield deps, dispatcher
        finally:
            await _end(tasks)
            log.info("process_stopped")


@asynccontextmanager
async def open_scan(settings: Settings, redis: Redis, observer: Observer = NOBODY) -> AsyncIterator[ScanDeps]:
    """Open the dependencies of a scan on an open Redis, and close them at the end."""
    limits = _low_priority_limits(settings, redis, observer)
    async with open_services(settings, limits.stripe, observer) as (autumn, stripe):
        yield ScanDeps(
            redis=redis,
            record=ScanRecord(redis, settings.key_prefix),
            autumn=autumn,
            stripe=stripe,
            limits=limits,
            mode=settings.mode,
            policy=policy_of(settings),
            inbox=settings.inbox_stream,
            prefix=settings.key_prefix,
            spool=spool_of(settings),
            account=_digest(
                settings.autumn_api_url,
                settings.autumn_secret_key.get_secret_value(),
                settings.stripe_api_base,
                settings.stripe_api_key.get_secret_value(),
            ),
            max_changed=settings.scan_max_changed,
            random=random.Random(),
            now=time.time,
        )


def _low_priority_limits(settings: Settings, redis: Redis, observer: Observer) -> Limits:
    # A share of 1 limits nothing, but would cost a second round trip for each page.
    share = settings.scan_share if settings.scan_share < 1 else None
    return Limits(redis, rates_of(settings), prefix=settings.key_prefix, share=share, observer=observer)


@asynccontextmanager
async def open_watch(settings: Settings, redis: Redis, deps: Deps) -> AsyncIterator[Poller]:
    """Open the poller of Stripe's events on an open Redis, and close its client at the end. Its actor takes webhooks.

    Its requests to Stripe have the low priority of a scan, so it has its own client of Stripe.
    """
    limits = _low_priority_limits(settings, redis, deps.observer)
    async with _open_stripe(settings, limits.stripe, deps.observer) as stripe:
        queue = WatchQueue(
            redis, inbox=settings.inbox_stream, prefix=settings.key_prefix, poll_seconds=settings.events_poll_seconds
        )
        links = Links(redis, settings.key_prefix)
        actor = Actor(queue, links, deps.autumn, deps.policy, deps.mode, deps.now)
        yield Poller(queue, stripe, actor, ScanRecord(redis, settings.key_prefix))


def spool_of(settings: Settings) -> Path:
    """Return the spool file, which is the same for each scan of this deployment, so that a scan can be resumed."""
    folder = settings.scan_spool or Path(tempfile.gettempdir()) / f"autumn-stripe-sync-{os.getuid()}"
    return Path(folder) / f"scan-{_digest(settings.redis_url.get_secret_value(), settings.key_prefix)[:16]}.sqlite3"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@asynccontextmanager
async def scanning_on_schedule(
    settings: Settings, redis: ArqRedis, metrics: Metrics, *, owner_follows: bool = False
) -> AsyncIterator[Scanner]:
    """Run a scanner and its loops. A scan that still runs at the end is interrupted, and the next process resumes it.

    `owner_follows` is the same as for `run_worker`.
    """
    configure_logs(settings.log_format, settings.log_level)
    async with (
        open_scan(settings, redis, metrics) as deps,
        run_health_loops("scanner", settings, redis, metrics) as loops,
    ):
        scanner = Scanner(deps, settings.scan_schedule)
        tasks: list[asyncio.Task[None]] = []
        try:
            if owner_follows:
                tasks.append(await _owner_compared(settings, redis, loops))
            tasks.append(loops.start("scan", scanner.scan_if_due))
            log.info("process_started", mode=deps.mode, schedule=settings.scan_schedule)
            yield scanner
        finally:
            await _end(tasks)
            log.info("process_stopped")


async def _owner_compared(settings: Settings, redis: Redis, loops: Loops) -> asyncio.Task[None]:
    """Wait until this deployment was compared with the owner of its keys. Return the loop that compared it."""
    owner = OwnerLoop(settings, redis)
    task = loops.start("owner", owner.compare, failing=StripeAwayError("no_answer_yet"))
    try:
        await owner.compared.wait()
    except BaseException:
        await _end([task])
        raise
    return task


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel the tasks until all have ended, because code may mistake a cancellation for its own time-out."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1.0)
