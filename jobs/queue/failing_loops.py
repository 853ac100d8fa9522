"""Notes about worker loops that keep failing. Workers write them; /readyz and the command line read them.

A note expires by itself, so a worker that ended or recovered leaves none behind.
"""

import json
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from jobs.queue.key_types import or_none

LOOPS: Final = (
    *("intake", "dispatch", "renew", "slots", "history", "heartbeat", "watchdog", "scan", "owner", "watch"),
    "notifications",
)
"""The loops of all process types."""
KEPT_SECONDS: Final = 30
"""The life of a note. It is longer than one failing run of a loop, which can take ten seconds."""


@dataclass(frozen=True)
class FailingLoop:
    """A loop that has failed since `since_ms`, in milliseconds since the epoch; `error` names the last failure."""

    name: str
    since_ms: int
    error: str


def failing_key(prefix: str, loop: str) -> str:
    """Return the key of the note, which is JSON. It expires 30 seconds after the last failure."""
    return f"{prefix}:failing:{loop}"


async def note_failing(redis: Redis, prefix: str, loop: FailingLoop) -> None:
    """Note that a loop keeps failing. Raises RedisError."""
    note = json.dumps({"since_ms": loop.since_ms, "error": loop.error})
    await redis.set(failing_key(prefix, loop.name), note, px=KEPT_SECONDS * 1000)


async def clear_failing(redis: Redis, prefix: str, name: str) -> None:
    """Delete the note, because the loop works again. If it still fails in another worker, that one notes it again.

    Raises RedisError.
    """
    await redis.delete(failing_key(prefix, name))


async def read_failing(redis: Redis, prefix: str) -> tuple[FailingLoop, ...]:
    """Return the loops that keep failing in any worker. Raises RedisError."""
    async with redis.pipeline(transaction=False) as pipe:
        for name in LOOPS:
            pipe.get(failing_key(prefix, name))
        notes = [or_none(answer) for answer in await pipe.execute(raise_on_error=False)]
    return tuple(_read(name, note) for name, note in zip(LOOPS, notes, strict=True) if note is not None)


def _read(name: str, note: bytes) -> FailingLoop:
    try:
        found = json.loads(note)
        return FailingLoop(name, int(found["since_ms"]), str(found["error"]))
    except (ValueError, TypeError, KeyError, OverflowError):
        return FailingLoop(name, 0, "unknown")
