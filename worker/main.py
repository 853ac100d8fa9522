"""The process types that arq starts: `arq worker.main.WorkerSettings` and `arq worker.main.ScanWorkerSettings`.

A settings class is made when arq asks for it, so importing this module reads no environment and opens nothing.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, NoReturn

import structlog
import uvloop
from arq import Retry, cron, func
from arq.connections import ArqRedis
from arq.worker import Function

from config.loading import SettingsError, load_scan_settings, load_settings
from config.logs import configure_logs
from config.settings import Settings
from jobs.errors import describe
from jobs.sync.job import sync_customer as sync
from worker.lifespan import run_worker, scanning_on_schedule
from worker.loops.dispatch import SYNC_JOB
from worker.loops.watchdog import RedisUnfitError
from worker.ownership import ForeignDeploymentError
from worker.redis_client import PatientRedis, open_redis, queue_name, scan_queue_name, to_json
from worker.startup import RedisAwayError, prepare
from worker.telemetry.metrics import Metrics
from worker.wakeups import WakingRedis

JOB_SECONDS = 45
"""Longer than a sync. arq shows the jobs of a killed worker as running for this time and 10 s more."""
QUEUE_READ_LIMIT = 1000
"""The wake-ups that arq reads from its queue: more than killed workers leave there, or it would not see new ones."""
MAX_JOBS = 24
"""High enough to limit no wake-up. `worker.loops.dispatch` limits the customers that all workers sync at a time."""
POLL_SECONDS = 0.005
"""The shortest time of one turn of arq's loop. A turn waits for jobs (worker.wakeups), unless arq has room for none."""
SCAN_POLL_SECONDS = 1.0
"""The pause between two polls of the scanners' queue, which only holds a check each minute."""
WAIT_FOR_JOBS_SECONDS = 18
"""Platforms kill a process 30 s after SIGTERM, some sooner. Another worker syncs what is left, when the lease ends."""
EX_UNAVAILABLE, EX_CONFIG = 69, 78
RETRY_ARQ_SECONDS = 5

log = structlog.get_logger(__name__)


async def sync_customer(ctx: dict[str, Any], *customer_ids: str) -> None:
    """Sync some customers. The events are in their mailboxes, so this job may be lost, late or repeated.

    The job leaves arq's queue at its start, so no worker starts it again. One customer's failure does not stop the
    others, and each failure is logged.
    """
    redis: ArqRedis = ctx["redis"]
    steps = [
        redis.zrem(redis.default_queue_name, ctx["job_id"]),
        *(sync(ctx["deps"], one) for one in customer_ids),
    ]
    try:
        ends = await asyncio.gather(*steps, return_exceptions=True)
        if failures := [end for end in ends if isinstance(end, Exception)]:
            raise ExceptionGroup("a wake-up", failures)
    finally:
        ctx["dispatcher"].wake()


async def customer_updated(ctx: dict[str, Any], *unnamed: Any, **event: Any) -> None:
    """Add an event to the inbox, for apps that use arq. The arguments are its fields; `changes` may be an object.

    An invalid event becomes a dead letter, as with XADD. arq may run a job twice, so the job's id replaces a missing
    `event_id`. Raises Retry for any failure, because arq drops a job that raises anything else.
    """
    if unnamed:
        event["unnamed arguments"] = list(unnamed)
    given = {name: value for name, value in event.items() if value is not None}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    texts.setdefault("event_id", f"arq-{ctx['job_id']}")
    # Half a surrogate pair becomes invalid UTF-8, so the event becomes a dead letter that names the field.
    fields = {name: text.encode("utf-8", "surrogatepass") for name, text in texts.items()}
    try:
        await ctx["redis"].xadd(ctx["settings"].inbox_stream, dict(fields.items()))
    except Exception as error:
        log.warning("event_add_failed", after_seconds=RETRY_ARQ_SECONDS, cause=describe(error))
        raise Retry(defer=RETRY_ARQ_SECONDS) from error


async def _start(ctx: dict[str, Any]) -> None:
    opened = await ctx["stack"].enter_async_context(
        run_worker(ctx["settings"], ctx["redis"], ctx["metrics"], owner_follows=ctx["owner_follows"])
    )
    ctx["deps"], ctx["dispatcher"] = opened


async def _stop(ctx: dict[str, Any]) -> None:
    await ctx["stack"].aclose()


