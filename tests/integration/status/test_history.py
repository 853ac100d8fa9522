"""The history of the last hours: shared numbers are written once a minute, requests are added up over all workers."""

import asyncio
from dataclasses import replace

from redis.asyncio import Redis

from jobs.queue.status import read_overview
from tests.conftest import INBOX, PREFIX
from worker.status.history import KEPT_SECONDS, MINUTE_MS, History, Sampler
from worker.status.shared_state import ScanState, SharedState

NOW_MS = 1_800_000_000_000


async def test_shared_numbers_are_written_once_and_requests_add_up(redis: Redis) -> None:
    overview = replace(await read_overview(redis, PREFIX, INBOX), now_ms=NOW_MS, totals={"applied": 7})
    history = History(redis, PREFIX)
    await history.note(overview, {"stripe": 3})
    await history.note(replace(overview, totals={"applied": 9}), {"stripe": 2, "autumn-updates": 0})
    (minute,) = await history.read(until_ms=NOW_MS, hours=1)
    assert minute.number == NOW_MS // MINUTE_MS
    assert minute.totals == {"received": 0, "applied": 7, "dead": 0}
    assert minute.calls == {"stripe": 5}


async def test_sampler_returns_as_soon_as_minute_is_written(redis: Redis) -> None:
    overview = replace(await read_overview(redis, PREFIX, INBOX), now_ms=NOW_MS)
    history = History(redis, PREFIX)

    async def read_state() -> SharedState:
        return SharedState(overview, {}, ScanState(last=None, last_done=None, began_ms=None, is_overdue=False))

    async with asyncio.timeout(MINUTE_MS / 1000 / 2):
        await Sampler(history, read_state, lambda: {"stripe": 3}).note_minute()
    assert [minute.calls for minute in await history.read(until_ms=NOW_MS, hours=1)] == [{"stripe": 3}]


async def test_minute_has_age_of_oldest_event(redis: Redis) -> None:
    overview = replace(await read_overview(redis, PREFIX, INBOX), now_ms=NOW_MS, oldest_sent_ms=NOW_MS - 5_000)
    history = History(redis, PREFIX)
    await history.note(overview, {})
    assert [minute.oldest_seconds for minute in await history.read(until_ms=NOW_MS, hours=1)] == [5]


async def test_only_last_hours_are_read_in_order(redis: Redis) -> None:
    overview = await read_overview(redis, PREFIX, INBOX)
    history = History(redis, PREFIX)
    minutes_ago = [0, 1, 59, 60, 61, 300]
    for ago in minutes_ago:
        await history.note(replace(overview, now_ms=NOW_MS - ago * MINUTE_MS), {})
    found = await history.read(until_ms=NOW_MS, hours=1)
    assert [NOW_MS // MINUTE_MS - minute.number for minute in found] == [60, 59, 1, 0]


async def test_each_key_holds_an_hour_and_expires(redis: Redis) -> None:
    overview = await read_overview(redis, PREFIX, INBOX)
    history = History(redis, PREFIX)
    for ago in range(120):
        await history.note(replace(overview, now_ms=NOW_MS - ago * MINUTE_MS), {"stripe": 1})
    keys = [key async for key in redis.scan_iter(f"{PREFIX}:history:*")]
    assert len(keys) in {2, 3}
    for key in keys:
        assert 0 < await redis.ttl(key) <= KEPT_SECONDS
