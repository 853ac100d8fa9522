"""Each key of the worker with a wrong type: others continue, nothing crashes, and the key is named."""

import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from config.settings import Measures
from jobs.enqueue import outcome_of
from jobs.notifications.state import NotificationQueue
from jobs.queue.dead_letters import NewestLetters
from jobs.queue.erase import forget
from jobs.queue.failing_loops import FailingLoop, note_failing
from jobs.queue.ownership import Owner, compare_owner
from jobs.queue.status import read_longest_waiting, read_overview, read_standing
from jobs.scan.report import ScanRun
from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX, PREFIX, World
from tests.support.scans import scan, scan_deps_of
from tests.support.steps import change, seed
from tests.support.watches import poller_of
from worker.checks.key_types import wrong_keys
from worker.redis_client import open_redis, queue_name
from worker.status.customer_text import standing_lines
from worker.status.health import why_not_ready
from worker.status.history import History
from worker.status.json import snapshot_json, standing_json
from worker.status.shared_state import SharedStateReader
from worker.status.snapshot import Snapshot, SnapshotReader
from worker.wakeups import ring
from worker.web.credentials import Credentials, Tries

CORE: Mapping[str, str] = {
    INBOX: "stream",
    f"{PREFIX}:waiting": "zset",
    f"{PREFIX}:dispatched": "zset",
    f"{PREFIX}:oldest": "zset",
}
SHARED: Mapping[str, str] = {
    f"{PREFIX}:{name}": kind
    for name, kind in {
        "dead": "stream",
        "dead-aside": "stream",
        "reviews": "stream",
        "rechecks": "zset",
        "breaker": "hash",
        "totals": "hash",
        "last-success": "string",
        "owner": "hash",
        "queue": "zset",
        "queue:bell": "stream",
        "canary": "string",
        "events:12 hours": "hash",
        "history:hour": "hash",
        "failing:intake": "string",
        "sign-in:key": "string",
        "sign-in:wrong": "zset",
        "scan:lease": "string",
        "scan:run": "string",
        "scan:history": "list",
        "scan:watermark": "string",
        "scan:requested": "string",
        "scan:fingerprints": "string",
        "limit:autumn-slots": "zset",
        "limit:autumn-updates": "string",
        "limit:autumn-updates:slow": "hash",
        "limit:stripe": "string",
        "watch": "hash",
        "watch:lease": "string",
        "watch:seen": "zset",
        "watch:later": "zset",
        "watch:later_events": "hash",
        "watch:backlog": "zset",
        "watch:backlog_events": "hash",
        "watch:links": "hash",
        "notifications": "hash",
        "notifications:lease": "string",
    }.items()
} | {f"{PREFIX}-outcomes": "stream"}
OF_A_CUSTOMER: Mapping[str, str] = {
    f"{PREFIX}:{name}:ann": kind
    for name, kind in {
        "mailbox": "stream",
        "customer": "hash",
        "remembered": "string",
        "lease": "string",
        "watch:request": "string",
        "watch:edits": "hash",
    }.items()
}
STAYS = {f"{PREFIX}:dead", f"{PREFIX}:rechecks", f"{PREFIX}:totals", f"{PREFIX}-outcomes", f"{PREFIX}:mailbox:ann"}
"""Keys that only a person can repair. The worker recreates the others."""
KINDS = ("string", "list", "hash", "set", "zset", "stream")
WRONG = {needed: "set" if needed == "string" else "string" for needed in KINDS}
"""A wrong kind for each needed one. Redis refuses a command for all wrong kinds with the same error."""


def key_now(name: str) -> str:
    """Return the key of this name at the current time."""
    seconds = int(time.time())
    return name.replace(":12 hours", f":{seconds // 43_200}").replace(":hour", f":{seconds // 3600}")


async def plant(redis: Redis, key: str, kind: str) -> None:
    """Give the key a value of this kind."""
    await redis.delete(key)
    match kind:
        case "string":
            await redis.set(key, "x")
        case "list":
            await redis.rpush(key, "x")  # type: ignore[misc]  # one type for both clients
        case "hash":
            await redis.hset(key, "x", "x")  # type: ignore[misc]  # one type for both clients
        case "set":
            await redis.sadd(key, "x")  # type: ignore[misc]  # one type for both clients
        case "zset":
            await redis.zadd(key, {"x": 1})
        case _:
            await redis.xadd(key, {"x": "x"})


