"""The real worker's arq settings with another mailbox door: all but that one piece is what runs in production."""

from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from config.settings import load_settings
from jobs.mailbox import Mailbox
from worker.main import worker_settings


def settings_with(mailbox_type: type[Mailbox]) -> type:
    """What arq reads, with syncs going through a mailbox of this type."""
    settings = load_settings()
    whole = {name: value for name, value in vars(worker_settings(settings)).items() if not name.startswith("__")}

    async def start(ctx: dict[str, Any]) -> None:
        await whole["on_startup"](ctx)
        real: Mailbox = ctx["resources"].mailbox
        redis: Redis = ctx["redis"]
        broken = mailbox_type(redis, inbox=settings.inbox_stream, prefix=settings.key_prefix)
        broken.held = real.held  # the worker's own loop renews what is in there
        ctx["resources"] = replace(ctx["resources"], mailbox=broken)

    return type("WorkerSettings", (), {**whole, "on_startup": start})
