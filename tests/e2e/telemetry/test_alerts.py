"""Each alert of docs/alerts.yml fires in promtool on the metrics of a real worker in the alert's state.

`tests/unit/test_alert_rules.py` tests the delays and the thresholds.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from jobs.queue.watch.state import WatchKeys
from jobs.scan.record import ScanRecord
from jobs.scan.report import ScanRun
from sandbox.everything import Sandbox
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX
from tests.support.processes import wait_until, worker
from tests.support.promtool import RULES, firing, metrics_of, needs_promtool
from tests.support.unlimited import unlimited_sandbox
from tests.support.watching import Watched, passes, watched

ALERTS: dict[str, str] = {rule["alert"]: rule["expr"] for rule in RULES}
OLD_SECONDS = 1000.0


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with unlimited_sandbox() as everything:
        for index in range(6):
            linked = everything.stripe.seed_customer(metadata={"autumn_id": f"user_{index}"})
            everything.autumn.seed(f"user_{index}", stripe_id=linked["id"])
        yield everything


@pytest.fixture
async def redis(box: Sandbox) -> AsyncIterator[Redis]:
    async with Redis.from_url(box.environment["REDIS_URL"]) as client:
        yield client


async def send_changes(redis: Redis, *customers: str) -> None:
    for customer in customers:
        await send(redis, new_update(customer_id=customer, changes={"name": "Name"}))


@dataclass(frozen=True)
class Scene:
    """A running worker, its Redis and both services."""

    box: Sandbox
    redis: Redis
    one: Watched


async def goes_away(scene: Scene) -> None:
    scene.one.running.process.kill()
    await scene.one.running.process.wait()


async def loses_redis(scene: Scene) -> None:
    os.kill(scene.box.redis.pid, signal.SIGSTOP)


async def has_a_wrong_key(scene: Scene) -> None:
    scene.box.autumn.key = "am_sk_test_rotated"
    await send_changes(scene.redis, "user_0")


async def has_a_key_of_the_wrong_type(scene: Scene) -> None:
    await scene.redis.delete(f"{PREFIX}:rechecks")
    await scene.redis.set(f"{PREFIX}:rechecks", "wrong")


async def loses_autumn(scene: Scene) -> None:
    scene.box.autumn.switches.add(Fault("503"))
    await send_changes(scene.redis, *(f"user_{index}" for index in range(6)))


async def has_an_old_change(scene: Scene) -> None:
    scene.box.autumn.switches.add(Fault("hang", seconds=3600))
    await scene.redis.delete(INBOX)  # a stream refuses ids older than its newest
    fields: dict[Any, Any] = new_update(customer_id="user_0", changes={"name": "Name"}).fields()
    await scene.redis.xadd(INBOX, fields, id=f"{int((time.time() - OLD_SECONDS) * 1000)}-0")


async def gets_nothing_done(scene: Scene) -> None:
    await scene.redis.set(f"{PREFIX}:last-success", int((time.time() - OLD_SECONDS) * 1000))
    await has_an_old_change(scene)


async def gets_a_poisoned_event(scene: Scene) -> None:
    await scene.redis.xadd(INBOX, {"customer_id": "user_0", "changes": "poison"})


async def meets_limits(scene: Scene) -> None:
    scene.box.stripe.switches.add(Fault("429"))
    await send_changes(scene.redis, "user_0")


async def scanned(redis: Redis, days_ago: int) -> None:
    """Record a successful scheduled scan so many days ago."""
    then_ms = int((time.time() - days_ago * 86_400) * 1000)
    run = ScanRun("before", "done", then_ms, then_ms + 1000, 6, 6)
    await ScanRecord(redis, PREFIX).end(run, fingerprints=b"", serves_schedule=True)


async def has_a_scan_that_fails(scene: Scene) -> None:
    await scanned(scene.redis, days_ago=2)
    record = ScanRecord(scene.redis, PREFIX)

    async def has_failed() -> bool:
        return (await record.history())[0].state == "failed"

    async with worker(scene.box.environment | {"AUTUMN_SECRET_KEY": "am_sk_test_wrong"}, "scanner"):
        await wait_until(has_failed, what="a scan that fails")


async def has_no_scanner(scene: Scene) -> None:
    await scanned(scene.redis, days_ago=2)


async def stands_still(scene: Scene) -> None:
    os.kill(scene.one.running.pid, signal.SIGSTOP)
    await passes(1.5)
    os.kill(scene.one.running.pid, signal.SIGCONT)


async def has_a_late_watch(scene: Scene) -> None:
    """Leave the position behind, with the lease of another process, which does not poll."""
    keys = WatchKeys(PREFIX)
    # The lease comes first, because a poll without it changes nothing.
    await scene.redis.set(keys.lease, "another process")
    position = int(time.time() - OLD_SECONDS)
    await scene.redis.hset(keys.watch, "position", str(position))  # type: ignore[misc]  # one type for both clients


async def has_a_watch_without_permission(scene: Scene) -> None:
    scene.box.stripe.missing_permissions.add("rak_event_read")


STATES: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "CustomerSyncWorkerDown": goes_away,
    "CustomerSyncRedisDown": loses_redis,
    "CustomerSyncBlocked": has_a_key_of_the_wrong_type,
    "CustomerSyncHalted": has_a_wrong_key,
    "CustomerSyncOutage": loses_autumn,
    "CustomerSyncOldestEventTooOld": has_an_old_change,
    "CustomerSyncNoSuccess": gets_nothing_done,
    "CustomerSyncDeadLetters": gets_a_poisoned_event,
    "CustomerSyncThrottled": meets_limits,
    "CustomerSyncEventLoopLag": stands_still,
    "CustomerSyncScanFailed": has_a_scan_that_fails,
    "CustomerSyncScanOverdue": has_no_scanner,
    "CustomerSyncWatchBehind": has_a_late_watch,
    "CustomerSyncWatchOff": has_a_watch_without_permission,
}
TOLD_BY_READYZ = {
    "CustomerSyncRedisDown",
    "CustomerSyncHalted",
    "CustomerSyncOldestEventTooOld",
    "CustomerSyncNoSuccess",
    "CustomerSyncDeadLetters",
    "CustomerSyncScanFailed",
    "CustomerSyncScanOverdue",
    "CustomerSyncWatchBehind",
}
"""Alerts that /readyz does not name at once. An outage must last first; a missing or hanging worker answers nothing."""


@needs_promtool
@pytest.mark.parametrize("alert", ALERTS)
async def test_alert_fires_in_its_state(box: Sandbox, redis: Redis, alert: str) -> None:
    await scanned(redis, days_ago=0)
    # Only a restricted key can lack a permission. The next poll notices it.
    more = {"STRIPE_API_KEY": box.stripe.restricted_key, "STRIPE_EVENTS_POLL_SECONDS": "1"}
    async with watched(box.environment | (more if alert == "CustomerSyncWatchOff" else {})) as one:
        event = await send(redis, new_update(customer_id="user_5", changes={"name": "Name"}))
        outcome = await outcome_of(redis, event, wait_seconds=100)
        assert outcome is not None
        assert outcome.status == "applied"
        quiet = await one.scrape()

        async def nothing_fires() -> bool:
            nonlocal quiet
            before, quiet = quiet, await one.scrape()
            return await asyncio.to_thread(firing, before, quiet) == set()

        # The beats of a worker may be late on a busy machine.
        await wait_until(nothing_fires, what="no alert")
        shown = set(quiet.samples)
        try:
            await STATES[alert](Scene(box, redis, one))

            async def fires() -> bool:
                now = await one.scrape()
                shown.update(now.samples)
                return alert in await asyncio.to_thread(firing, quiet, now)

            await wait_until(fires, what=alert)
            assert metrics_of(ALERTS[alert]) <= shown

            async def is_told() -> bool:
                status, body = await one.readiness()
                return status == 503 and alert in [reason["alert"] for reason in body["reasons"]]

            if alert in TOLD_BY_READYZ:
                await wait_until(is_told, what=f"{alert} on /readyz")
        finally:
            os.kill(box.redis.pid, signal.SIGCONT)
