"""Whether Redis is fit to hold the truth: looked at when the worker starts, and by a canary for as long as it runs.

A Redis that turned read-only, as after a failover, makes arq stand still without a word. Then the process ends, because
the platform's restart resolves the address anew.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

from worker.loops.heartbeat import Pulse

log = structlog.get_logger(__name__)

CANARY_SECONDS = 1.0
READ_ONLY_SECONDS = 5.0
"""How long Redis may be read-only: a failover that is under way may give it back."""
EX_TEMPFAIL = 75
OLDEST_VERSION = (6, 2)
INFO_REFUSED = (
    "the user of REDIS_URL may not call INFO (+info), so it is not known whether Redis is new enough, evicts nothing "
    "and keeps its data: changes may be lost unnoticed"
)
Info = Mapping[str, Any]
"""What Redis says of itself, as redis-py reads the answer to INFO."""


def canary_key(prefix: str) -> str:
    """A string that is written each second, to see that Redis takes writes. Lives a minute."""
    return f"{prefix}:canary"


class RedisUnfitError(Exception):
    """This Redis cannot keep the promises; the text says what to change."""


def server_of(info: Info) -> str:
    """Return the name and version of the server, such as `Redis 7.0.15` or `Valkey 9.1.2`.

    Valkey also names the version of Redis that it behaves like.
    """
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', 'of an unknown version')}"


def why_unfit(info: Info) -> dict[str, str]:
    """Why this Redis cannot be used, by what it is about (version, kind, eviction), each with what to change."""
    reasons = {}
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VERSION:
        reasons["version"] = f"{server_of(info)} is too old: use Redis 6.2 or later, or Valkey"
    if info.get("cluster_enabled"):
        reasons["kind"] = "Redis is a cluster: let REDIS_URL name one node, or one with a replica to fail over to"
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", 0) and policy != "noeviction":
        reasons["eviction"] = f"maxmemory-policy is {policy}: set it to noeviction, or Redis may evict what waits"
    return reasons


def why_at_risk(info: Info) -> str:
    """What a restart of this Redis may lose; empty where it keeps an append-only file."""
    if info.get("aof_enabled"):
        return ""
    return "appendonly is off: a restart of Redis loses the changes accepted since its last snapshot"


async def check_redis(redis: Redis) -> list[str]:
    """What is at risk with this Redis, a sentence each; empty where all is well.

    Raises RedisUnfitError where it cannot work: too old, a cluster, or free to evict what waits.
    """
    try:
        info: Info = await redis.info()
    except ResponseError:
        return [INFO_REFUSED]
    reasons = why_unfit(info)
    if reasons:
        raise RedisUnfitError("\n".join(reasons.values()))
    risk = why_at_risk(info)
    return [risk] if risk else []


async def refusal_of_writes(redis: Redis, prefix: str) -> ResponseError | None:
    """Return the error with which Redis refuses writes, as without memory. Changes nothing.

    None if it takes them, or if its user may not write. Raises RedisError if Redis does not answer.
    """
    try:
        # With XX only a key that exists is written, and this one never does.
        await redis.set(f"{prefix}:never", "", xx=True, px=1)
    except NoPermissionError:
        return None
    except ResponseError as error:
        return error
    return None


class Watchdog:
    """Writes a canary each second, and ends the process where Redis stays read-only."""

    def __init__(self, redis: Redis, prefix: str, pulse: Pulse) -> None:
        """Opens nothing; `pulse` is told of each canary that Redis took."""
        self._redis = redis
        self._pulse = pulse
        self._key = canary_key(prefix)
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
                log.critical("redis_write_refused", ends_with=EX_TEMPFAIL)
                # Not by an exception: nothing may hold up the end, and all that matters is in Redis.
                os._exit(EX_TEMPFAIL)
