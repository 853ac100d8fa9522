"""`customer-sync doctor` against a healthy world, and with each part broken on purpose."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from jobs.queue.ownership import digest_of
from sandbox.everything import Sandbox, sandbox
from sandbox.faults import Fault
from sandbox.redis import describe_server, find_redis_server
from tests.support.commands import customer_sync
from tests.support.processes import environment_with, its_disk_fails

Lines = dict[str, dict[str, str]]


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        linked = everything.stripe.seed_customer(metadata={"autumn_id": "ann"})
        everything.autumn.seed("ann", stripe_id=linked["id"])
        yield everything


async def run(box: Sandbox, folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    code, output, errors = await customer_sync(
        "doctor", *words, folder=folder, environment=environment_with({**box.environment, **environment})
    )
    assert errors == ""
    return code, output


async def run_json(box: Sandbox, folder: Path, **environment: str) -> tuple[int, Lines]:
    code, output = await run(box, folder, "--json", **environment)
    lines = [json.loads(line) for line in output.splitlines()]
    for line in lines:
        assert bool(line["fix"]) == (line["verdict"] in {"warning", "wrong"}), line
    return code, {line["check"]: line for line in lines}


def verdicts(lines: Lines, verdict: str) -> set[str]:
    """Return the checks with this verdict, except warnings that a busy machine can cause."""
    found = {name for name, line in lines.items() if line["verdict"] == verdict}
    return found - {"redis-latency"} if verdict == "warning" else found


async def everything_in(box: Sandbox) -> Any:
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        return {key: await redis.dump(key) async for key in redis.scan_iter()}


async def test_healthy_setup_passes_and_writes_nothing(box: Sandbox, tmp_path: Path) -> None:
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        await redis.xadd("customer-updates", {"customer_id": "ann"})
    before = await everything_in(box)
    code, lines = await run_json(box, tmp_path, RECEIPTS="recover")
    assert code == 0
    assert {lines[name]["verdict"] for name in lines.keys() - verdicts(lines, "ok")} <= {"warning"}
    assert not verdicts(lines, "warning")
    assert lines["redis"]["text"] == f"{describe_server(find_redis_server())} answers"
    assert await everything_in(box) == before
    assert {call.method for call in box.stripe.calls} == {"GET"}
    assert {call.path for call in box.autumn.calls} == {"/v1/customers.get", "/v1/customers.list"}


async def test_text_output_has_a_line_per_check_and_totals(box: Sandbox, tmp_path: Path) -> None:
    code, output = await run(box, tmp_path)
    assert code == 0
    *lines, total = output.splitlines()
    assert lines[0] == "ok       settings           both keys begin like test keys"
    assert "skipped  stripe-payments    RECEIPTS=mirror reads no payments" in lines
    shown = Counter(line.split()[0] for line in lines if line[:1].strip())
    assert total == f"{shown['ok']} ok, {shown['warning']} warnings, 0 wrong, 1 skipped"
    # A busy machine may cause a warning about the time of a command.
    assert (shown.total(), shown["skipped"], shown["wrong"]) == (28, 1, 0)
    (receipts,) = [line for line in lines if line.startswith("ok       receipts ")]
    for decides in ("RECEIPTS=mirror", "Successful payments", "is finalised", "test mode"):
        assert decides in receipts


@pytest.mark.parametrize(
    ("environment", "check", "fix"),
    [
        ({"AUTUMN_SECRET_KEY": "am_sk_test_wrong"}, "autumn-key", "Replace AUTUMN_SECRET_KEY"),
        ({"AUTUMN_API_URL": "http://127.0.0.1:1"}, "autumn-key", "Check AUTUMN_API_URL"),
        ({"AUTUMN_API_VERSION": "9.9"}, "autumn-key", "Set AUTUMN_API_VERSION"),
        ({"STRIPE_API_KEY": "rk_test_wrong"}, "stripe-key", "STRIPE_API_KEY"),
        ({"STRIPE_API_BASE": "http://127.0.0.1:1"}, "stripe-key", "Check STRIPE_API_BASE"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "redis", "Check REDIS_URL"),
        ({"STRIPE_API_KEY": "sk_live_x"}, "settings", "Correct the environment"),
        ({"AUTUMN_MAX_IN_FLIGHT": "many"}, "settings", "Correct the environment"),
        ({"AUTUMN_API_VERSION": "2.0.0"}, "settings", "Correct the environment"),
    ],
)
async def test_wrong_setting_shows_fix_and_skips_dependent_checks(
    box: Sandbox, tmp_path: Path, environment: dict[str, str], check: str, fix: str
) -> None:
    code, lines = await run_json(box, tmp_path, **environment)
    assert code == 1
    assert verdicts(lines, "wrong") == {check}
    assert fix in lines[check]["fix"]
    assert lines["redis-latency" if check == "redis" else "same-account"]["verdict"] == "skipped"
    for value in environment.values():
        assert value not in json.dumps(lines) or value.startswith("http")


@pytest.mark.parametrize("version", ["2.1", "2.2.0"])
async def test_version_without_scans_is_a_warning(box: Sandbox, tmp_path: Path, version: str) -> None:
    code, lines = await run_json(box, tmp_path, AUTUMN_API_VERSION=version)
    assert code == 0
    assert verdicts(lines, "warning") == {"autumn-version"}
    assert lines["autumn-version"]["text"] == f"{version}: events work, scans do not, because its lists have no cursors"
    assert lines["autumn-version"]["fix"] == "Set AUTUMN_API_VERSION=2.3.0"
    assert lines["same-account"]["verdict"] == "ok"


@pytest.mark.parametrize("version", ["2.3", "2.3.0", "2.5.0"])
async def test_version_for_events_and_scans_passes(box: Sandbox, tmp_path: Path, version: str) -> None:
    box.autumn.newest_version, box.autumn.largest_page = "2.5", 200
    _, lines = await run_json(box, tmp_path, AUTUMN_API_VERSION=version)
    assert (lines["autumn-version"]["verdict"], lines["autumn-version"]["text"]) == (
        "ok",
        f"{version}: events and scans work",
    )


@pytest.mark.parametrize(
    ("version", "text", "fix"),
    [
        ("2.3", "2.3: events and scans do not work, because its customers have another format", "AUTUMN_API_VERSION"),
        ("2.3.0", "Autumn cannot be used: unexpected_response", "Check AUTUMN_API_URL"),
    ],
)
async def test_unreadable_answers_blame_the_configured_version(
    box: Sandbox, tmp_path: Path, version: str, text: str, fix: str
) -> None:
    box.autumn.switches.add(Fault("garbage", route="customers.list"))
    code, lines = await run_json(box, tmp_path, AUTUMN_API_VERSION=version)
    assert code == 1
    assert verdicts(lines, "wrong") == {"autumn-version"}
    assert lines["autumn-version"]["text"] == text
    assert fix in lines["autumn-version"]["fix"]


async def test_unusable_redis_url_skips_all_redis_checks(box: Sandbox, tmp_path: Path) -> None:
    code, lines = await run_json(box, tmp_path, REDIS_URL="localhost")
    assert code == 1
    assert verdicts(lines, "skipped") == set(lines) - {"settings"}


async def test_redis_is_checked_despite_other_wrong_settings(box: Sandbox, tmp_path: Path) -> None:
    _, lines = await run_json(box, tmp_path, AUTUMN_SECRET_KEY="")
    assert "AUTUMN_SECRET_KEY" in lines["settings"]["text"]
    assert lines["redis-persistence"]["verdict"] == "ok"
    assert lines["limits"]["verdict"] == "skipped"


async def test_unfit_redis_fails_with_its_reason(box: Sandbox, tmp_path: Path) -> None:
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        await redis.config_set("maxmemory", "100mb")
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await redis.config_set("appendonly", "no")
        await redis.replicaof("127.0.0.1", "1")
    code, lines = await run_json(box, tmp_path)
    assert code == 1
    assert verdicts(lines, "wrong") == {"redis-role", "redis-eviction"}
    assert verdicts(lines, "warning") == {"redis-persistence"}
    assert lines["redis-eviction"]["text"] == "maxmemory-policy is allkeys-lru"
    assert lines["redis-eviction"]["fix"].startswith("Set it to noeviction")


async def test_redis_that_may_lose_changes_is_a_warning(box: Sandbox, tmp_path: Path) -> None:
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        await redis.config_set("appendonly", "no")
    code, lines = await run_json(box, tmp_path)
    assert code == 0
    assert verdicts(lines, "warning") == {"redis-persistence"}


@pytest.mark.parametrize(
    ("rule", "check", "verdict"),
    [
        ("~* -@all +ping +time +info", "redis-access", "wrong"),
        ("~other:* +@all", "redis-access", "wrong"),
        ("~* +@all -info", "redis", "warning"),
        ("~* -@all", "redis", "wrong"),
    ],
)
async def test_missing_redis_permissions_are_named(
    box: Sandbox, tmp_path: Path, rule: str, check: str, verdict: str
) -> None:
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        await redis.execute_command("ACL", "SETUSER", "app", "on", ">word", *rule.split())
    address = box.environment["REDIS_URL"].replace("redis://", "redis://app:word@")
    code, lines = await run_json(box, tmp_path, REDIS_URL=address)
    assert code == (verdict == "wrong")
    assert lines[check]["verdict"] == verdict
    assert "word@" not in json.dumps(lines)


async def test_wrong_redis_password_differs_from_unreachable_redis(box: Sandbox, tmp_path: Path) -> None:
    address = box.environment["REDIS_URL"].replace("redis://", "redis://nobody:wrong@")
    code, lines = await run_json(box, tmp_path, REDIS_URL=address)
    assert code == 1
    assert "refuses the user or the password" in lines["redis"]["text"]


@pytest.mark.parametrize(
    ("missing", "check"), [("rak_customer_read", "stripe-key"), ("rak_payment_intent_read", "stripe-payments")]
)
async def test_missing_permission_of_restricted_key_is_named(
    box: Sandbox, tmp_path: Path, missing: str, check: str
) -> None:
    box.stripe.missing_permissions.add(missing)
    code, lines = await run_json(box, tmp_path, STRIPE_API_KEY=box.stripe.restricted_key, RECEIPTS="open")
    assert code == 1
    assert lines[check]["text"] == f"STRIPE_API_KEY lacks a permission: {missing}"


async def test_write_permission_of_restricted_key_is_not_claimed(box: Sandbox, tmp_path: Path) -> None:
    box.stripe.missing_permissions.add("rak_customer_write")
    code, lines = await run_json(box, tmp_path, STRIPE_API_KEY=box.stripe.restricted_key)
    assert code == 0
    assert "only a write shows" in lines["stripe-key"]["text"]


async def test_linked_customer_reveals_keys_of_two_accounts(box: Sandbox, tmp_path: Path) -> None:
    box.stripe.customers.clear()
    code, lines = await run_json(box, tmp_path)
    assert code == 1
    assert verdicts(lines, "wrong") == {"same-account"}
    assert "finds none of 1 linked customers" in lines["same-account"]["text"]


async def test_deleted_linked_customer_still_reveals_the_account(box: Sandbox, tmp_path: Path) -> None:
    box.autumn.seed("bob", stripe_id=box.stripe.seed_customer(deleted=True)["id"])
    _, lines = await run_json(box, tmp_path)
    assert lines["same-account"]["verdict"] == "ok"


async def test_unknown_facts_are_skipped_before_the_first_customer(box: Sandbox, tmp_path: Path) -> None:
    box.autumn.customers.clear()
    code, lines = await run_json(box, tmp_path)
    assert code == 0
    assert verdicts(lines, "skipped") == {"autumn-environment", "stripe-payments", "same-account"}


async def test_environment_that_differs_from_keys_fails(box: Sandbox, tmp_path: Path) -> None:
    box.autumn.customers["ann"]["env"] = "live"
    code, lines = await run_json(box, tmp_path)
    assert code == 1
    assert lines["autumn-environment"]["text"] == "Autumn answers for live, but both keys begin like test keys"


async def test_account_without_search_is_a_warning(box: Sandbox, tmp_path: Path) -> None:
    box.stripe.search_available = False
    code, lines = await run_json(box, tmp_path)
    assert code == 0
    assert verdicts(lines, "warning") == {"stripe-search"}
    assert "none is created" in lines["stripe-search"]["text"]
    assert "stripe_id" in lines["stripe-search"]["fix"]


async def test_used_up_limit_warns_and_service_down_fails(box: Sandbox, tmp_path: Path) -> None:
    box.stripe.switches.add(Fault("429"))
    box.autumn.switches.add(Fault("503"))
    code, lines = await run_json(box, tmp_path)
    assert code == 1
    assert lines["stripe-key"]["verdict"] == "warning"
    assert lines["autumn-key"]["text"] == "Autumn cannot be used: service_unavailable"


async def test_rates_above_service_limits_are_a_warning(box: Sandbox, tmp_path: Path) -> None:
    code, lines = await run_json(box, tmp_path, AUTUMN_MAX_IN_FLIGHT="20", STRIPE_REQUESTS_PER_SECOND="80")
    assert code == 0
    assert "AUTUMN_MAX_IN_FLIGHT is 20, the service allows 8" in lines["limits"]["text"]
    assert "STRIPE_REQUESTS_PER_SECOND is 80, the service allows 25" in lines["limits"]["text"]


async def store_owner(box: Sandbox, **fields: str) -> None:
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        await redis.hset("customer-sync:owner", mapping=dict(fields.items()))


async def test_owner_of_the_keys_is_shown_and_not_written(box: Sandbox, tmp_path: Path) -> None:
    _, lines = await run_json(box, tmp_path)
    assert (
        lines["owner"]["text"] == "customer-sync belongs to no deployment yet; the first start assigns it to this one"
    )
    assert await everything_in(box) == {}
    account = digest_of("stripe", box.stripe.account.id)
    await store_owner(box, mode="test", stripe=account)
    _, lines = await run_json(box, tmp_path)
    assert lines["owner"]["verdict"] == "ok"
    assert lines["owner"]["text"] == (
        f"customer-sync belongs to test mode and the Stripe account with the digest {account}, the same as these keys"
    )


@pytest.mark.parametrize("fields", [{"mode": "live"}, {"mode": "test", "stripe": "0123456789abcdef"}])
async def test_keys_of_another_deployment_fail(box: Sandbox, tmp_path: Path, fields: dict[str, str]) -> None:
    await store_owner(box, **fields)
    code, lines = await run_json(box, tmp_path)
    assert code == 1
    assert verdicts(lines, "wrong") == {"owner"}
    assert lines["owner"]["text"].startswith("KEY_PREFIX: customer-sync belongs to a")
    assert "delete the key customer-sync:owner" in lines["owner"]["fix"]


async def test_inbox_of_another_deployment_fails(box: Sandbox, tmp_path: Path) -> None:
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        await redis.set("customer-updates:reader", "other-sync")
    _, lines = await run_json(box, tmp_path)
    assert verdicts(lines, "wrong") == {"owner"}
    assert "is read by the deployment with KEY_PREFIX=other-sync" in lines["owner"]["text"]


async def test_start_that_would_wait_for_stripe_is_announced(box: Sandbox, tmp_path: Path) -> None:
    box.stripe.switches.add(Fault("503"))
    _, lines = await run_json(box, tmp_path)
    assert "a starting worker waits" in lines["owner"]["fix"]
    keys = {
        "autumn_key": digest_of("autumn_key", box.environment["AUTUMN_SECRET_KEY"]),
        "stripe_key": digest_of("stripe_key", box.environment["STRIPE_API_KEY"]),
    }
    await store_owner(box, mode="test", stripe="0123456789abcdef", **keys)
    _, lines = await run_json(box, tmp_path)
    assert lines["owner"]["fix"] == "Nothing to do: both keys are the same as at the last start"


async def test_unnamed_account_is_a_warning(box: Sandbox, tmp_path: Path) -> None:
    box.stripe.missing_permissions.add("rak_accounts_kyc_id_numbers_read")
    box.stripe.names_account = False
    code, lines = await run_json(box, tmp_path, STRIPE_API_KEY=box.stripe.restricted_key)
    assert code == 0
    assert verdicts(lines, "warning") == {"owner"}
    assert "Stripe does not return it (missing_permission)" in lines["owner"]["text"]


async def it_has_no_memory(redis: Redis) -> None:
    await redis.config_set("maxmemory", "1")


async def it_has_no_replicas(redis: Redis) -> None:
    await redis.config_set("min-replicas-to-write", "1")


@pytest.mark.parametrize(
    ("breaks", "error", "text"),
    [
        (it_has_no_memory, "OutOfMemoryError", "Redis refuses writes: it has no memory left (OOM)"),
        (it_has_no_replicas, "NOREPLICAS", "Redis refuses writes: too few replicas follow it (NOREPLICAS)"),
        (its_disk_fails, "MISCONF", "Redis refuses writes: it cannot write to its disk (MISCONF)"),
    ],
)
async def test_redis_that_refuses_writes_is_named(
    box: Sandbox, tmp_path: Path, breaks: Callable[[Redis], Awaitable[None]], error: str, text: str
) -> None:
    async with Redis.from_url(box.environment["REDIS_URL"]) as redis:
        await breaks(redis)
    _, lines = await run_json(box, tmp_path)
    assert (verdicts(lines, "wrong"), verdicts(lines, "skipped")) == ({"redis-writes"}, {"stripe-payments"})
    assert lines["redis-writes"]["text"] == text
    environment = environment_with(box.environment)
    _, output, _ = await customer_sync("status", folder=tmp_path, environment=environment)
    assert "Redis refuses writes" in output
    assert error in output
    assert "Everything is all right" not in output
    code, _, errors = await customer_sync("send", "ann", folder=tmp_path, environment=environment)
    assert (code, errors.startswith(f"{text}. ")) == (69, True)
    code, _, errors = await customer_sync("scan", folder=tmp_path, environment=environment)
    assert (code, errors.startswith(f"{text}. ")) == (1, True)
    # A server that cannot save refuses to shut down.
    box.redis.kill()
