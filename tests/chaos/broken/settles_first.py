"""A worker that deletes the batch before it is applied, like a queue that acknowledges on receipt."""

from jobs.queue.batch import Batch
from jobs.queue.mailbox import Mailbox
from tests.chaos.broken.parts import settings_with


class SettlesFirst(Mailbox):
    """A mailbox that deletes the batch when it is taken, no matter what happens later."""

    async def take(self, customer_id: str) -> Batch | None:
        """Take the batch and delete it."""
        batch = await super().take(customer_id)
        if batch is not None and batch.entries:
            await self._redis.xdel(self.keys.mailbox(customer_id), *(entry.id for entry in batch.entries))
        return batch


def __getattr__(name: str) -> type:
    """Make `WorkerSettings` when arq imports it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    return settings_with(mailbox_type=SettlesFirst)
