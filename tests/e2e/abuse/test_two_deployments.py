"""Two deployments on one Redis do not disturb each other, and a shared prefix or inbox is refused."""

import asyncio
import signal
from collections.abc import AsyncIterator

import aiohttp
import pytest
from arq.connections import ArqRedis
from redis.asyncio import Redis

from config.loading import load_settings
from jobs.queue.failing_loops import failing_key
from jobs.queue.mailbox import Mailbox
from sandbox.everything import Sandbox
from sandbox.faults import Fault, Kind
from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX, PREFIX
from tests.support.processes import command_of, ended, free_port, wait_until, worker
from tests.support.unlimited import unlimited_sandbox
from worker.loops.dispatch import Dispatcher
from worker.main import scan_worker_settings
from worker.ownership import FETCH_SECONDS
from worker.redis_client import open_redis

OTHER = "other-sync"
ALL = {b"mode", b"stripe", b"autumn_key", b"stripe_key"}
READS_ACCOUNT = "rak_accounts_kyc_id_numbers_read"


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with unlimited_sandbox() as everything:
        everything.autumn.seed("ann")
        yield everything


async def wake_ups(redis: Redis, client: ArqRedis, prefix: str) -> set[bytes]:
    """Dispatch the customer that both deployments have; return the ids of this deployment's jobs."""
    mailbox = Mailbox(client, inbox=f"{prefix}-inbox", prefix=prefix)
    await redis.xadd(f"{prefix}-inbox", {"customer_id": "ann", "changes": '{"name": "Ann"}'})
    await mailbox.move()
    await Dispatcher(mailbox, client).dispatch_due()
    return set(await redis.zrange(f"{prefix}:queue", 0, -1))


async def test_wake_ups_of_two_deployments_have_separate_ids(redis_server: EmbeddedRedis, redis: Redis) -> None:
    for prefix in (PREFIX, OTHER):
        client = open_redis(redis_server.url, prefix)
        (job,) = await wake_ups(redis, client, prefix)
        await client.aclose(close_connection_pool=True)
        assert job.startswith(f"{prefix}:".encode())
        assert await redis.exists(b"arq:job:" + job)


def test_scanners_of_two_deployments_have_separate_ids() -> None:
    given = {
        "REDIS_URL": "redis://localhost:1/0",
        "AUTUMN_SECRET_KEY": "am_sk_test_x",
        "STRIPE_API_KEY": "sk_test_x",
        "KEY_PREFIX": OTHER,
    }
    (job,) = vars(scan_worker_settings(load_settings(**given)))["cron_jobs"]
    assert job.name.startswith(f"{OTHER}:")


async def test_other_mode_on_the_same_prefix_is_refused(box: Sandbox) -> None:
    async with worker(box.environment):
        pass
    for words in (command_of("worker"), command_of("scanner")):
        live = {"AUTUMN_SECRET_KEY": "am_sk_live_x", "STRIPE_API_KEY": "sk_live_x"}
        code, output = await ended(box.environment | live, *words)
        assert code == 78, output
        assert "KEY_PREFIX: customer-sync belongs to a deployment in test mode; these keys are for live mode" in output
        assert "customer-sync:owner" in output


async def test_other_stripe_account_on_the_same_prefix_is_refused(box: Sandbox) -> None:
    async with worker(box.environment):
        pass
    own = box.stripe.account.id
    box.stripe.account.id = "acct_another"
    code, output = await ended(box.environment, *command_of("worker"))
    assert code == 78, output
    assert "KEY_PREFIX: customer-sync belongs to another Stripe account" in output
    assert own not in output
    assert "acct_another" not in output


async def test_new_key_of_the_same_account_is_no_mismatch(box: Sandbox) -> None:
    async with worker(box.environment):
        pass
    box.stripe.key, box.autumn.key = "sk_test_rotated", "am_sk_test_rotated"
    rotated = {"STRIPE_API_KEY": box.stripe.key, "AUTUMN_SECRET_KEY": box.autumn.key}
    async with worker(box.environment | rotated):
        pass


async def test_second_prefix_on_the_same_inbox_is_refused(box: Sandbox) -> None:
    async with worker(box.environment):
        code, output = await ended(box.environment | {"KEY_PREFIX": OTHER}, *command_of("worker"))
    assert code == 78, output
    assert f"INBOX_STREAM: {INBOX} is read by the deployment with KEY_PREFIX={PREFIX}; this one has {OTHER}" in output
    assert f"{INBOX}:reader" in output
    async with worker(box.environment | {"KEY_PREFIX": OTHER, "INBOX_STREAM": "other-inbox"}):
        pass


async def test_restricted_key_of_another_account_is_refused(box: Sandbox) -> None:
    box.stripe.missing_permissions.add(READS_ACCOUNT)
    restricted = {"STRIPE_API_KEY": box.stripe.restricted_key}
    async with worker(box.environment | restricted) as running:
        assert not any("account_check_postponed" in line for line in running.log)
    box.stripe.account.id = "acct_another"
    code, output = await ended(box.environment | restricted, *command_of("worker"))
    assert code == 78, output
    assert "KEY_PREFIX: customer-sync belongs to another Stripe account" in output
    assert "acct_another" not in output


