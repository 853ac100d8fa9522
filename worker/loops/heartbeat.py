"""The signs of life of a process: its event loop goes round, and Redis took its canary.

Kept in memory, so that whoever asks is answered without Redis.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

BEAT_SECONDS: Final = 0.5


class Pulse:
    """When the event loop last went round, and when Redis last took the canary, by the monotonic clock in seconds."""

    def __init__(self, lagged: Callable[[float], None]) -> None:
        """Begins alive; `lagged` is told with each beat how many seconds late it came."""
        self.beat_at = self.canary_at = time.monotonic()
        self._lagged = lagged

    async def beat(self) -> None:
        """One beat, BEAT_SECONDS after it was begun or as much later as the event loop is held up."""
        begin = time.monotonic()
        await asyncio.sleep(BEAT_SECONDS)
        self.beat_at = time.monotonic()
        self._lagged(max(0.0, self.beat_at - begin - BEAT_SECONDS))

    def canary_taken(self) -> None:
        """Redis has just taken the canary."""
        self.canary_at = time.monotonic()
