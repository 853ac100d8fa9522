"""The ACL rules in deploy/redis.acl allow everything that is needed and no other command."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from aiohttp import ClientSession, CookieJar
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from autumn_sync_client import AsyncClient, Unauthorized
from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from jobs.notifications.state import NotificationKeys
from jobs.queue.breaker import FAILURES_TO_OPEN, read_breaker
from sandbox.everything import Sandbox
from sandbox.faults import Fault
from tests.conftest import PREFIX
from tests.e2e.test_redis_tls import command
from tests.e2e.test_worker import app_queue
from tests.support.browser import Browser
from tests.support.intake import TOKENS, Port
from tests.support.operator import PASSWORD
from tests.support.processes import ROOT, wait_until, worker
from tests.support.receiver import receiving
from tests.support.unlimited import unlimited_sandbox
from tests.support.watching import Watched, watched

WORD = "a-password"
FILES = {name: (ROOT / "deploy" / name).read_text().splitlines() for name in ("redis.acl", "redis-6.2.acl")}
RULES = {name: {line.split()[1]: line.split()[2:] for line in lines} for name, lines in FILES.items()}
ASKING = {"redis.acl": "customer-sync-app", "redis-6.2.acl": "customer-sync-app-reader"}
"""The user that apps read outcomes with. Redis 6.2 has no rule for read-only keys."""
LAST_KEY = "the-last-key"
ANN = new_update(customer_id="ann", changes={"name": "Ann"})
OF_THE_TEST = {"acl", "config", "psubscribe"}
"""Commands of the test itself under another user."""
OF_RARE_MOMENTS = {"unwatch"}
"""arq's command if two workers find one job at the same moment."""


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with unlimited_sandbox() as everything:
        everything.environment["ECHO_CHECK_SECONDS"] = "1"
        async with Redis.from_url(everything.redis.url) as admin:
            for user, rule in RULES[await rules_of(admin)].items():
                words = [f">{WORD}" if word.startswith(">") else word for word in rule]
                await admin.execute_command("ACL", "SETUSER", user, *words)
        yield everything


async def rules_of(admin: Redis) -> str:
    """Return the rules for the version of this Redis."""
    version = (await admin.info("server"))["redis_version"]
    return "redis-6.2.acl" if version.startswith("6.") else "redis.acl"


def address(box: Sandbox, user: str) -> str:
    return box.redis.url.replace("redis://", f"redis://{user}:{WORD}@")


async def used_commands(box: Sandbox) -> set[str]:
    """Return the commands executed since the counters were reset, including those of scripts."""
    async with Redis.from_url(box.redis.url) as admin:
        counters = await admin.info("commandstats")
    names = {name.removeprefix("cmdstat_") for name, counted in counters.items() if counted["calls"]}
    return {name.partition("|")[0] for name in names} - OF_THE_TEST


async def everything_that_is_done(box: Sandbox) -> None:
    """Do everything that workers and operators do, as the restricted user: all outcomes, an outage and a halt."""
    as_user = {"REDIS_URL": address(box, "customer-sync")}
    linked = box.stripe.seed_customer(metadata={"autumn_id": "ann"})
    box.autumn.seed("ann", stripe_id=linked["id"])
    box.autumn.seed("bob")
    box.stripe.seed_customer(email="bob@example.com")
    async with (
        receiving() as receiver,
        watched(
            box.environment
            | as_user
            | {"OPERATOR_PASSWORD": PASSWORD, "NOTIFY_URL": receiver.url, "INTAKE_TOKENS": TOKENS[0]}
        ) as shown,
        Redis.from_url(as_user["REDIS_URL"]) as redis,
    ):
        running = shown.running
        await operate(box, as_user)
        await app_queue(redis).enqueue_job("customer_updated", customer_id="ann", changes={"name": "By arq"})
        await wait_until(partial(has_name, box, "ann", "By arq"))
        await live_through_an_outage(box, redis)
        await request_all_paths(shown)
        await scan(box, as_user)
        box.autumn.key = "am_sk_test_another"
        await send(redis, new_update(customer_id="ann", changes={"name": "Halted"}))
        await running.says("invalid_secret_key")
        assert "autumn invalid_secret_key" in (await command(box, "status", **as_user))[1]
        assert (await command(box, "scan", "history", **as_user))[0] == 0
        assert await redis.hget(NotificationKeys(PREFIX).state, "next_ms")
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.process.wait(), 30) == 0


