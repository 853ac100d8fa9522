"""Whether Redis is fit to hold the truth: looked at when the worker starts, and by a canary for as long as it runs.

A Redis that turned read-only, as after a failover, makes arq stand still without a word. Then the process ends, because
the platform's restart resolves the address anew.
"""

import os
import time
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import ReadOnlyError, ResponseError

from worker.pulse import Pulse

log = structlog.get_logger(__name__)

CANARY_SECONDS = 1.0
READ_ONLY_SECONDS = 5.0
"""How long Redis may be read-only: a failover that is under way may give it back."""
EX_TEMPFAIL = 75
OLDEST_VERSION = (6, 2)


class RedisUnfitError(Exception):
    """This Redis cannot keep the promises; the text says what to change."""


async def check_redis(redis: Redis) -> list[str]:
    """What is at risk with this Redis, a sentence each; empty where all is well.

    Raises RedisUnfitError where it cannot work: too old, or free to evict what waits.
    """
    try:
        info: dict[str, Any] = await redis.info()
    except ResponseError:
        return ["INFO is not allowed, so version, eviction and persistence are unknown: changes may be lost unnoticed"]
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VERSION:
        raise RedisUnfitError(f"Redis is {version}: 6.2 or later is needed")
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", 0) and policy != "noeviction":
        raise RedisUnfitError(f"maxmemory-policy is {policy}: set it to noeviction, or Redis may evict what waits")
    if not info.get("aof_enabled"):
        return ["appendonly is off: a restart of Redis loses the changes accepted since its last snapshot"]
    return []


class Watchdog:
    """Writes a canary each second, and ends the process where Redis stays read-only."""

    def __init__(self, redis: Redis, prefix: str, pulse: Pulse) -> None:
        """Opens nothing; `pulse` is told of each canary that Redis took."""
        self._redis = redis
        self._pulse = pulse
        self._key = f"{prefix}:canary"
        self._read_only_since: float | None = None

    async def look(self) -> None:
        """Write the canary once."""
        try:
            await self._redis.set(self._key, "1", px=60_000)
            self._read_only_since = None
            self._pulse.canary_taken()
        except ReadOnlyError:
            now = time.monotonic()
            self._read_only_since = self._read_only_since or now
            if now - self._read_only_since >= READ_ONLY_SECONDS:
                log.critical("redis_read_only", ends_with=EX_TEMPFAIL)
                # Not by an exception: nothing may hold up the end, and all that matters is in Redis.
                os._exit(EX_TEMPFAIL)
