"""The checks of `customer-sync doctor` for Redis. They only read: no command in here can change a key.

The check of the user's rights does not execute the commands (worker.redis_access).
"""

import statistics
import time
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from jobs.queue.mailbox import MAX_AHEAD_MS
from jobs.queue.record import RecordKeys
from jobs.queue.status import read_overview
from worker.checks.check import Check, Found
from worker.checks.key_types import wrong_keys
from worker.loops.watchdog import INFO_REFUSED, Info, refusal_of_writes, server_of, why_at_risk, why_unfit
from worker.redis_access import lacking_rights
from worker.redis_errors import (
    WHOLE_RULE,
    WRONG_TYPE,
    Trouble,
    reach,
    trouble_of,
    trouble_of_rights,
    trouble_of_types,
    trouble_with,
)

PINGS: Final = 21
SLOW_SECONDS: Final = 0.010
"""A sync makes about ten round trips to Redis, one after the other."""
SKEW_SECONDS: Final = 2.0


@dataclass
class RedisSubject:
    """A Redis and the names of our keys in it. `info` is its INFO, or None if the user may not run INFO."""

    redis: Redis
    prefix: str
    inbox: str
    info: Info | None = field(default=None)


async def _answers(subject: RedisSubject) -> Found:
    try:
        await reach(subject.redis)
    except RedisError as error:
        return _wrong(await trouble_with(subject.redis, error))
    try:
        subject.info = await subject.redis.info()
    except ResponseError:
        return Found("warning", INFO_REFUSED, f"Add +info to the user's rule; {WHOLE_RULE}")
    return Found("ok", f"{server_of(subject.info)} answers")


def redis_error_in_words(error: Exception) -> Found:
    """Return the result for an error of Redis. Raises the error itself if it is not one of Redis."""
    if not isinstance(error, RedisError):
        raise error
    return _wrong(trouble_of(error))


def _wrong(trouble: Trouble) -> Found:
    return Found("wrong", trouble.text, trouble.fix)


def _about(what: str, fine: str) -> Check[RedisSubject]:
    async def run(subject: RedisSubject) -> Found:
        if subject.info is None:
            return Found("skipped", "INFO is not allowed")
        reason, _, fix = why_unfit(subject.info).get(what, "").partition(": ")
        return Found("wrong", reason, _sentence(fix)) if reason else Found("ok", fine)

    return Check(f"redis-{what}", run, ("redis",))


async def _role(subject: RedisSubject) -> Found:
    if subject.info is None:
        return Found("skipped", "INFO is not allowed")
    if subject.info.get("role") == "slave":
        return Found("wrong", "Redis is a read-only replica", "Set REDIS_URL to the primary")
    return Found("ok", "Redis is the primary")


async def _persistence(subject: RedisSubject) -> Found:
    if subject.info is None:
        return Found("skipped", "INFO is not allowed")
    risk = why_at_risk(subject.info)
    if risk:
        return Found("warning", risk, "Set appendonly yes, or choose a plan that keeps its data")
    return Found("ok", "appendonly is on")


async def _access(subject: RedisSubject) -> Found:
    lacking = await lacking_rights(subject.redis, subject.prefix, subject.inbox)
    if lacking:
        return _wrong(trouble_of_rights(lacking))
    return Found("ok", "the user may run all needed commands on all our keys")


async def _writes(subject: RedisSubject) -> Found:
    refusal = await refusal_of_writes(subject.redis, subject.prefix)
    return Found("ok", "Redis accepts writes") if refusal is None else _wrong(trouble_of(refusal))


async def _keys(subject: RedisSubject) -> Found:
    wrong = await wrong_keys(subject.redis, subject.prefix, subject.inbox)
    return _wrong(trouble_of_types(wrong)) if wrong else Found("ok", "our keys have the right types")


async def _inbox_ids(subject: RedisSubject) -> Found:
    """Check the last id, because Redis makes no smaller one, even after that entry was deleted."""
    try:
        last_id = (await subject.redis.xinfo_stream(subject.inbox))["last-generated-id"].decode()
    except ResponseError as error:
        if "no such key" not in str(error):
            raise
        return Found("ok", "the inbox is empty")
    seconds, _ = await subject.redis.time()
    ahead_ms = int(last_id.partition("-")[0]) - seconds * 1000
    if ahead_ms <= MAX_AHEAD_MS:
        return Found("ok", "the last id of the inbox is not in the future")
    text = f"the last id of the inbox, {last_id}, is ahead of Redis' clock, so new entries become dead letters"
    return Found(
        "wrong",
        text,
        "A worker deletes an empty inbox; see docs/operations.md, An inbox whose ids are ahead of the clock",
    )


async def _dead_letters(subject: RedisSubject) -> Found:
    overview = await read_overview(subject.redis, subject.prefix, subject.inbox)
    keys = RecordKeys(subject.prefix)
    aside = f"{overview.dead_aside} dead letters are kept in {keys.aside}" if overview.dead_aside else ""
    if overview.full_keys:
        text = f"{keys.dead} has reached the largest id of a stream, so it accepts no dead letter"
        fix = f"Rename or delete {keys.dead}, then a worker moves back those kept aside; see {WRONG_TYPE}"
        return Found("wrong", f"{text}{aside and ': '}{aside}", fix)
    if aside:
        return Found("warning", aside, "Run a worker, which moves them back")
    return Found("ok", "the stream accepts dead letters")


async def _latency(subject: RedisSubject) -> Found:
    seconds = []
    for _ in range(PINGS):
        begin = time.perf_counter()
        await reach(subject.redis)
        seconds.append(time.perf_counter() - begin)
    return judge_latency(statistics.median(seconds))


def judge_latency(seconds: float) -> Found:
    """Return the verdict on the usual time of a command."""
    text = f"a command takes {seconds * 1000:.1f} ms"
    if seconds <= SLOW_SECONDS:
        return Found("ok", text)
    return Found("warning", f"{text}; each sync makes about ten", "Run the workers in the same region as Redis")


async def _clock(subject: RedisSubject) -> Found:
    before = time.time()
    seconds, microseconds = await subject.redis.time()
    return judge_clock((before + time.time()) / 2 - (seconds + microseconds / 1_000_000))


def judge_clock(ahead_seconds: float) -> Found:
    """Return the result if this machine's clock is ahead of Redis' clock by this many seconds."""
    text = f"this clock is {abs(ahead_seconds):.1f} s {'ahead of' if ahead_seconds > 0 else 'behind'} Redis' clock"
    if abs(ahead_seconds) <= SKEW_SECONDS:
        return Found("ok", text)
    return Found(
        "warning", text, "Synchronise the clocks, because ages, RETRY_FOR and RECEIPTS_RECOVER_HOURS depend on them"
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


REDIS_CHECKS: Final = (
    Check("redis", _answers),
    _about("version", "6.2 or later"),
    _about("kind", "Redis is not a cluster"),
    Check("redis-role", _role, ("redis",)),
    _about("eviction", "nothing is evicted"),
    Check("redis-persistence", _persistence, ("redis",)),
    Check("redis-access", _access, ("redis",)),
    Check("redis-writes", _writes, ("redis", "redis-role", "redis-access")),
    Check("redis-keys", _keys, ("redis", "redis-access")),
    Check("inbox-ids", _inbox_ids, ("redis", "redis-access", "redis-keys")),
    Check("dead-letters", _dead_letters, ("redis", "redis-access", "redis-keys")),
    Check("redis-latency", _latency, ("redis",)),
    Check("clock", _clock, ("redis",)),
)
