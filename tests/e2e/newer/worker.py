"""The worker as a later version may be: its events have one more field, and all else is as it is now."""

import jobs.events
from jobs.events import CustomerUpdate
from worker.main import worker_settings


class LaterUpdate(CustomerUpdate):
    """An update of that version."""

    urgency: str | None = None


def __getattr__(name: str) -> type:
    """`WorkerSettings`, made when arq asks for it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    from config.settings import load_settings  # noqa: PLC0415 - the environment is read when arq asks

    setattr(jobs.events, "CustomerUpdate", LaterUpdate)  # noqa: B010 - a process that is another version throughout
    return worker_settings(load_settings())
