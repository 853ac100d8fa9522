"""Checks that Redis can hold the state: once when the worker starts, then with a canary every two seconds.

If Redis becomes read-only, as after a failover, arq stops without an error. Then the process ends, because a restart
resolves the address of Redis again.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

from worker.loops.heartbeat import Heartbeat

log = structlog.get_logger(__name__)

CANARY_SECONDS = 2.0
READ_ONLY_SECONDS = 4.0
"""The longest time that Redis may be read-only. A failover in progress may end sooner."""
EX_TEMPFAIL = 75
OLDEST_VERSION = (6, 2)
INFO_REFUSED = (
    "the user of REDIS_URL may not call INFO (+info), so the version, the eviction policy and the persistence of Redis "
    "are unknown: events may be lost unnoticed"
)
Info = Mapping[str, Any]
"""The answer to INFO, parsed by redis-py."""


def canary_key(prefix: str) -> str:
    """Return the key of a string, written every two seconds to check that Redis accepts writes. Expires in a minute."""
    return f"{prefix}:canary"


class RedisUnfitError(Exception):
    """This Redis may lose events. The text says what to change."""


def server_of(info: Info) -> str:
    """Return the name and version of the server, such as `Redis 7.0.15` or `Valkey 9.1.2`.

    Valkey also returns the version of Redis that it is compatible with.
    """
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', 'of an unknown version')}"


def why_unfit(info: Info) -> dict[str, str]:
    """Return the reasons why this Redis cannot be used, each with what to change. Keys: version, kind, eviction."""
    reasons = {}
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VERSION:
        reasons["version"] = f"{server_of(info)} is too old: use Redis 6.2 or later, or Valkey"
    if info.get("cluster_enabled"):
        reasons["kind"] = "Redis is a cluster: let REDIS_URL name one node, or one with a replica to fail over to"
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", 0) and policy != "noeviction":
        reasons["eviction"] = f"maxmemory-policy is {policy}: set it to noeviction, or Redis may evict events"
    return reasons


def why_at_risk(info: Info) -> str:
    """Return what a restart of this Redis may lose. Empty if it keeps an append-only file."""
    if info.get("aof_enabled"):
        return ""
    return "appendonly is off: a restart of Redis loses the events accepted since its last snapshot"


async def check_redis(redis: Redis) -> list[str]:
    """Return a sentence for each risk of this Redis. Empty if there is none.

    Raises: RedisUnfitError if it is too old, is a cluster, or may evict events; RedisError if it does not answer.
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
    """Return the error with which Redis rejects writes, for example without free memory. Write nothing.

    None if Redis accepts writes, or if its user may not write. Raises RedisError if Redis does not answer.
    """
    try:
        # XX writes only a key that exists, and this one never does.
        await redis.set(f"{prefix}:never", "", xx=True, px=1)
    except NoPermissionError:
        return None
    except ResponseError as error:
        return error
    return None


class Watchdog:
    """Writes a canary every two seconds, and ends the process if Redis stays read-only."""

    def __init__(self, redis: Redis, prefix: str, heartbeat: Heartbeat) -> None:
        """Do no I/O. `heartbeat` notes each canary that Redis accepts."""
        self._redis = redis
        self._heartbeat = heartbeat
        self._key = canary_key(prefix)
        self._read_only_since: float | None = None

    async def write_canary(self) -> None:
        """Write the canary once. Raises RedisError."""
        try:
            await self._redis.set(self._key, "1", px=60_000)
            self._read_only_since = None
            self._heartbeat.canary_taken()
        except ReadOnlyError:
            now = time.monotonic()
            self._read_only_since = self._read_only_since or now
            if now - self._read_only_since >= READ_ONLY_SECONDS:
                log.critical("redis_write_refused", ends_with=EX_TEMPFAIL)
                # An exception would run cleanup that can block. Nothing needs it: all state is in Redis.
                os._exit(EX_TEMPFAIL)
