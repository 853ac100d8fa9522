"""Entries whose id an app chose: far ahead of the clock, or the last one that a stream can have."""

import sys
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, CookieJar
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from jobs.enqueue import outcome_of
from jobs.mailbox import MAX_AHEAD_MS, Mailbox
from jobs.overview import read_overview
from sandbox.everything import Sandbox, sandbox
from tests.conftest import INBOX, PREFIX, World, read_dead
from tests.e2e.test_start import ended
from tests.e2e.watching import watched
from tests.integration.browser import Browser
from tests.integration.steps import change, seed
from tests.operator import PASSWORD

LAST = f"{2**64 - 1}-{2**64 - 1}"
FIELDS = {"customer_id": "ann", "changes": '{"name": "Ahead"}'}


def ahead(milliseconds: int) -> str:
    return f"{int(time.time() * 1000) + milliseconds}-1"


@pytest.mark.parametrize("chosen", [LAST, f"{2**64 - 1}-1", "an hour ahead"])
async def test_entry_ahead_of_the_clock_holds_up_no_later_one(world: World, chosen: str) -> None:
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


async def test_id_slightly_ahead_is_taken_without_counting_its_age(world: World) -> None:
    seed(world, "ann")
    await world.redis.xadd(INBOX, dict(FIELDS.items()), id=ahead(MAX_AHEAD_MS // 2))
    assert (await read_overview(world.redis, PREFIX, INBOX)).oldest_sent_ms is None
    await world.mailbox.move()
    overview = await read_overview(world.redis, PREFIX, INBOX)
    assert overview.oldest_sent_ms is not None
    assert overview.oldest_sent_ms <= overview.now_ms
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Ahead"


async def test_ages_are_told_whatever_ids_redis_holds(redis: Redis) -> None:
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
            status, text = await shown.get(path)
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
            code, output = await ended(box, [sys.executable, "-m", "worker", *words])
            assert code == 0, output
            assert "Traceback" not in output


async def test_doctor_finds_an_inbox_that_is_closed_for_good(box: Sandbox) -> None:
    doctor = [sys.executable, "-m", "worker", "doctor"]
    async with Redis.from_url(box.redis.url) as redis:
        await redis.xdel(INBOX, await redis.xadd(INBOX, dict(FIELDS.items()), id=LAST))
        with pytest.raises(ResponseError, match="exhausted the last possible ID"):
            await redis.xadd(INBOX, dict(FIELDS.items()))
        code, output = await ended(box, doctor)
        assert code == 1
        assert f"the last id of the inbox, {LAST}, is ahead of the clock" in output
        await redis.delete(INBOX)
        assert (await ended(box, doctor))[0] == 0