def worker_settings(settings: Settings, owner_follows: bool = False) -> type:
    """Return the settings class for arq. `owner_follows` is the same as for `lifespan.run_worker`."""
    functions: list[Function] = [
        func(sync_customer, name=SYNC_JOB, timeout=JOB_SECONDS, keep_result=0, max_tries=1_000_000),
        func(customer_updated, name="customer_updated", timeout=JOB_SECONDS, keep_result=0, max_tries=1_000_000),
    ]
    attributes = {
        **_of_both(settings, owner_follows, WakingRedis),
        "functions": functions,
        "queue_name": queue_name(settings.key_prefix),
        "on_startup": _start,
        "max_jobs": MAX_JOBS,
        "poll_delay": POLL_SECONDS,
        "queue_read_limit": QUEUE_READ_LIMIT,
        "job_completion_wait": WAIT_FOR_JOBS_SECONDS,
    }
    return type("WorkerSettings", (), attributes)


async def request_scan_check(ctx: dict[str, Any]) -> None:
    """Ask the scanner to check the schedule. arq runs this each minute in one of all scanners.

    The scan itself runs outside of arq, which would cut it short.
    """
    ctx["scanner"].request_check()


async def _start_scanner(ctx: dict[str, Any]) -> None:
    ctx["scanner"] = await ctx["stack"].enter_async_context(
        scanning_on_schedule(ctx["settings"], ctx["redis"], ctx["metrics"], owner_follows=ctx["owner_follows"])
    )


def scan_worker_settings(settings: Settings, owner_follows: bool = False) -> type:
    """Return the settings class for arq of a scanner, with its own queue. See `worker_settings`."""
    # arq makes the job's id, which must be unique in this Redis, from this name and the minute.
    name = f"{settings.key_prefix}:request_scan_check"
    attributes = {
        **_of_both(settings, owner_follows, PatientRedis),
        "cron_jobs": [cron(request_scan_check, name=name, second=0, run_at_startup=True, timeout=JOB_SECONDS)],
        "queue_name": scan_queue_name(settings.key_prefix),
        "poll_delay": SCAN_POLL_SECONDS,
        "on_startup": _start_scanner,
    }
    return type("ScanWorkerSettings", (), attributes)


def _of_both(settings: Settings, owner_follows: bool, client: type[PatientRedis]) -> dict[str, Any]:
    """Return the attributes that both process types give to arq."""
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    metrics = Metrics()
    return {
        "redis_pool": open_redis(
            settings.redis_url.get_secret_value(),
            settings.key_prefix,
            settings.redis_certificate,
            client=client,
            answered=metrics.redis_answered,
        ),
        # arq calls on_shutdown even if it never called on_startup.
        "ctx": {
            "settings": settings,
            "metrics": metrics,
            "stack": AsyncExitStack(),
            "owner_follows": owner_follows,
        },
        "on_shutdown": _stop,
        "job_serializer": to_json,
        "job_deserializer": json.loads,
        "log_results": False,
    }


_PROCESS_TYPES: Final[Mapping[str, tuple[Callable[[], Settings], Callable[[Settings, bool], type]]]] = {
    "WorkerSettings": (load_settings, worker_settings),
    "ScanWorkerSettings": (load_scan_settings, scan_worker_settings),
}


def __getattr__(name: str) -> type:
    """Return a settings class when arq asks for it, after the checks of Redis.

    Exits with an error text: with EX_CONFIG if a person must fix a setting, with EX_UNAVAILABLE if Redis is away too
    long.
    """
    if name not in _PROCESS_TYPES:
        raise AttributeError(name)
    load, made_of = _PROCESS_TYPES[name]
    _stop_on_other_signals()
    try:
        settings = load()
        configure_logs(settings.log_format, settings.log_level)
        prepared = asyncio.run(prepare(settings))
        for risk in prepared.risks:
            log.warning("redis_risk_found", risk=risk)
        # arq adds its own handler for its start, so with ours each of its lines would be logged twice.
        logging.getLogger().handlers.clear()
    except (SettingsError, RedisUnfitError, ForeignDeploymentError) as error:
        _end(EX_CONFIG, f"The worker cannot start:\n{error}\n")
    except RedisAwayError as error:
        _end(EX_UNAVAILABLE, f"{error}\n")
    except asyncio.CancelledError:
        _end(0)
    return made_of(settings, prepared.owner_follows)


def _stop_on_other_signals() -> None:
    """Let SIGHUP and SIGQUIT stop the process like SIGTERM, which arq handles. A process under nohup ignores SIGHUP."""
    for number in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda *_: os.kill(os.getpid(), signal.SIGTERM))


def _end(code: int, text: str = "") -> NoReturn:
    sys.stderr.write(text)
    raise SystemExit(code) from None
