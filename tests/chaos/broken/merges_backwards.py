"""Hands the batch out newest first, so that of what was merged the oldest value wins."""

from dataclasses import replace

from jobs.queue.batch import Batch
from jobs.queue.mailbox import Mailbox
from tests.chaos.broken.parts import settings_with


class NewestFirst(Mailbox):
    """The right batch in the wrong order."""

    async def take(self, customer_id: str) -> Batch | None:
        """Take the batch, backwards."""
        batch = await super().take(customer_id)
        return None if batch is None else replace(batch, entries=batch.entries[::-1])


def __getattr__(name: str) -> type:
    """`WorkerSettings`, made when arq asks for it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    return settings_with(mailbox_type=NewestFirst)
