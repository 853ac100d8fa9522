"""Takes the mail out of the mailbox before it is applied, as a queue that acknowledges on receipt does."""

from jobs.queue.batch import Mail
from jobs.queue.mailbox import Mailbox
from tests.chaos.broken.parts import settings_with


class SettlesFirst(Mailbox):
    """Whatever happens after the taking, the mail is gone."""

    async def take(self, customer_id: str) -> Mail | None:
        """Take the mail and delete it."""
        mail = await super().take(customer_id)
        if mail is not None and mail.entries:
            await self._redis.xdel(self.keys.mailbox(customer_id), *(entry.id for entry in mail.entries))
        return mail


def __getattr__(name: str) -> type:
    """`WorkerSettings`, made when arq asks for it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    return settings_with(mailbox_type=SettlesFirst)
