"""The signs of life of a process: its event loop runs, and Redis accepts its canary.

They are kept in memory, so that /healthz answers without Redis.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

BEAT_SECONDS: Final = 0.5


class Heartbeat:
    """The times of the last beat and of the last accepted canary, in seconds of the monotonic clock."""

    def __init__(self, lagged: Callable[[float], None]) -> None:
        """Start alive. Each beat calls `lagged` with the delay of the event loop in seconds."""
        self.beat_at = self.canary_at = time.monotonic()
        self._lagged = lagged

    async def beat(self) -> None:
        """Wait BEAT_SECONDS, then note the time and how late the event loop was."""
        begin = time.monotonic()
        await asyncio.sleep(BEAT_SECONDS)
        self.beat_at = time.monotonic()
        self._lagged(max(0.0, self.beat_at - begin - BEAT_SECONDS))

    def canary_taken(self) -> None:
        """Note that Redis accepted the canary now."""
        self.canary_at = time.monotonic()
