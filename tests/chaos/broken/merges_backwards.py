"""Hands the mail out newest first, so that of what was merged the oldest value wins."""

from dataclasses import replace

from jobs.queue.batch import Mail
from jobs.queue.mailbox import Mailbox
from tests.chaos.broken.parts import settings_with


class NewestFirst(Mailbox):
    """The right mail in the wrong order."""

    async def take(self, customer_id: str) -> Mail | None:
        """Take the mail, backwards."""
        mail = await super().take(customer_id)
        return None if mail is None else replace(mail, entries=mail.entries[::-1])


def __getattr__(name: str) -> type:
    """`WorkerSettings`, made when arq asks for it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    return settings_with(mailbox_type=NewestFirst)
