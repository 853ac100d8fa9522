"""The health endpoints of a worker: liveness, readiness and its causes, in all kinds of trouble."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import psutil
import pytest
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from sandbox.everything import Sandbox
from sandbox.faults import Fault
from tests.conftest import INBOX, PREFIX
from tests.support.processes import command_of, hanging, its_disk_fails, its_disk_works, wait_until, worker
from tests.support.unlimited import unlimited_sandbox
from tests.support.watching import PROBE_SECONDS, Watched, watched
from worker.status.health import OUTAGE_SECONDS
from worker.status.shared_state import READ_SECONDS
from worker.web.server import FILES_OF_CONNECTIONS

FILES = 256
"""A limit of file descriptors, the default of macOS."""
FORM_WITHOUT_ITS_END = (
    b"POST /sign-in HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\ntoken"
)


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with unlimited_sandbox() as everything:
        everything.autumn.seed("ann_secret")
        yield everything


@pytest.fixture
async def redis(box: Sandbox) -> AsyncIterator[Redis]:
    async with Redis.from_url(box.environment["REDIS_URL"]) as client:
        yield client


async def send_change(redis: Redis) -> str:
    return await send(redis, new_update(customer_id="ann_secret", changes={"name": "Ann Secretname"}))


async def is_applied(redis: Redis, event: str) -> bool:
    outcome = await outcome_of(redis, event, wait_seconds=100)
    return outcome is not None and outcome.status == "applied"


async def is_ready(one: Watched) -> bool:
    status, _ = await one.get("/readyz")
    return status == 200


async def alerts_of(one: Watched) -> list[str]:
    """Return the alerts that /readyz names."""
    _, body = await one.full_readiness()
    return [reason["alert"] for reason in body["reasons"]]


async def test_busy_worker_is_alive_ready_and_exposes_metrics(box: Sandbox, redis: Redis) -> None:
    async with watched(box.environment) as one:
        assert await is_applied(redis, await send_change(redis))

        async def is_shown() -> bool:
            return (await one.full_readiness())[1]["last_success_age_seconds"] is not None

        await wait_until(is_shown)
        status, body = await one.full_readiness()
        assert (status, body["ready"], body["reasons"]) == (200, True, [])
        assert (body["inbox_events"], body["mailbox_events"], body["oldest_event_age_seconds"]) == (0, 0, None)
        assert (body["breaker"], body["dead_letters"]) == (None, 0)


async def test_nothing_listens_without_a_port(box: Sandbox) -> None:
    async with worker(box.environment) as running:
        connections = psutil.Process(running.pid).net_connections()
        assert [each for each in connections if each.status == psutil.CONN_LISTEN] == []


async def test_platforms_reach_the_port_from_outside_the_machine(box: Sandbox) -> None:
    async with watched(box.environment) as one:
        connections = psutil.Process(one.running.pid).net_connections()
        (listening,) = [each for each in connections if each.status == psutil.CONN_LISTEN]
        assert listening.laddr.ip == "0.0.0.0"  # noqa: S104 - the fact


async def test_every_endpoint_answers_while_redis_hangs(box: Sandbox) -> None:
    async with watched(box.environment) as one:
        assert READ_SECONDS < PROBE_SECONDS, "a probe would time out first"
        with hanging(box.redis):
            await wait_until(lambda: _names_alert(one, "CustomerSyncRedisDown"))
            assert (await one.answer("/healthz"))[0] == 200
            assert (await one.readiness())[0] == 503
            shown = (await one.scrape()).samples
            assert list(shown["customer_sync_worker_redis_up"].values()) == [0.0]
            assert "customer_sync_inbox_events" not in shown
        await wait_until(lambda: is_ready(one))


async def test_process_survives_lost_redis_and_becomes_ready_again(box: Sandbox) -> None:
    async with watched(box.environment) as one:
        box.redis.stop()
        await wait_until(lambda: _names_alert(one, "CustomerSyncRedisDown"))
        assert (await one.answer("/healthz"))[0] == 200
        box.redis.start()
        await wait_until(lambda: is_ready(one))


async def test_redis_refusing_writes_is_reported_while_idle(box: Sandbox, redis: Redis) -> None:
    async with watched(box.environment) as one:
        assert await alerts_of(one) == []
        await its_disk_fails(redis)
        await wait_until(lambda: _names_alert(one, "CustomerSyncRedisDown"))

        async def is_read_but_down() -> bool:
            shown = (await one.scrape()).samples
            is_down = list(shown["customer_sync_worker_redis_up"].values()) == [0.0]
            return is_down and "customer_sync_inbox_events" in shown

        await wait_until(is_read_but_down)
        await its_disk_works(redis)
        await wait_until(lambda: is_ready(one))


async def _names_alert(one: Watched, alert: str) -> bool:
    _, text = await one.get("/readyz")
    return alert in text


async def test_process_whose_event_loop_hangs_answers_no_probe_in_time(box: Sandbox) -> None:
    async with watched(box.environment) as one:
        os.kill(one.running.pid, signal.SIGSTOP)
        try:
            assert not await one.is_alive()
        finally:
            os.kill(one.running.pid, signal.SIGCONT)
        await wait_until(one.is_alive)


async def test_second_worker_takes_the_port_when_it_is_free(box: Sandbox, redis: Redis) -> None:
    async with watched(box.environment) as first:
        port = first.url.rpartition(":")[2]
        async with worker({**box.environment, "PORT": port}) as second:
            await second.says("port_bind_failed")
            first.running.process.send_signal(signal.SIGTERM)
            assert await first.running.process.wait() == 0
            assert await is_applied(redis, await send_change(redis))
            await wait_until(first.is_alive, what="the second worker on the port of the first")
            assert sum("port_bind_failed" in line for line in second.log) == 1


async def test_two_workers_agree_on_common_metrics(box: Sandbox, redis: Redis) -> None:
    async with watched(box.environment) as one, watched(box.environment) as other:
        assert await is_applied(redis, await send_change(redis))

        async def agree() -> bool:
            first, second = (await one.scrape()).samples, (await other.scrape()).samples
            if not all("customer_sync_events_total" in each for each in (first, second)):
                return False
            common = [
                name
                for name in first
                # An age grows between two scrapes.
                if name.startswith("customer_sync_") and "_worker_" not in name and not name.endswith("_age_seconds")
            ]
            assert len(common) > 10
            applied = {1.0, 0.0}
            return applied == set(first["customer_sync_events_total"].values()) and all(
                first[name] == second.get(name) for name in common
            )

        await wait_until(agree)
        syncs = [
            next(iter((await each.scrape()).samples["customer_sync_worker_sync_seconds_count"].values()))
            for each in (one, other)
        ]
        assert sorted(syncs) == [0.0, 1.0], "each counts its own"


async def test_outage_is_reported_after_it_has_lasted(box: Sandbox, redis: Redis) -> None:
    for index in range(6):
        box.autumn.seed(f"user_{index}")
    async with watched(box.environment) as one:
        box.autumn.switches.add(Fault("503"))
        for index in range(6):
            await send(redis, new_update(customer_id=f"user_{index}", changes={"name": "Name"}))

        async def is_shown() -> bool:
            return (await one.full_readiness())[1]["breaker"] is not None

        await wait_until(is_shown)
        assert await alerts_of(one) == [], "it may be over in a moment"
        since = int(await redis.hget(f"{PREFIX}:breaker", "since") or 0)  # type: ignore[misc]  # one type for both clients
        await redis.hset(f"{PREFIX}:breaker", "since", str(since - int(OUTAGE_SECONDS * 1000)))  # type: ignore[misc]  # too
        await wait_until(lambda: _names_alert(one, "CustomerSyncOutage"))


async def test_no_answer_holds_a_customer_a_value_or_a_key(box: Sandbox, redis: Redis) -> None:
    async with watched(box.environment | {"AUTUMN_SECRET_KEY": "am_sk_test_wrong"}) as one:
        await send_change(redis)
        await redis.xadd(INBOX, {"customer_id": "ann_secret", "changes": '{"email": "ann#example.com"}'})
        await redis.xadd(INBOX, {"customer_id": "bob secret", "changes": '{"email": "ann#example.com"}'})
        await wait_until(lambda: _names_alert(one, "CustomerSyncHalted"))
        await wait_until(lambda: _names_alert(one, "CustomerSyncDeadLetters"))
        answers = "".join([(await one.answer(path))[1] for path in ("/healthz", "/readyz", "/metrics")])
    assert len(answers) > 1000
    for private in ("secret", "Secretname", "example.com", "am_sk", box.autumn.key, box.stripe.key):
        assert private not in answers.replace("invalid_secret_key", "")


async def test_silent_connections_stop_no_work(box: Sandbox, redis: Redis) -> None:
    environment = box.environment | {"OPERATOR_PASSWORD": "a long password"}
    # The shell sets the limit, because psutil can do it only on Linux.
    few_files = ["sh", "-c", f'ulimit -n {FILES} && exec "$@"', "sh", *command_of("worker")]
    async with watched(environment, command=few_files) as one, AsyncExitStack() as stack:
        process = psutil.Process(one.running.pid)
        port = int(one.url.rpartition(":")[2])
        for number in range(400):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            if number % 2:
                writer.write(FORM_WITHOUT_ITS_END)

        async def holds_few() -> bool:
            held = [each for each in process.net_connections() if each.laddr.port == port and each.raddr]
            return len(held) <= FILES // FILES_OF_CONNECTIONS

        await wait_until(holds_few)
        assert await is_applied(redis, await send_change(redis))
        assert (await one.answer("/healthz"))[0] == 200
    assert [line for line in one.running.log if "Traceback" in line] == []


async def test_stopping_worker_does_not_wait_for_open_connections(box: Sandbox) -> None:
    async with watched(box.environment) as one, one.http.get(one.url + "/healthz"):
        one.running.process.send_signal(signal.SIGTERM)

        async def has_ended() -> bool:
            return one.running.process.returncode is not None

        await wait_until(has_ended, seconds=40)
        assert one.running.process.returncode == 0


async def test_scanner_exposes_its_state_and_scan_results(box: Sandbox) -> None:
    async with watched(box.environment | {"SCAN_MAX_CHANGED": "1"}, "scanner") as one:

        async def is_shown() -> bool:
            return (await one.full_readiness())[1]["last_scan"] is not None

        await wait_until(is_shown)
        _, body = await one.full_readiness()
        assert (body["ready"], body["last_scan"]["state"], body["last_scan"]["findings"]) == (True, "done", 1)
        shown = await one.full_samples()
        (labels,) = shown["customer_sync_worker_info"]
        assert ("type", "scanner") in labels
        found = {dict(labels)["kind"]: value for labels, value in shown["customer_sync_scan_findings"].items()}
        assert {kind for kind, value in found.items() if value} == {"unlinked"}
        assert set(shown["customer_sync_scan_overdue"].values()) == {0.0}
        waits = {dict(labels)["limit"] for labels in shown["customer_sync_worker_throttle_wait_seconds_count"]}
        assert "autumn-lists" in waits