async def operate(box: Sandbox, as_user: dict[str, str]) -> None:
    """Send events and act on dead letters with the commands of an operator."""
    ann = ["send", "ann", '{"name": "Ann", "email": "ann@example.com"}', "--event-id", "e1", "--wait", "100"]
    expected = {
        "doctor": ["doctor"],
        "applied": ann,
        "applied again": ann,
        "applied, too": ["send", "bob", '{"email": "bob@example.com"}', "--wait", "100"],
        "dead": ["send", "nobody", '{"name": "x"}', "--event-id", "e2", "--wait", "100"],
        "dead letters: 1": ["dead", "list"],
        "replayed: 1": ["dead", "replay", "--reason", "customer_not_found", "--yes"],
        "dead, too": ["send", "nobody", '{"name": "y"}', "--wait", "100"],
        "status": ["status", "nobody"],
        "dropped: ": ["dead", "drop", "--all", "--yes"],
        "erased its customer record": ["forget", "nobody", "--yes"],
    }
    ends = {name: await command(box, *words, **as_user) for name, words in expected.items()}
    assert {name: code for name, (code, _) in ends.items() if code} == {}
    for name, (_, text) in ends.items():
        assert name in {"doctor", "status"} or re.split(", too| again", name)[0] in text, ends


async def live_through_an_outage(box: Sandbox, redis: Redis) -> None:
    """Let enough customers fail that the circuit breaker opens, then wait until a probe closes it."""
    customers = [f"user_{number}" for number in range(FAILURES_TO_OPEN)]
    for customer in customers:
        box.autumn.seed(customer)
    box.autumn.switches.add(Fault("503", times=FAILURES_TO_OPEN))
    events = [await send(redis, new_update(customer_id=each, changes={"name": "After 503"})) for each in customers]

    async def is_closed() -> bool:
        return await read_breaker(redis, PREFIX) is not None

    await wait_until(is_closed)
    outcomes = await asyncio.gather(*(outcome_of(redis, event, wait_seconds=100) for event in events))
    assert [outcome and outcome.status for outcome in outcomes] == ["applied"] * len(events)


async def request_all_paths(shown: Watched) -> None:
    """Request each path of a worker's port, and the page with its password."""
    assert (await shown.answer("/metrics"))[0] == 200
    assert (await shown.full_readiness())[1]["dead_letters"] == 0
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as http:
        browser = Browser(http, shown.url)
        await browser.sign_in()
        assert "Dead letters" in (await browser.get())[1]

        async def shows_both_sides() -> bool:
            return "both sides" in (await browser.send("/customer", customer="ann", live="1"))[1].lower()

        await wait_until(shows_both_sides)
        port = Port(shown.url, http)
        (event_id,) = (await port.post({"customer_id": "bob", "type": "customer.reconcile"})).body["ids"]
        assert (await port.outcome(event_id)).status == 200


async def scan(box: Sandbox, as_user: dict[str, str]) -> None:
    """Find drift with the scan command, and let the scanner repair it."""
    box.autumn.customers["ann"]["name"] = "Drifted"
    code, output = await command(box, "scan", **as_user)
    assert code == 2, output
    async with worker(box.environment | as_user, "scanner") as scanner:
        await scanner.says('"scan_finished"')
    stripe_id = box.autumn.customers["ann"]["stripe_id"]

    async def is_repaired() -> bool:
        return bool(box.stripe.customers[stripe_id]["name"] == "Drifted")

    await wait_until(is_repaired)


async def has_name(box: Sandbox, customer: str, name: str) -> bool:
    return bool(box.autumn.customers[customer]["name"] == name)


@asynccontextmanager
async def changed_keys(admin: Redis) -> AsyncIterator[set[str]]:
    """Yield a set that holds, after the block, all keys changed in it, including deleted keys and those of scripts."""
    await admin.config_set("notify-keyspace-events", "EA")
    keys: set[str] = set()
    async with admin.pubsub() as events:
        await events.psubscribe("__keyevent@0__:*")
        assert await events.get_message(timeout=10) is not None
        yield keys
        await admin.set(LAST_KEY, "")
        while LAST_KEY not in keys:
            event = await events.get_message(timeout=10)
            assert event is not None
            keys.add(event["data"].decode())
    keys.remove(LAST_KEY)


async def refused_keys(redis: Redis, keys: set[str]) -> set[str]:
    """Return the keys that the user of this client may not access."""
    async with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.exists(key)
        answers = await pipe.execute(raise_on_error=False)
    return {key for key, answer in zip(keys, answers, strict=True) if isinstance(answer, NoPermissionError)}