async def test_account_that_stripe_never_names_causes_a_warning(box: Sandbox) -> None:
    box.stripe.missing_permissions.add(READS_ACCOUNT)
    box.stripe.names_account = False
    async with worker(box.environment | {"STRIPE_API_KEY": box.stripe.restricted_key}) as running:
        (warning,) = [line for line in running.log if "account_check_postponed" in line]
    assert "missing_permission" in warning
    async with Redis.from_url(box.redis.url) as redis:
        assert set(await redis.hgetall(f"{PREFIX}:owner")) == {b"mode", b"autumn_key", b"stripe_key"}


@pytest.mark.parametrize("process_type", ["worker", "scanner"])
async def test_process_of_another_account_does_nothing_until_stripe_is_back(box: Sandbox, process_type: str) -> None:
    async with worker(box.environment):
        pass
    first = len(box.stripe.calls)
    box.stripe.account.id, box.stripe.key = "acct_another", "sk_test_another"
    box.stripe.switches.add(Fault("503"))
    other = {"STRIPE_API_KEY": box.stripe.key, "INBOX_STREAM": "b-updates"}
    async with (
        worker(box.environment | other, process_type, ready='"account_check_postponed"') as running,
        Redis.from_url(box.redis.url) as redis,
    ):
        await redis.xadd("b-updates", {"customer_id": "ann", "changes": '{"name": "Ann"}'})
        await running.says("StripeAwayError")
        box.stripe.switches.clear()
        assert await asyncio.wait_for(running.process.wait(), 60) == 78
        assert await redis.xlen("b-updates") == 1
        assert await redis.keys(f"{PREFIX}:mailbox:*") == []
        assert not await redis.exists("b-updates:reader")
    (line,) = [line for line in running.log if "deployment_rejected" in line]
    assert "KEY_PREFIX: customer-sync belongs to another Stripe account" in line
    assert not any("Traceback" in line for line in running.log)
    assert {call.path for call in box.stripe.calls[first:]} == {"/v1/account"}
    assert box.autumn.customers["ann"]["name"] != "Ann"


@pytest.mark.parametrize("process_type", ["worker", "scanner"])
async def test_restart_with_the_same_keys_waits_for_no_stripe(box: Sandbox, process_type: str) -> None:
    async with worker(box.environment):
        pass
    box.stripe.switches.add(Fault("503"))
    async with worker(box.environment, process_type) as running:
        assert not any("StripeAwayError" in line for line in running.log)


@pytest.mark.parametrize("service", ["stripe", "autumn"])
async def test_restart_with_another_key_waits_for_stripe(box: Sandbox, service: str) -> None:
    async with worker(box.environment):
        pass
    box.stripe.key, box.autumn.key = (
        ("sk_test_new", box.autumn.key) if service == "stripe" else (box.stripe.key, "am_sk_test_new")
    )
    box.stripe.switches.add(Fault("503"))
    changed = {"STRIPE_API_KEY": box.stripe.key, "AUTUMN_SECRET_KEY": box.autumn.key}
    async with worker(box.environment | changed, ready="StripeAwayError") as running:
        assert not any('"process_started"' in line for line in running.log)
        box.stripe.switches.clear()
        await running.says('"process_started"')


async def test_other_keys_are_refused_if_stripe_never_names_the_account(box: Sandbox) -> None:
    async with worker(box.environment):
        pass
    unknown = {"STRIPE_API_KEY": "sk_test_wrong", "AUTUMN_SECRET_KEY": "am_sk_test_another"}
    for words in (command_of("worker"), command_of("scanner")):
        code, output = await ended(box.environment | unknown, *words)
        assert code == 78, output
        assert "Stripe does not return the account of these keys" in output
        assert "Allow the key to read its account" in output
    async with worker(box.environment | {"STRIPE_API_KEY": "sk_test_wrong"}) as running:
        assert any("account_check_postponed" in line for line in running.log)


async def test_worker_starts_despite_a_garbage_account_answer(box: Sandbox) -> None:
    box.stripe.switches.add(Fault("garbage", route="/v1/account"))
    async with worker(box.environment) as running, Redis.from_url(box.redis.url) as redis:
        (warning,) = [line for line in running.log if "account_check_postponed" in line]
        assert "http_200" in warning
        await redis.xadd(INBOX, {"customer_id": "ann", "changes": '{"name": "Ann"}'})
        await wait_until(lambda: is_applied(box))


async def is_applied(box: Sandbox) -> bool:
    return bool(box.autumn.customers["ann"]["name"] == "Ann")


async def test_worker_starts_with_a_stripe_that_answers_slowly(box: Sandbox) -> None:
    box.stripe.switches.latency_seconds = FETCH_SECONDS + 1
    async with worker(box.environment, ready='"account_check_postponed"') as running:
        await running.says("account_verified")


