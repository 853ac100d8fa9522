"""The real worker's arq settings with one part replaced. All other parts are those of production."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

import jobs.sync.apply
import jobs.sync.recheck
import jobs.watch.act
from config.loading import load_settings
from jobs.autumn.client import AutumnClient
from jobs.plan.edits import Edits
from jobs.plan.plan import Plan, make_plan
from jobs.queue.mailbox import Mailbox
from jobs.watch.events import Hint, judge
from worker.main import worker_settings


def settings_with(
    *,
    mailbox_type: type[Mailbox] | None = None,
    autumn: Callable[[AutumnClient, Redis], Any] | None = None,
    make_plan: Callable[..., Plan] = make_plan,
    judge: Callable[..., Hint] = judge,
    edits_type: type[Edits] = Edits,
) -> type:
    """Return settings for arq: syncs use these types and this `make_plan`, and the watch uses `judge`.

    `autumn` makes the client of Autumn from the real one and Redis.
    """
    settings = load_settings()
    whole = {name: value for name, value in vars(worker_settings(settings)).items() if not name.startswith("__")}

    async def start(ctx: dict[str, Any]) -> None:
        await whole["on_startup"](ctx)
        jobs.sync.apply.make_plan = make_plan  # type: ignore[attr-defined]  # replaced where it is used
        jobs.sync.recheck.Edits = edits_type  # type: ignore[attr-defined]  # likewise
        jobs.watch.act.judge = judge  # type: ignore[attr-defined]  # likewise
        redis: Redis = ctx["redis"]
        if autumn is not None:
            ctx["deps"] = replace(ctx["deps"], autumn=autumn(ctx["deps"].autumn, redis))
        if mailbox_type is None:
            return
        real: Mailbox = ctx["deps"].mailbox
        broken = mailbox_type(redis, inbox=settings.inbox_stream, prefix=settings.key_prefix)
        broken.held = real.held  # the worker's own loop renews the leases in it
        ctx["deps"] = replace(ctx["deps"], mailbox=broken)

    return type("WorkerSettings", (), {**whole, "on_startup": start})