async def test_acl_rule_of_the_worker_is_sufficient_and_minimal(box: Sandbox) -> None:
    async with Redis.from_url(box.redis.url) as admin:
        await admin.config_resetstat()
        async with changed_keys(admin) as keys:
            await everything_that_is_done(box)
        log = await admin.execute_command("ACL", "LOG")
    # Redis 7 names the subcommand too.
    denied = {dict(zip(entry[::2], entry[1::2], strict=True))[b"object"].decode().partition("|")[0] for entry in log}
    allowed = {word[1:].partition("|")[0] for word in RULES["redis.acl"]["customer-sync"] if word.startswith("+")}
    # redis-py names itself to every Redis and ignores a refusal. So does the check of a first start.
    assert denied <= {"client", f"{PREFIX}-outcomes:reader"}
    used = await used_commands(box) - {"client", "auth"}
    assert used <= allowed
    assert allowed - used <= OF_RARE_MOMENTS
    patterns = [word for word in RULES["redis.acl"]["customer-sync"] if word.startswith("~")]
    assert len(patterns) == 5
    async with Redis.from_url(box.redis.url) as admin, Redis.from_url(address(box, "customer-sync")) as redis:
        assert await refused_keys(redis, keys) == set()
        for taken in patterns:
            left = [pattern for pattern in patterns if pattern != taken]
            await admin.execute_command("ACL", "SETUSER", "customer-sync", "resetkeys", *left)
            assert await refused_keys(redis, keys), f"nothing needs {taken}"


async def test_doctor_finds_a_missing_command_of_the_rule(box: Sandbox) -> None:
    as_user = {"REDIS_URL": address(box, "customer-sync")}
    for taken in ("-evalsha", "-xadd"):
        async with Redis.from_url(box.redis.url) as admin:
            await admin.execute_command("ACL", "SETUSER", "customer-sync", taken)
            code, _ = await command(box, "send", "ann", '{"name": "x"}', **as_user)
            checked, _ = await command(box, "doctor", **as_user)
            assert (code, checked) == (78 if taken == "-xadd" else 0, 1)
            await admin.execute_command("ACL", "SETUSER", "customer-sync", taken.replace("-", "+"))


async def test_acl_rule_of_an_app_allows_only_send_and_status(box: Sandbox) -> None:
    box.autumn.seed("ann")
    async with Redis.from_url(box.redis.url) as admin:
        reading = ASKING[await rules_of(admin)]
        seconds, _ = await admin.time()
    async with (
        worker(box.environment),
        Redis.from_url(address(box, "customer-sync-app")) as app,
        Redis.from_url(address(box, reading)) as reader,
    ):
        *_, event = await AsyncClient.over_redis(app).send_many([ANN, ANN])
        outcome = await AsyncClient.over_redis(reader).outcome(event, wait_seconds=100)
        assert outcome is not None
        assert outcome.status == "applied"
        for key in own_keys(int(seconds // 43_200)):
            for user in (app, reader):
                with pytest.raises(NoPermissionError):
                    await user.xadd(key, {"a": "b"})
        with pytest.raises(NoPermissionError):
            await app.xread({"customer-updates": "0"})
        for user in (app, reader):
            with pytest.raises(NoPermissionError):
                await user.hget("customer-sync:customer:ann", "link")


async def test_acl_rules_of_apps_are_minimal(box: Sandbox) -> None:
    async with Redis.from_url(box.redis.url) as admin:
        rules = RULES[await rules_of(admin)]
        taken = 0
        for user in rules.keys() - {"customer-sync"}:
            words = [f">{WORD}" if word.startswith(">") else word for word in rules[user]]
            for word in words:
                await admin.execute_command("ACL", "SETUSER", user, "reset", *words)
                await uses(address(box, user), words)
                if word.startswith(("+", "~", "%")):
                    taken += 1
                    left = [each for each in words if each != word]
                    await admin.execute_command("ACL", "SETUSER", user, "reset", *left)
                    with pytest.raises((NoPermissionError, Unauthorized)):
                        await uses(address(box, user), words)
    assert taken >= 5


async def uses(url: str, words: list[str]) -> None:
    """Send events, read outcomes or both, as an app with this rule does, over a connection checked by PING.

    The client sends several events in one transaction.
    """
    # With a library name, redis-py would check the connection while connecting.
    async with Redis.from_url(url, health_check_interval=0.000001, lib_name=None, lib_version=None) as app:
        if "+xadd" in words:
            await send(app, ANN)
            await AsyncClient.over_redis(app).send_many([ANN, ANN])
        if "+hget" in words:
            assert await AsyncClient.over_redis(app).outcome("unknown") is None


def own_keys(bucket: int) -> list[str]:
    """Return keys of the worker that an app must not write to."""
    return [
        *(f"customer-sync:{name}" for name in (f"events:{bucket}", "dead", "waiting", "mailbox:ann", "owner")),
        "customer-sync-outcomes",
        "customer-updates:reader",
        "arq:queue",
    ]


def test_apps_may_write_only_to_the_inbox() -> None:
    seven, six = RULES["redis.acl"], RULES["redis-6.2.acl"]
    assert seven["customer-sync"] == six["customer-sync"]
    for rules in (seven, six):
        for user in rules.keys() - {"customer-sync"}:
            writable = [word for word in rules[user] if word.startswith("~")]
            assert "+xadd" not in rules[user] or writable == ["~customer-updates"]