async def show_everything(redis: Redis) -> Snapshot:
    """Read the snapshot and render it as /readyz, the page and `customer-sync status` do."""
    measures = Measures.model_validate({"redis_url": "redis://localhost", "key_prefix": PREFIX, "inbox_stream": INBOX})
    shared = SharedStateReader(redis, prefix=PREFIX, inbox=INBOX, scan_schedule=measures.scan_schedule)
    snapshot = await SnapshotReader(redis, measures, shared.read).read()
    assert snapshot_json(snapshot)
    for customer in ("ann", "bob"):
        standing = await read_standing(redis, PREFIX, customer)
        assert standing_lines(standing, NewestLetters())
        assert standing_json(standing, NewestLetters())
    assert await read_longest_waiting(redis, PREFIX, 5) is not None
    return snapshot


async def use_everything(world: World, folder: Path) -> ScanRun:
    """Run everything except syncs that uses the worker's keys."""
    redis = world.redis
    overview = await read_overview(redis, PREFIX, INBOX)
    await History(redis, PREFIX).note(overview, {"stripe": 1})
    await note_failing(redis, PREFIX, FailingLoop("intake", 1, "x"))
    credentials = Credentials(redis, PREFIX, password="correct horse battery", token="x", read_seconds=60)
    first, second = await credentials.sessions(), await credentials.sessions()
    assert first is second
    tries = Tries(redis, PREFIX)
    name = await tries.begin()
    assert name is not None
    await tries.forget(name)
    owner = Owner(mode="test", autumn_key="x", stripe_key="y")
    assert await compare_owner(redis, prefix=PREFIX, inbox=INBOX, owner=owner, note=True) is None
    world.stripe.edit(
        world.autumn.customers["ann"]["stripe_id"], name=f"By hand {time.time()}", metadata={"autumn_id": ""}
    )
    await poller_of(world).tick()
    notifications = NotificationQueue(redis, PREFIX)
    state = await notifications.begin()
    assert state is not None
    await notifications.count_dead_letters(state)
    await notifications.count_reviews(state)
    assert await notifications.note({"scan": "one"})
    return (await scan(scan_deps_of(world, folder), apply=True)).run


@pytest.fixture
async def arq(redis_server: EmbeddedRedis) -> AsyncIterator[ArqRedis]:
    """Yield the Redis client of a worker."""
    client = open_redis(redis_server.url, PREFIX)
    yield client
    await client.aclose(close_connection_pool=True)


@pytest.mark.parametrize("name", [*SHARED, *OF_A_CUSTOMER])
async def test_key_of_wrong_type_delays_no_other_customer(
    world: World, arq: ArqRedis, name: str, tmp_path: Path
) -> None:
    seed(world, "ann", "bob")
    needed = {**SHARED, **OF_A_CUSTOMER}[name]
    kind = WRONG[needed]
    key = key_now(name)
    await change(world, "ann", name="Ann")
    await world.mailbox.move()
    await plant(world.redis, key, kind)
    (sentence,) = await wrong_keys(world.redis, PREFIX, INBOX)
    assert sentence.startswith(f"{key} is a "), kind
    await show_everything(world.redis)

    for customer in ("ann", "bob"):
        await change(world, customer, name=f"Name {kind}", event_id=f"{customer}-{kind}")
    await world.redis.xadd(INBOX, {"no": "event"})
    await world.run()
    assert world.autumn.customers["bob"]["name"] == f"Name {kind}"
    if key != f"{PREFIX}:mailbox:ann":
        assert world.autumn.customers["ann"]["name"] == f"Name {kind}"
    outcome = await outcome_of(world.redis, f"bob-{kind}")
    assert outcome is not None
    assert outcome.status == "applied"
    run = await use_everything(world, tmp_path)
    assert run.state == "done"
    assert await arq.zrangebyscore(queue_name(PREFIX), "-inf", "+inf") == []
    await ring(arq)
    snapshot = await show_everything(world.redis)

    found = (await world.redis.type(key)).decode()
    if key in STAYS:
        assert found == kind
        if key in SHARED:
            assert any(key in reason.text for reason in why_not_ready(snapshot.state))
    else:
        # The watchdog writes the canary. A slot is only held while a request is in flight.
        assert found in {"none", needed} or key == f"{PREFIX}:canary", (kind, found)
    await world.run()
    await forget(world.redis, inbox=INBOX, prefix=PREFIX, customer_id="ann")


@pytest.mark.parametrize("key", CORE)
async def test_core_key_of_wrong_type_is_named_and_loses_nothing(world: World, key: str) -> None:
    seed(world, "ann", "bob")
    kind = WRONG[CORE[key]]
    await plant(world.redis, key, kind)
    if key != INBOX:
        await change(world, "bob", name=f"Name {kind}")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await world.run()
    snapshot = await show_everything(world.redis)
    assert any(key in reason.text for reason in why_not_ready(snapshot.state))
    await world.redis.delete(key)
    if key == INBOX:
        await change(world, "bob", name=f"Name {kind}")
    await world.run()
    assert world.autumn.customers["bob"]["name"] == f"Name {kind}"
