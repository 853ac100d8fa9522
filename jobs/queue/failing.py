"""The loops of the workers that keep failing: noted by the worker, read by /readyz and the command line.

A note expires by itself, so that neither a worker that ended nor one that went on leaves one behind.
"""

import json
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from jobs.queue.key_types import or_none

LOOPS: Final = ("intake", "supervise", "renew", "slots", "history", "pulse", "watchdog", "scan", "owner")
"""The loops of all process types."""
KEPT_SECONDS: Final = 30
"""The life of a note that is not made again. A run that fails may take ten seconds to do so."""


@dataclass(frozen=True)
class FailingLoop:
    """A loop that has failed since `since_ms`, in milliseconds since the epoch; `error` names the last failure."""

    name: str
    since_ms: int
    error: str


def failing_key(prefix: str, loop: str) -> str:
    """The key of the note, which is JSON. Lives 30 seconds after the last failure."""
    return f"{prefix}:failing:{loop}"


async def note_failing(redis: Redis, prefix: str, loop: FailingLoop) -> None:
    """Note that a loop keeps failing. Raises RedisError."""
    told = json.dumps({"since_ms": loop.since_ms, "error": loop.error})
    await redis.set(failing_key(prefix, loop.name), told, px=KEPT_SECONDS * 1000)


async def clear_failing(redis: Redis, prefix: str, name: str) -> None:
    """Note that a loop works again. Another worker whose loop still fails notes it again. Raises RedisError."""
    await redis.delete(failing_key(prefix, name))


async def read_failing(redis: Redis, prefix: str) -> tuple[FailingLoop, ...]:
    """Return the loops that keep failing, of any worker. Raises RedisError."""
    async with redis.pipeline(transaction=False) as pipe:
        for name in LOOPS:
            pipe.get(failing_key(prefix, name))
        notes = [or_none(answer) for answer in await pipe.execute(raise_on_error=False)]
    return tuple(_read(name, note) for name, note in zip(LOOPS, notes, strict=True) if note is not None)


def _read(name: str, note: bytes) -> FailingLoop:
    try:
        told = json.loads(note)
        return FailingLoop(name, int(told["since_ms"]), str(told["error"]))
    except (ValueError, TypeError, KeyError, OverflowError):
        return FailingLoop(name, 0, "unknown")
