"""A worker of a later version: its events have one more field, and everything else is unchanged."""

import autumn_sync_client.events
from autumn_sync_client.events import CustomerUpdate
from worker.main import worker_settings


class LaterUpdate(CustomerUpdate):
    """An event of that version."""

    urgency: str | None = None


def __getattr__(name: str) -> type:
    """Make `WorkerSettings` when arq imports it."""
    if name != "WorkerSettings":
        raise AttributeError(name)
    from config.loading import load_settings  # noqa: PLC0415 - the environment is read when arq asks

    setattr(autumn_sync_client.events, "CustomerUpdate", LaterUpdate)  # noqa: B010 - a process that is another version throughout
    return worker_settings(load_settings())
