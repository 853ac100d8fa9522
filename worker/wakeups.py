"""Wake-ups: a worker reads arq's queue when the bell rings, instead of polling it.

The bell is a stream with one entry. The dispatcher adds an entry after it has added jobs, which is a ring. An idle
worker waits in a blocking read of the bell, and then reads the queue. A ring may be lost, because nothing depends on
it: the worker also reads the queue every READ_SECONDS. After a read that found jobs, the next read follows within
AGAIN_SECONDS, because arq may not have taken them all.

The blocking read runs in a task of its own, on a connection of its own. So arq's loop goes on while the bell is silent,
and removes the jobs that ended: at SIGTERM it waits for all that it has not removed.
"""

import asyncio
import os
import secrets
import time
from typing import Any, Final

import structlog
from arq.connections import ArqRedis
from arq.utils import timestamp_ms
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from jobs.errors import describe
from jobs.queue.key_types import is_wrong_type
from worker.redis_client import PatientRedis

READ_SECONDS: Final = 2.0
"""The longest time between two reads of the queue: the delay of a job without a ring."""
BLOCK_SECONDS: Final = 5.0
"""The longest wait of one blocking read. It must be shorter than the time-out of the client."""
AGAIN_SECONDS: Final = 0.015
"""The longest time between two reads while the queue holds jobs."""
LOOP_SECONDS: Final = 0.2
"""The longest wait of arq's loop, which then continues without a command to Redis."""
HEAD_START_SECONDS: Final = 0.005
"""A worker that rings reads the queue at once, and the others after this time. So they do not all ask for one job."""
KEPT_MS: Final = 60_000
FIRST: Final = b"0-0"
_NAME: Final = secrets.token_hex(4)

log = structlog.get_logger(__name__)


def bell_of(queue: str) -> str:
    """Return the key of the bell for a queue. Expires a minute after the last ring."""
    return f"{queue}:bell"


async def ring(redis: ArqRedis) -> None:
    """Wake the workers that wait for jobs in the client's queue. Raises RedisError."""
    bell = bell_of(redis.default_queue_name)
    async with redis.pipeline(transaction=False) as pipe:
        pipe.xadd(bell, {"by": _own_name()}, maxlen=1, approximate=False)
        pipe.pexpire(bell, KEPT_MS)
        rung, _ = await pipe.execute(raise_on_error=False)
    if isinstance(rung, ResponseError):
        # Not a stream, or a stream with no id left. If Redis refuses all writes, this raises its error.
        await redis.delete(bell)
        log.warning("key_replaced", key=bell)
    elif isinstance(rung, Exception):
        raise rung


class Bell:
    """The bell of one queue, as one worker hears it."""

    def __init__(self, redis: Redis, queue: str) -> None:
        """Do no I/O. `redis` is a client of `open_redis`."""
        self._redis = redis
        self._key = bell_of(queue)
        self._heard = FIRST
        self._next: asyncio.Task[None] | None = None

    async def rings_within(self, seconds: float) -> bool:
        """Wait for a ring. Return whether there is one since the last that was heard. Raises RedisError."""
        if self._next is None:
            self._next = asyncio.create_task(self._hear_next())
        done, _ = await asyncio.wait({self._next}, timeout=seconds)
        if not done:
            return False
        ended, self._next = self._next, None
        ended.result()
        return True

    async def close(self) -> None:
        """End the blocking read."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
            self._next = None

    async def _hear_next(self) -> None:
        after = self._heard
        read_seconds = self._redis.connection_pool.connection_kwargs["read_seconds"]
        block_ms = int(1000 * min(BLOCK_SECONDS, read_seconds / 2))
        while True:
            try:
                answer = await self._redis.xread({self._key: after}, block=block_ms)
            except ResponseError as error:
                if is_wrong_type(error):
                    await self._redis.delete(self._key)
                    log.warning("key_replaced", key=self._key)
                else:
                    # For example, the primary became a replica.
                    log.warning("bell_unreadable", cause=describe(error))
                await asyncio.sleep(READ_SECONDS)
                continue
            # A new bell has smaller ids if the clock of Redis was set back, as by a failover. So begin again.
            after, fields = answer[0][1][-1] if answer else (FIRST, {})
            if fields and after != self._heard:
                self._heard = after
                if fields.get(b"by") != _own_name().encode():
                    await asyncio.sleep(HEAD_START_SECONDS)
                return


class WakingRedis(PatientRedis):
    """The client for arq's worker. It reads the worker's queue only if a job may be there."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Do no I/O."""
        super().__init__(*args, **options)
        self._bell = Bell(self, self.default_queue_name)
        self._may_hold_jobs = True
        self._read_at = 0.0

    async def zrangebyscore(self, name: Any, *args: Any, **options: Any) -> Any:
        """Return the due jobs of a queue. For the worker's queue, return none if nothing says that it holds any."""
        if name != self.default_queue_name:
            return await super().zrangebyscore(name, *args, **options)
        if not await self._is_due():
            return []
        # arq took the time before the wait, so with its time a new job would not be due.
        options["max"] = timestamp_ms()
        jobs = await super().zrangebyscore(name, *args, **options)
        self._may_hold_jobs, self._read_at = bool(jobs), time.monotonic()
        return jobs

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the client, also in the middle of a blocking read."""
        await self._bell.close()
        await super().aclose(close_connection_pool)

    async def _is_due(self) -> bool:
        """Wait for a ring. Return whether the queue has to be read, perhaps without one."""
        rang = await self._bell.rings_within(AGAIN_SECONDS if self._may_hold_jobs else LOOP_SECONDS)
        return rang or self._may_hold_jobs or time.monotonic() - self._read_at >= READ_SECONDS


def _own_name() -> str:
    """Return a name of this process, which also differs after a fork."""
    return f"{_NAME}-{os.getpid()}"
