"""Events with an id chosen by an app: far from the clock, or the highest id of a stream."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import ClientSession, CookieJar
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from jobs.enqueue import outcome_of
from jobs.queue.batch import EntryOutcome, Settlement
from jobs.queue.mailbox import MAX_AHEAD_MS, Mailbox
from jobs.queue.status import read_overview
from sandbox.everything import Sandbox, sandbox
from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX, PREFIX, World, read_dead
from tests.e2e.test_redis_acl import RULES, WORD, rules_of
from tests.support.browser import Browser
from tests.support.operator import PASSWORD
from tests.support.processes import ended
from tests.support.steps import change, seed
from tests.support.watching import watched

LAST = f"{2**64 - 1}-{2**64 - 1}"
FIELDS = {"customer_id": "ann", "changes": '{"name": "Ahead"}'}


def ahead(milliseconds: int) -> str:
    return f"{int(time.time() * 1000) + milliseconds}-1"


@pytest.mark.parametrize("chosen", [LAST, f"{2**64 - 1}-1", "an hour ahead"])
async def test_event_ahead_of_the_clock_delays_no_later_event(world: World, chosen: str) -> None:
    entry_id = ahead(10 * MAX_AHEAD_MS) if chosen == "an hour ahead" else chosen
    seed(world, "ann")
    await world.redis.xadd(INBOX, dict(FIELDS.items()), id=entry_id)
    await world.mailbox.move()
    (letter,) = await read_dead(world.redis)
    assert (letter["reason"], letter["entry"], letter["sent.customer_id"]) == ("future_id", entry_id, "ann")
    assert "ahead of the clock of Redis" in letter["message"]
    event = await change(world, "ann", name="Ann")
    await world.run()
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    assert outcome.status == "applied"
    assert world.autumn.customers["ann"]["name"] == "Ann"


async def test_id_slightly_ahead_is_accepted_without_an_age(world: World) -> None:
    seed(world, "ann")
    await world.redis.xadd(INBOX, dict(FIELDS.items()), id=ahead(MAX_AHEAD_MS // 2))
    assert (await read_overview(world.redis, PREFIX, INBOX)).oldest_sent_ms is None
    await world.mailbox.move()
    overview = await read_overview(world.redis, PREFIX, INBOX)
    assert overview.oldest_sent_ms is not None
    assert overview.oldest_sent_ms <= overview.now_ms
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Ahead"


@asynccontextmanager
async def shipped_users(url: str) -> AsyncIterator[tuple[Redis, Redis]]:
    """Yield clients of the worker's and the app's user, with the permissions of the file in `deploy`."""
    names = ("customer-sync", "customer-sync-app")
    async with Redis.from_url(url) as admin:
        rules = RULES[await rules_of(admin)]
        for name in names:
            words = [f">{WORD}" if word.startswith(">") else word for word in rules[name]]
            await admin.execute_command("ACL", "SETUSER", name, *words)
        worker, app = (Redis.from_url(url.replace("redis://", f"redis://{name}:{WORD}@")) for name in names)
        try:
            async with worker, app:
                yield worker, app
        finally:
            await admin.execute_command("ACL", "DELUSER", *names)


@pytest.mark.parametrize("chosen", [LAST, f"{2**64 - 1}-1", "an hour ahead"])
async def test_event_trimmed_at_once_does_not_close_the_inbox(
    redis: Redis, redis_server: EmbeddedRedis, chosen: str
) -> None:
    entry_id = ahead(10 * MAX_AHEAD_MS) if chosen == "an hour ahead" else chosen
    async with shipped_users(redis_server.url) as (worker, app):
        mailbox = Mailbox(worker, inbox=INBOX, prefix=PREFIX)
        await app.xadd(INBOX, {"a": "b"}, id=entry_id, maxlen=0, approximate=False)
        await mailbox.move()
        event = await app.xadd(INBOX, dict(FIELDS.items()))
        assert await mailbox.move() == (1, False)
    assert await read_dead(redis) == []
    assert [entry for entry, _ in await redis.xrange(f"{PREFIX}:mailbox:ann")] == [event]


@pytest.mark.parametrize("begins_with", [None, "a little ahead"])
async def test_empty_inbox_with_normal_ids_is_kept(redis: Redis, begins_with: str | None) -> None:
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX)
    await mailbox.move()
    assert not await redis.exists(INBOX)
    await redis.xadd(INBOX, dict(FIELDS.items()), id=ahead(MAX_AHEAD_MS // 2) if begins_with else "*")
    await mailbox.move()
    await mailbox.move()
    assert await redis.exists(INBOX)
    assert await redis.xlen(INBOX) == 0


async def test_dead_letter_behind_a_future_id_names_the_earlier_id(redis: Redis) -> None:
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX)
    await redis.xadd(INBOX, {"no": "event"}, id=ahead(10 * MAX_AHEAD_MS))
    await redis.xadd(INBOX, dict(FIELDS.items()))
    await mailbox.move()
    letters = await read_dead(redis)
    assert [letter["reason"] for letter in letters] == ["future_id", "future_id"]
    for letter in letters:
        assert "this id, or that of an entry before it, was chosen ahead of the clock of Redis" in letter["message"]
        assert "replay" in letter["message"]


async def test_id_far_in_the_past_does_not_count_for_ages(redis: Redis) -> None:
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX)
    began = int(time.time() * 1000)
    for entry_id in ("1-1", "1-2"):
        await redis.xadd(INBOX, dict(FIELDS.items()), id=entry_id)
    assert (await read_overview(redis, PREFIX, INBOX)).oldest_sent_ms is None
    await mailbox.move()
    moved = (await read_overview(redis, PREFIX, INBOX)).oldest_sent_ms
    assert moved is not None
    assert moved >= began

    await redis.zadd(f"{PREFIX}:oldest", {"ann": began - 60_000})
    await mailbox.dispatch(1)
    batch = await mailbox.take("ann")
    assert batch is not None
    settlement = Settlement(outcomes=())
    assert await mailbox.settle(batch.lease, settlement)
    assert (await read_overview(redis, PREFIX, INBOX)).oldest_sent_ms == began - 60_000

    await mailbox.dispatch(1)
    batch = await mailbox.take("ann")
    assert batch is not None
    assert await mailbox.settle(batch.lease, replace(settlement, outcomes=(EntryOutcome("1-1", "1-1"),)))
    left = (await read_overview(redis, PREFIX, INBOX)).oldest_sent_ms
    assert left is not None
    assert left >= began


async def test_id_of_last_week_counts_for_ages(redis: Redis) -> None:
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX)
    week_ago = int(time.time() * 1000) - 7 * 86_400_000
    await redis.xadd(INBOX, dict(FIELDS.items()), id=f"{week_ago}-1")
    assert (await read_overview(redis, PREFIX, INBOX)).oldest_sent_ms == week_ago
    await mailbox.move()
    assert (await read_overview(redis, PREFIX, INBOX)).oldest_sent_ms == week_ago


async def test_ages_are_known_for_any_id_in_redis(redis: Redis) -> None:
    for key in (INBOX, f"{PREFIX}:dead", f"{PREFIX}:mailbox:ann"):
        await redis.xadd(key, dict(FIELDS.items()), id=LAST)
    await redis.zadd(f"{PREFIX}:oldest", {"ann": 2**64})
    await redis.set(f"{PREFIX}:last-success", str(2**70))
    overview = await read_overview(redis, PREFIX, INBOX)
    for shown_ms in (overview.oldest_sent_ms, overview.newest_dead_ms, overview.last_success_ms):
        assert shown_ms == overview.now_ms


async def test_inbox_is_not_deleted_while_anything_is_in_it(redis: Redis) -> None:
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX)
    for _ in range(3):
        await redis.xadd(INBOX, {"no": "event"})
    await redis.xadd(INBOX, dict(FIELDS.items()), id=LAST)
    for left in (2, 1):
        await mailbox.move(2 if left == 2 else 1)
        assert await redis.xlen(INBOX) == left
    await mailbox.move()
    assert not await redis.exists(INBOX)
    assert len(await read_dead(redis)) == 4


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        everything.autumn.seed("ann")
        yield everything


async def test_pages_and_commands_show_times_of_chosen_ids(box: Sandbox) -> None:
    with_page = box.environment | {"OPERATOR_PASSWORD": PASSWORD}
    async with (
        watched(with_page) as shown,
        Redis.from_url(box.redis.url) as redis,
        ClientSession(cookie_jar=CookieJar(unsafe=True)) as http,
    ):
        browser = Browser(http, shown.url)
        await browser.sign_in()
        await redis.xadd(f"{PREFIX}:mailbox:ann", dict(FIELDS.items()), id=LAST)
        await redis.zadd(f"{PREFIX}:oldest", {"ann": 2**64})
        await redis.zadd(f"{PREFIX}:waiting", {"ann": 9e15})
        await redis.xadd(f"{PREFIX}:dead", {"entry": LAST, "customer": "ann", "reason": "future_id"}, id=LAST)
        await redis.set(f"{PREFIX}:last-success", str(2**70))
        for path in ("/readyz", "/metrics"):
            status, text = await shown.answer(path)
            assert status in {200, 503}, text
        status, text, _ = await browser.get()
        assert (status, "Dead letters" in text) == (200, True), text
        for words in (
            ["status"],
            ["status", "--json"],
            ["status", "ann"],
            ["status", "ann", "--json"],
            ["dead", "list"],
        ):
            code, output = await ended(box.environment, "customer-sync", *words)
            assert code == 0, output
            assert "Traceback" not in output


async def test_doctor_finds_a_permanently_closed_inbox(box: Sandbox) -> None:
    doctor = ["customer-sync", "doctor"]
    async with Redis.from_url(box.redis.url) as redis:
        await redis.xdel(INBOX, await redis.xadd(INBOX, dict(FIELDS.items()), id=LAST))
        with pytest.raises(ResponseError, match="exhausted the last possible ID"):
            await redis.xadd(INBOX, dict(FIELDS.items()))
        code, output = await ended(box.environment, *doctor)
        assert code == 1
        assert f"the last id of the inbox, {LAST}, is ahead of Redis' clock" in output
        await redis.delete(INBOX)
        assert (await ended(box.environment, *doctor))[0] == 0
