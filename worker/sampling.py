"""Noting how things go, once a minute, for the charts of the operator's page."""

import asyncio
from collections.abc import Callable, Mapping

from jobs.history import MINUTE_MS, History
from worker.shared_state import Look


class Sampler:
    """Notes the minutes of one process."""

    def __init__(self, history: History, look: Look, calls: Callable[[], Mapping[str, int]]) -> None:
        """`calls` gives how many this process has made so far, by the name of their limit."""
        self._history = history
        self._look = look
        self._calls = calls
        self._noted: Mapping[str, int] = {}
        self._seconds_to_next = 0.0

    async def turn(self) -> None:
        """Wait for the next minute, and note it. Raises RedisError.

        The wait comes first, so that a turn that succeeds after a failure ends at once and shows that all is well.
        """
        seconds, self._seconds_to_next = self._seconds_to_next, 0.0
        await asyncio.sleep(seconds)
        state = await self._look()
        if state is None:
            self._seconds_to_next = 1.0
            return
        calls = dict(self._calls())
        await self._history.note(state.overview, {each: calls[each] - self._noted.get(each, 0) for each in calls})
        self._noted = calls
        self._seconds_to_next = (MINUTE_MS - state.overview.now_ms % MINUTE_MS) / 1000
