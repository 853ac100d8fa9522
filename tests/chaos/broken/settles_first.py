"""Takes the batch out of the mailbox before it is applied, as a queue that acknowledges on receipt does."""

from jobs.queue.batch import Batch
from jobs.queue.mailbox import Mailbox
from tests.chaos.broken.parts import settings_with


class SettlesFirst(Mailbox):
    """Whatever happens after the taking, the batch is gone."""

    async def take(self, customer_id: str) -> Batch | None:
        """Take the batch and delete it."""
        batch = await super().take(customer_id)
        if batch is not None and batch.entries:
            await self._redis.xdel(self.keys.mailbox(customer_id), *(entry.id for entry in batch.entries))
        return batch


def __getattr__(name: str) -> type:
    """`WorkerSettings`, made when arq asks for it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    return settings_with(mailbox_type=SettlesFirst)
