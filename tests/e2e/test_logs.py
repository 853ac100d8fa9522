"""The debug log of a worker in all kinds of trouble holds ids and codes, and no payload."""

import json
import signal
from collections.abc import AsyncIterator
from functools import partial

import pytest
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from sandbox.autumn.server import AutumnSimulator
from sandbox.everything import Sandbox, sandbox
from sandbox.faults import Fault, Kind
from sandbox.stripe.server import StripeSimulator
from tests.conftest import INBOX
from tests.e2e.test_worker import app_queue
from tests.support.processes import Running, wait_until, worker
from tests.support.steps import make_due

PASSWORD = "redis-password-zqxj"
AUTUMN_KEY, STRIPE_KEY = "am_sk_test_autumnkeyzqxj", "rk_test_stripekeyzqxj"
PRIVATE = {
    "name": "Zebedee Quillfeather",
    "email": "zebedee.quillfeather@privatezqxj.example",
    "fingerprint": "fingerprintzqxj",
    "metadata": {"metadatakeyzqxj": "metadatavaluezqxj"},
}
NEVER = [
    PASSWORD,
    "autumnkeyzqxj",
    "stripekeyzqxj",
    "zqxj",
    "Zebedee",
    "Quillfeather",
    "privatezqxj",
    "otherprivate",
    "Bearer",
]
FAULTS: tuple[Kind, ...] = ("429", "500", "503", "cut", "lost", "garbage")


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    stripe = StripeSimulator(
        key=STRIPE_KEY, requests_per_second=None, endpoint_requests_per_second=None, search_per_second=None
    )
    autumn = partial(AutumnSimulator, updates_per_second=None, key=AUTUMN_KEY)
    async with sandbox(stripe=stripe, autumn=autumn) as everything:
        async with Redis.from_url(everything.redis.url) as redis:
            await redis.execute_command("ACL", "SETUSER", "user", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        url = everything.redis.url.replace("redis://", f"redis://user:{PASSWORD}@")
        everything.environment.update({"REDIS_URL": url, "LOG_LEVEL": "DEBUG", "RECEIPTS": "recover"})
        everything.environment.update({"ECHO_CHECK_SECONDS": "0.5", "STRIPE_METADATA_KEYS": "metadatakeyzqxj"})
        yield everything


async def cause_trouble(box: Sandbox, running: Running) -> None:
    """Cause applied and refused events, faults of each kind, a lost link and a halt."""
    linked = box.stripe.seed_customer(metadata={"autumn_id": "ann"}, email="otherprivate@zqxj.example")
    box.autumn.seed("ann", stripe_id=linked["id"], send_email_receipts=True)
    box.autumn.seed("bob", email=PRIVATE["email"])
    box.stripe.seed_payment_intent(customer=linked["id"])
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        send_change = partial(_send_change, redis)
        await send_change("ann", **PRIVATE)
        await send_change("bob", name=PRIVATE["name"], send_email_receipts=True)
        for refused in ({"stripe_id": "cus_nonezqxj"}, {"name": "zqxj " * 80}):
            await send_change("ann", **refused)
        await send_change("nobody", **PRIVATE)
        for raw in ('{"emial": "otherprivate@zqxj.example"}', '{"email": "otherprivate#zqxj"}', "otherprivatezqxj"):
            await redis.xadd(INBOX, {"customer_id": "ann", "changes": raw, "event_id": "event-with-zqxj"})
        await redis.xadd(INBOX, {"customer_id": "otherprivate zqxj", "changes": "{}"})
        for kind in FAULTS:
            for service in (box.autumn, box.stripe):
                service.switches.add(Fault(kind, times=1))
            await send_change("ann", name=f"{PRIVATE['name']} {kind}")
        del box.stripe.customers[linked["id"]]
        await send_change("ann", name=f"{PRIVATE['name']} again")
        box.autumn.key = "am_sk_test_anotherzqxj"
        await send(redis, new_update(customer_id="ann", changes={"name": "Quillfeather halted"}))
        await running.says('"work_halted"')


async def _send_change(redis: Redis, customer: str, **changes: object) -> None:
    event = await send(redis, new_update(customer_id=customer, changes=changes))

    async def has_ended() -> bool:
        await make_due(redis)
        outcome = await outcome_of(redis, event)
        return outcome is not None and outcome.status != "waiting"

    await wait_until(has_ended)


async def test_logs_hold_no_secret_and_no_payload(box: Sandbox) -> None:
    async with worker(box.environment) as running:
        await cause_trouble(box, running)
        running.process.send_signal(signal.SIGTERM)
        assert await running.process.wait() == 0
    log = "".join(running.log)
    seen = {json.loads(line)["event"] for line in running.log if line.startswith("{")}
    assert {"sync_settled", "entries_refused", "retry_scheduled", "work_halted"} <= seen
    assert [private for private in NEVER if private in log] == []


async def test_scanner_logs_only_numbers(box: Sandbox) -> None:
    linked = box.stripe.seed_customer(metadata={"autumn_id": "ann"}, email="otherprivate@zqxj.example")
    box.autumn.seed("ann", stripe_id=linked["id"], email=PRIVATE["email"], name=PRIVATE["name"])
    async with worker(box.environment | {"SCAN_MAX_CHANGED": "1"}, "scanner") as running:
        await running.says('"scan_finished"')
    log = "".join(running.log)
    assert '"requested": 1' in log
    assert [private for private in NEVER if private in log] == []


async def test_every_sync_log_line_names_customer_and_entries(box: Sandbox) -> None:
    box.autumn.seed("ann")
    async with worker(box.environment) as running, Redis.from_url(box.environment["REDIS_URL"]) as redis:
        box.autumn.switches.latency_seconds = 0.3
        entries = [await send(redis, new_update(customer_id="ann", changes={"name": f"{n}"})) for n in range(9)]
        outcomes = [await outcome_of(redis, entry, wait_seconds=100) for entry in entries]
        assert all(outcome is not None and outcome.status == "applied" for outcome in outcomes)
        await redis.xadd(INBOX, {"customer_id": "nobody", "changes": '{"name": "x"}'})
        await running.says('"entries_refused"')
    lines = [json.loads(line) for line in running.log if line.startswith("{")]
    of_syncs = [line for line in lines if line["logger"].startswith(("jobs.sync", "jobs.queue"))]
    assert {line["event"] for line in of_syncs} == {"sync_settled", "entries_refused"}
    assert all(line["customer"] in {"ann", "nobody"} for line in of_syncs)
    named = [line for line in of_syncs if line["customer"] == "ann" and line["entry_ids"]]
    assert all(len(line["entry_ids"]) <= 3 and set(line["entry_ids"]) <= set(entries) for line in named)
    assert sum(len(line["entry_ids"]) + line.get("more_entries", 0) for line in named) == len(entries)
    assert all("customer" not in line for line in lines if not line["logger"].startswith("jobs."))


async def test_unexpected_error_is_logged_by_type_and_frames_only(box: Sandbox) -> None:
    async with worker(box.environment) as running, Redis.from_url(box.environment["REDIS_URL"]) as redis:
        # An app enqueues the worker's own job with a wrong argument; the error's message repeats the argument's name.
        await app_queue(redis).enqueue_job("sync_customer", otherprivatezqxj=1)
        await running.says("sync_customer failed")
    log = "".join(running.log)
    assert "TypeError" in log
    assert ".py" in log
    assert [private for private in NEVER if private in log] == []


async def test_repeated_failure_is_logged_with_type_and_frames(box: Sandbox) -> None:
    async with worker(box.environment) as running, Redis.from_url(box.environment["REDIS_URL"]) as redis:
        await redis.set(INBOX, "no stream, but otherprivatezqxj")
        await app_queue(redis).enqueue_job("customer_updated", customer_id="ann", changes=PRIVATE)
        await running.says('"loop": "intake"')
        line = next(json.loads(line) for line in running.log if '"loop": "intake"' in line)
        await running.says('"event_add_failed"')
        of_arq = next(json.loads(line) for line in running.log if '"event_add_failed"' in line)
    assert line["event"] == "loop_failed"
    assert line["error"] == "ResponseError WRONGTYPE"
    assert line["cause"].startswith("ResponseError at worker/redis_client.py:")
    assert " < jobs/queue/mailbox.py:" in line["cause"]
    assert " < worker/main.py:" in of_arq["cause"]
    assert [private for private in NEVER if private in "".join(running.log)] == []


async def test_console_format_is_readable(box: Sandbox) -> None:
    box.autumn.seed("ann")
    async with worker(box.environment | {"LOG_FORMAT": "console"}, ready="process_started") as running:
        async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
            await _send_change(redis, "ann", name=PRIVATE["name"])
        await running.says("sync_settled")
    assert "Zebedee" not in "".join(running.log)
