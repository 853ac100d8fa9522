"""What all workers share, as Redis has it at a moment: read for whoever asks, rarely, and never for long.

A page or a scrape must not hang because Redis does, nor ask it more than it needs to be asked.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.overview import Overview, read_overview
from jobs.rate_limit import Limits
from jobs.stripe_gateway import ENDPOINTS

READ_SECONDS: Final = 2.0
"""Less than the time-outs of probes and scrapes, which begin at 5 s or 10 s as a rule."""
GOOD_FOR_SECONDS: Final = 1.0
"""However many ask: Redis is asked once a second."""


@dataclass(frozen=True)
class SharedState:
    """Where the work stands, and the share of each rate that is in force, by its name."""

    overview: Overview
    rate_shares: Mapping[str, float]


Look = Callable[[], Awaitable[SharedState | None]]
"""Gives the state as it is now or was a moment ago, None where Redis does not tell. Never raises, never hangs."""


class SharedStateReader:
    """Reads it; `look` is a Look."""

    def __init__(self, redis: Redis, limits: Limits, *, prefix: str, inbox: str) -> None:
        """Opens nothing."""
        self._redis = redis
        self._limits = limits
        self._prefix = prefix
        self._inbox = inbox
        self._reading = asyncio.Lock()
        self._state: SharedState | None = None
        self._good_until = 0.0

    async def look(self) -> SharedState | None:
        """See Look. Who asks while another's reading is on its way shares it."""
        async with self._reading:
            if time.monotonic() >= self._good_until:
                self._state = await self._read()
                self._good_until = time.monotonic() + GOOD_FOR_SECONDS
            return self._state

    async def _read(self) -> SharedState | None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                overview = await read_overview(self._redis, self._prefix, self._inbox)
                return SharedState(overview, await self._limits.shares(ENDPOINTS))
        except (RedisError, TimeoutError, OSError):
            return None
