"""Intake: move events from the inbox to the mailboxes as soon as they arrive."""

import asyncio
import time
from collections.abc import Callable

from jobs.queue.mailbox import Mailbox

BLOCK_MS = 5_000
"""The longest wait of one blocking read. It must be shorter than the time-out of the client."""
IDLE_SECONDS = 10.0
"""The longest time between two moves. Without new events, a move returns dead letters that were kept aside."""
PAUSE_WHEN_FULL_SECONDS = 0.25


class Intake:
    """Moves events from the inbox to the mailboxes."""

    def __init__(self, mailbox: Mailbox, wake: Callable[[], None]) -> None:
        """Do no I/O. `wake` is called after events were moved."""
        self._mailbox = mailbox
        self._wake = wake
        self._moved_at = -IDLE_SECONDS

    async def take_in(self) -> None:
        """Wait for events and move one page of them. Raises RedisError.

        While too many customers wait, pause. New events stay in the inbox, in order.
        """
        has_events = await self._mailbox.arrival(BLOCK_MS)
        if not has_events and time.monotonic() - self._moved_at < IDLE_SECONDS:
            return
        moved, full = await self._mailbox.move()
        self._moved_at = time.monotonic()
        if moved:
            self._wake()
        if full:
            await asyncio.sleep(PAUSE_WHEN_FULL_SECONDS)
