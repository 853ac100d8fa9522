"""Taking in: from the inbox to the mailboxes, as soon as something arrives."""

import asyncio
from collections.abc import Callable

from jobs.queue.mailbox import Mailbox

BLOCK_MS = 2_000
"""How long one blocking read waits; short enough to end soon when the process is told to stop."""
PAUSE_WHEN_FULL_SECONDS = 0.25


async def take_in(mailbox: Mailbox, look_now: Callable[[], None]) -> None:
    """Wait for arrivals and move as many as one step takes; `look_now` is told if any were moved.

    While too many customers wait, the inbox is left alone for a moment: what comes stays there in order.
    """
    # Also without an arrival: letters that were kept aside may go back by now.
    await mailbox.arrival(BLOCK_MS)
    moved, full = await mailbox.move()
    if moved:
        look_now()
    if full:
        await asyncio.sleep(PAUSE_WHEN_FULL_SECONDS)