@pytest.mark.parametrize("kind", ["503", "hang"])
async def test_wait_for_the_account_is_recorded_until_it_ends(box: Sandbox, kind: Kind) -> None:
    box.stripe.switches.add(Fault(kind))
    note = failing_key(PREFIX, "owner")
    async with worker(box.environment, ready='"account_check_postponed"'), Redis.from_url(box.redis.url) as redis:

        async def is_noted() -> bool:
            return bool(await redis.exists(note))

        await wait_until(is_noted)
        await redis.delete(note)
        # A request may hang longer than the note lives, so the note is written again.
        await wait_until(is_noted)


async def test_unknown_account_turns_readyz_red_until_stripe_names_it(box: Sandbox) -> None:
    box.stripe.switches.add(Fault("503"))
    port = free_port()
    async with (
        worker(box.environment | {"PORT": str(port)}, ready='"account_check_postponed"') as running,
        Redis.from_url(box.redis.url) as redis,
        aiohttp.ClientSession() as session,
    ):
        await redis.xadd(INBOX, {"customer_id": "ann", "changes": '{"name": "Ann"}'})

        async def is_red() -> bool:
            async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                return "owner" in await answer.text() and answer.status == 503

        await running.says('"port_opened"')
        await wait_until(is_red)
        box.stripe.switches.clear()
        await running.says("account_verified")
        assert set(await redis.hgetall(f"{PREFIX}:owner")) == ALL
        await wait_until(lambda: is_applied(box))


async def test_process_waiting_for_the_account_can_be_stopped(box: Sandbox) -> None:
    box.stripe.switches.add(Fault("503"))
    async with worker(box.environment, ready="StripeAwayError") as running:
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.process.wait(), 30) == 0


async def test_prefix_with_unknown_account_is_not_taken_over(box: Sandbox) -> None:
    async with worker(box.environment | {"STRIPE_API_KEY": "sk_test_wrong"}):
        pass
    box.stripe.key, box.autumn.key = "sk_test_another", "am_sk_test_another"
    keys = {"STRIPE_API_KEY": box.stripe.key, "AUTUMN_SECRET_KEY": box.autumn.key}
    code, output = await ended(box.environment | keys, *command_of("worker"))
    assert code == 78, output
    assert "belongs to a deployment in test mode with an unknown Stripe account" in output
    assert "another" not in output
    async with worker(box.environment | {"STRIPE_API_KEY": box.stripe.key}):
        pass


async def test_prefix_that_overlaps_another_deployments_inbox_is_refused(box: Sandbox) -> None:
    async with worker(box.environment | {"INBOX_STREAM": f"{OTHER}:dead"}):
        pass
    code, output = await ended(box.environment | {"KEY_PREFIX": OTHER}, *command_of("worker"))
    assert code == 78, output
    assert f"KEY_PREFIX: {OTHER} has a key {OTHER}:dead, which another deployment reads as its inbox" in output


@pytest.mark.parametrize("inbox", [f"{OTHER}:dead", f"{OTHER}:mailbox:ann", f"{OTHER}-outcomes"])
async def test_inbox_that_is_a_key_of_another_deployment_is_refused(box: Sandbox, inbox: str) -> None:
    async with worker(box.environment | {"KEY_PREFIX": OTHER, "INBOX_STREAM": "other-inbox"}):
        pass
    code, output = await ended(box.environment | {"INBOX_STREAM": inbox}, *command_of("worker"))
    assert code == 78, output
    assert f"INBOX_STREAM: {inbox} is a key of the deployment with KEY_PREFIX={OTHER}" in output
    assert f"this one has {PREFIX}" in output


async def test_inbox_may_begin_with_another_applications_name(box: Sandbox) -> None:
    async with Redis.from_url(box.redis.url) as redis:
        await redis.set("shop:owner", "Ann")
        await redis.hset("crm:owner", "name", "Bob")
    for prefix, inbox in (("one", "shop:updates"), ("two", "crm:updates")):
        async with worker(box.environment | {"INBOX_STREAM": inbox, "KEY_PREFIX": prefix}):
            pass


@pytest.mark.parametrize("kind", ["503", "hang"])
async def test_no_job_is_taken_until_stripe_names_the_account(box: Sandbox, kind: Kind) -> None:
    box.stripe.switches.add(Fault(kind))
    async with worker(box.environment, ready='"account_check_postponed"') as running:
        box.stripe.switches.clear()
        await running.says('"process_started"')
        async with Redis.from_url(box.redis.url) as redis:
            assert set(await redis.hgetall(f"{PREFIX}:owner")) == ALL


async def test_wrong_key_blocks_no_start(box: Sandbox) -> None:
    async with worker(box.environment | {"STRIPE_API_KEY": "sk_test_wrong"}) as running:
        assert any("account_check_postponed" in line for line in running.log)


async def test_deployment_moves_after_deleting_the_keys_named_in_the_error(box: Sandbox) -> None:
    async with worker(box.environment):
        pass
    async with Redis.from_url(box.redis.url) as redis:
        await redis.delete(f"{PREFIX}:owner", f"{INBOX}:reader")
    box.stripe.account.id = "acct_another"
    async with worker(box.environment):
        code, _ = await ended(box.environment, "customer-sync", "status")
        assert code == 0
