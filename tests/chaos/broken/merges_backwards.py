"""A worker that merges the batch newest first, so the oldest value wins."""

from dataclasses import replace

from jobs.queue.batch import Batch
from jobs.queue.mailbox import Mailbox
from tests.chaos.broken.parts import settings_with


class NewestFirst(Mailbox):
    """A mailbox that returns the right batch in the wrong order."""

    async def take(self, customer_id: str) -> Batch | None:
        """Take the batch in reverse order."""
        batch = await super().take(customer_id)
        return None if batch is None else replace(batch, entries=batch.entries[::-1])


def __getattr__(name: str) -> type:
    """Make `WorkerSettings` when arq imports it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    return settings_with(mailbox_type=NewestFirst)
