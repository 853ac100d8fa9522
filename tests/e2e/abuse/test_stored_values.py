"""Readable values in Redis are still shown beside values that the worker did not write."""

import json
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.conftest import PREFIX
from tests.e2e.cli.test_app import Terminal
from tests.support.busy import assert_untroubled, attacked_box
from tests.support.processes import wait_until
from tests.support.watching import watched
from worker.status.history import MINUTE_MS

HUGE = "9" * 5000
BAD_RUNS = ("{no json", "[1]", "null", '{"run": 1}', "[" * 100_000, '{"run": "a", "state": "done", "started_ms": "x"}')


async def spoil(redis: Redis) -> None:
    """Write invalid values into the keys that the status is read from."""
    totals = {"dead:refused": "many", "retries:timeout": "1.5", "merged": HUGE, "ann@example.com": "nan", "applied": 7}
    await redis.hset(f"{PREFIX}:totals", mapping=totals)  # type: ignore[misc]  # one type for both clients
    await redis.set(f"{PREFIX}:last-success", "yesterday")
    watch = {"position": "-1", "polled_ms": HUGE, "off_since_ms": "nan", "error_since_ms": "1e9"}
    await redis.hset(f"{PREFIX}:watch", mapping=watch)  # type: ignore[misc]  # one type for both clients
    await redis.set(f"{PREFIX}:scan:watermark", "never")
    await redis.set(f"{PREFIX}:scan:run", "{no json")
    await redis.lpush(f"{PREFIX}:scan:history", *BAD_RUNS)  # type: ignore[misc]  # one type for both clients
    seconds, _ = await redis.time()
    minute = seconds * 1000 // MINUTE_MS
    odd = {f"{minute}:applied": "x", f"{minute - 1}:applied": "1", "x:y": "1", f"{minute - 2}:calls:stripe": HUGE}
    await redis.hset(f"{PREFIX}:history:{minute // 60}", mapping=odd)  # type: ignore[misc]  # one type for both clients


async def test_unreadable_values_are_omitted_counted_and_logged_once(tmp_path: Path) -> None:
    async with attacked_box() as box, Redis.from_url(box.environment["REDIS_URL"]) as redis:
        async with watched(box.environment) as one:
            await spoil(redis)

            async def are_counted() -> bool:
                shown = await one.full_samples()
                return list(shown["customer_sync_unreadable_totals_kept"].values()) == [4.0]

            async def is_ready_without_a_scan() -> bool:
                status, body = await one.full_readiness()
                return (status, body["ready"], body["last_scan"]) == (200, True, None)

            await wait_until(are_counted)
            shown = await one.full_samples()
            assert list(shown["customer_sync_unreadable_totals_kept"].values()) == [4.0]
            assert {
                dict(labels)["outcome"]: value for labels, value in shown["customer_sync_events_total"].items()
            } == {
                "applied": 7.0,
                "dead": 0.0,
                "duplicate": 0.0,
            }
            await wait_until(is_ready_without_a_scan, what="ready without a scan")
            terminal = Terminal(box.redis.url, tmp_path)
            code, output, errors = await terminal.run("status")
            assert (code, output.splitlines()[0]) == (0, "Everything is all right."), errors
            assert errors.startswith("4 totals are not numbers and are left out (dead:refused, merged, retries")
            code, output, _ = await terminal.run("status", "--json")
            assert (code, json.loads(output)["verdict"]) == (0, "all-right")
            assert (await terminal.run("scan", "history"))[0] == 0
        (line,) = [json.loads(line) for line in one.running.log if "totals_skipped" in line]
        assert (line["totals"], line["names"]) == (4, ["dead:refused", "merged", "retries:timeout"])
        assert_untroubled(one.running.log)


@pytest.mark.parametrize(("number", "shown_as"), [("7", 7), ("-3", 0), (str(2**53 + 1), 2**53), ("9" * 19, 2**53)])
async def test_numbers_are_accepted_and_bounded(number: str, shown_as: int) -> None:
    async with attacked_box() as box, Redis.from_url(box.environment["REDIS_URL"]) as redis:
        await redis.hset(f"{PREFIX}:totals", "dead:refused", number)
        async with watched(box.environment) as one:
            shown = await one.full_samples()
            assert list(shown["customer_sync_unreadable_totals_kept"].values()) == [0.0]
            assert list(shown["customer_sync_dead_letters_total"].values()) == [float(shown_as)]
