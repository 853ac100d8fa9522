"""Deleting a key of ours that holds another type of value than it should, so that it can be made again.

For keys that no script writes, and whose value can be learned again: scripts do the same themselves (lua/wrong_types).
"""

from typing import Literal

import structlog
from redis.asyncio import Redis

from jobs.queue.record import RecordKeys
from jobs.queue.scripts import Scripts

log = structlog.get_logger(__name__)
Kind = Literal["string", "list", "hash", "zset", "stream"]


async def delete_if_wrong(redis: Redis, prefix: str, key: str, kind: Kind) -> bool:
    """Delete the key if it holds another type of value than `kind`; return whether it did. Raises RedisError."""
    if not await Scripts(redis, "replace").run("replace", [key, RecordKeys(prefix).totals], [kind]):
        return False
    log.warning("key_replaced", key=key)
    return True
