"""What `customer-sync doctor` checks about Redis. Reads only: no command in here can change a key.

So whether this user may write is not known here. A script that Redis does not have is asked for with our keys: the
refusal tells whether scripts and those keys are allowed, and nothing runs.
"""

import statistics
import time
from dataclasses import dataclass, field
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)

from jobs.mailbox import MailboxKeys
from jobs.record import RecordKeys
from worker.checkup import Check, Found
from worker.tls import is_untrusted
from worker.watchdog import INFO_REFUSED, Info, why_at_risk, why_unfit

PINGS: Final = 21
SLOW_SECONDS: Final = 0.010
"""A sync takes about ten steps through Redis, one after the other."""
SKEW_SECONDS: Final = 2.0
NO_SCRIPT: Final = "0" * 40


@dataclass
class RedisSubject:
    """A Redis and where our keys are in it; `info` is what it says of itself, None where it must not be asked."""

    redis: Redis
    prefix: str
    inbox: str
    info: Info | None = field(default=None)


async def _answers(subject: RedisSubject) -> Found:
    await subject.redis.ping()
    try:
        subject.info = await subject.redis.info()
    except ResponseError:
        return Found("warning", INFO_REFUSED, "Allow INFO (docs/deploy.md has the rule for a user of one's own)")
    return Found("ok", f"answers, version {subject.info.get('redis_version')}")


def redis_error_in_words(error: Exception) -> Found:
    """What an error of Redis means. Raises the error itself where it is none of Redis."""
    if not isinstance(error, RedisError):
        raise error
    if isinstance(error, AuthenticationError | NoPermissionError):
        return Found("wrong", f"Redis refuses the user or the password ({type(error).__name__})", "Correct REDIS_URL")
    if is_untrusted(error):
        text = "the certificate of Redis is not trusted, or is for another name"
        return Found("wrong", text, "See docs/deploy.md, Redis over TLS")
    if isinstance(error, ResponseError):
        text = f"Redis refuses a command ({type(error).__name__})"
        return Found("wrong", text, "Check that it is the primary, and has memory; its log says more")
    return Found("wrong", f"Redis does not answer ({type(error).__name__})", "Check REDIS_URL, and that Redis runs")


def _about(what: str, fine: str) -> Check[RedisSubject]:
    async def look(subject: RedisSubject) -> Found:
        if subject.info is None:
            return Found("skipped", "INFO is not allowed")
        reason, _, fix = why_unfit(subject.info).get(what, "").partition(": ")
        return Found("wrong", reason, _sentence(fix)) if reason else Found("ok", fine)

    return Check(f"redis-{what}", look, ("redis",))


async def _role(subject: RedisSubject) -> Found:
    if subject.info is None:
        return Found("skipped", "INFO is not allowed")
    if subject.info.get("role") == "slave":
        return Found("wrong", "it is a read-only replica", "Let REDIS_URL name the primary")
    return Found("ok", "it is the primary")


async def _persistence(subject: RedisSubject) -> Found:
    if subject.info is None:
        return Found("skipped", "INFO is not allowed")
    risk = why_at_risk(subject.info)
    if risk:
        return Found("warning", risk, "Set appendonly yes, or choose a plan that keeps its data")
    return Found("ok", "appendonly is on")


async def _access(subject: RedisSubject) -> Found:
    mailbox, record = MailboxKeys(subject.prefix), RecordKeys(subject.prefix)
    keys = [subject.inbox, mailbox.waiting, record.totals, record.outcomes]
    for key in keys:
        try:
            await subject.redis.evalsha(NO_SCRIPT, 1, key)  # type: ignore[misc]  # one type for both clients
        except NoScriptError:
            continue
        except RedisError as error:
            fix = "Give the user the rule in docs/deploy.md"
            return Found("wrong", f"this user may not run scripts on {key} ({type(error).__name__})", fix)
    return Found("ok", "scripts and our keys are allowed; that the commands are too shows only in writing")


async def _latency(subject: RedisSubject) -> Found:
    seconds = []
    for _ in range(PINGS):
        begin = time.perf_counter()
        await subject.redis.ping()
        seconds.append(time.perf_counter() - begin)
    return judge_latency(statistics.median(seconds))


def judge_latency(seconds: float) -> Found:
    """What the usual time of a command means."""
    text = f"a command takes {seconds * 1000:.1f} ms"
    if seconds <= SLOW_SECONDS:
        return Found("ok", text)
    return Found("warning", f"{text}: each sync takes about ten", "Run the workers in the region of Redis")


async def _clock(subject: RedisSubject) -> Found:
    before = time.time()
    seconds, microseconds = await subject.redis.time()
    return judge_clock((before + time.time()) / 2 - (seconds + microseconds / 1_000_000))


def judge_clock(ahead_seconds: float) -> Found:
    """What it means that this machine's clock is so much ahead of the one of Redis."""
    text = f"this clock is {abs(ahead_seconds):.1f} s {'ahead of' if ahead_seconds > 0 else 'behind'} that of Redis"
    if abs(ahead_seconds) <= SKEW_SECONDS:
        return Found("ok", text)
    return Found(
        "warning", text, "Synchronise the clocks: ages, the time to give up and RECEIPTS_RECOVER_HOURS are off"
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


REDIS_CHECKS: Final = (
    Check("redis", _answers),
    _about("version", "6.2 or later"),
    _about("kind", "it is no cluster"),
    Check("redis-role", _role, ("redis",)),
    _about("eviction", "nothing is evicted"),
    Check("redis-persistence", _persistence, ("redis",)),
    Check("redis-access", _access, ("redis",)),
    Check("redis-latency", _latency, ("redis",)),
    Check("clock", _clock, ("redis",)),
)
