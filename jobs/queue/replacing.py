"""Deletion of a key that holds the wrong type of value, so that it can be created again.

It is for keys that no script writes and whose value can be rebuilt. Scripts do the same in `lua/wrong_types.lua`.
"""

from typing import Literal

import structlog
from redis.asyncio import Redis

from jobs.queue.record import RecordKeys
from jobs.queue.scripts import Scripts

log = structlog.get_logger(__name__)
Kind = Literal["string", "list", "hash", "zset", "stream"]


async def delete_if_wrong(redis: Redis, prefix: str, key: str, kind: Kind) -> bool:
    """Delete the key if its type is not `kind`. Return whether it was deleted. Raises RedisError."""
    if not await Scripts(redis, "delete_wrong_type").run("delete_wrong_type", [key, RecordKeys(prefix).totals], [kind]):
        return False
    log.warning("key_replaced", key=key)
    return True
