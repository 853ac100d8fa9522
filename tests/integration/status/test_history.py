"""The minutes of the last hours: noted once by any worker, added up when each counts its own, and gone after a day."""

import asyncio
from dataclasses import replace

from redis.asyncio import Redis

from jobs.queue.status import read_overview
from tests.conftest import INBOX, PREFIX
from worker.status.history import KEPT_SECONDS, MINUTE_MS, History, Sampler
from worker.status.shared_state import ScanState, SharedState

NOW_MS = 1_800_000_000_000


async def test_the_first_worker_of_a_minute_notes_what_is_shared_and_each_adds_its_calls(redis: Redis) -> None:
    overview = replace(await read_overview(redis, PREFIX, INBOX), now_ms=NOW_MS, totals={"applied": 7})
    history = History(redis, PREFIX)
    await history.note(overview, {"stripe": 3})
    await history.note(replace(overview, totals={"applied": 9}), {"stripe": 2, "autumn-updates": 0})
    (minute,) = await history.read(until_ms=NOW_MS, hours=1)
    assert minute.number == NOW_MS // MINUTE_MS
    assert minute.totals == {"received": 0, "applied": 7, "dead": 0}
    assert minute.calls == {"stripe": 5}


async def test_a_turn_ends_as_soon_as_its_minute_is_noted(redis: Redis) -> None:
    overview = replace(await read_overview(redis, PREFIX, INBOX), now_ms=NOW_MS)
    history = History(redis, PREFIX)

    async def look() -> SharedState:
        return SharedState(overview, {}, ScanState(last=None, last_done=None, began_ms=None, is_overdue=False))

    async with asyncio.timeout(MINUTE_MS / 1000 / 2):
        await Sampler(history, look, lambda: {"stripe": 3}).run()
    assert [minute.calls for minute in await history.read(until_ms=NOW_MS, hours=1)] == [{"stripe": 3}]


async def test_the_age_of_the_oldest_change_is_noted(redis: Redis) -> None:
    overview = replace(await read_overview(redis, PREFIX, INBOX), now_ms=NOW_MS, oldest_sent_ms=NOW_MS - 5_000)
    history = History(redis, PREFIX)
    await history.note(overview, {})
    assert [minute.oldest_seconds for minute in await history.read(until_ms=NOW_MS, hours=1)] == [5]


async def test_the_last_hours_are_read_in_order_and_no_more(redis: Redis) -> None:
    overview = await read_overview(redis, PREFIX, INBOX)
    history = History(redis, PREFIX)
    minutes_ago = [0, 1, 59, 60, 61, 300]
    for ago in minutes_ago:
        await history.note(replace(overview, now_ms=NOW_MS - ago * MINUTE_MS), {})
    found = await history.read(until_ms=NOW_MS, hours=1)
    assert [NOW_MS // MINUTE_MS - minute.number for minute in found] == [60, 59, 1, 0]


async def test_every_key_lives_a_day_and_an_hour_holds_sixty_minutes(redis: Redis) -> None:
    overview = await read_overview(redis, PREFIX, INBOX)
    history = History(redis, PREFIX)
    for ago in range(120):
        await history.note(replace(overview, now_ms=NOW_MS - ago * MINUTE_MS), {"stripe": 1})
    keys = [key async for key in redis.scan_iter(f"{PREFIX}:history:*")]
    assert len(keys) in {2, 3}
    for key in keys:
        assert 0 < await redis.ttl(key) <= KEPT_SECONDS
