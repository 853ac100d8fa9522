"""The real worker's arq settings with one part replaced. All other parts are those of production."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

import jobs.sync.apply
from config.settings import load_settings
from jobs.plan.plan import Plan, make_plan
from jobs.queue.mailbox import Mailbox
from worker.main import worker_settings


def settings_with(*, mailbox_type: type[Mailbox] | None = None, make_plan: Callable[..., Plan] = make_plan) -> type:
    """Return settings for arq, with syncs that use this type of mailbox and this `make_plan`."""
    settings = load_settings()
    whole = {name: value for name, value in vars(worker_settings(settings)).items() if not name.startswith("__")}

    async def start(ctx: dict[str, Any]) -> None:
        await whole["on_startup"](ctx)
        jobs.sync.apply.make_plan = make_plan  # type: ignore[attr-defined]  # replaced where it is used
        if mailbox_type is None:
            return
        real: Mailbox = ctx["deps"].mailbox
        redis: Redis = ctx["redis"]
        broken = mailbox_type(redis, inbox=settings.inbox_stream, prefix=settings.key_prefix)
        broken.held = real.held  # the worker's own loop renews the leases in it
        ctx["deps"] = replace(ctx["deps"], mailbox=broken)

    return type("WorkerSettings", (), {**whole, "on_startup": start})
