"""Intake: move events from the inbox to the mailboxes as soon as they arrive."""

import asyncio
from collections.abc import Callable

from jobs.queue.mailbox import Mailbox

BLOCK_MS = 2_000
"""The longest wait of one blocking read, short enough for the process to stop soon."""
PAUSE_WHEN_FULL_SECONDS = 0.25


async def take_in(mailbox: Mailbox, wake: Callable[[], None]) -> None:
    """Wait for events and move one page of them. Call `wake` if any were moved. Raises RedisError.

    While too many customers wait, pause. New events stay in the inbox, in order.
    """
    # Move also without new events: dead letters that were kept aside may return to the stream by now.
    await mailbox.arrival(BLOCK_MS)
    moved, full = await mailbox.move()
    if moved:
        wake()
    if full:
        await asyncio.sleep(PAUSE_WHEN_FULL_SECONDS)
