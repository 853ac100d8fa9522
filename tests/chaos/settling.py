"""Wait until no work is left, for as long as there is progress. A busy machine takes longer and is not wrong."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from jobs.queue.mailbox import MailboxKeys
from jobs.queue.status import read_overview, read_standing
from sandbox.everything import Sandbox
from tests.chaos.outside import INBOX, PREFIX

PAUSE_SECONDS: Final = 0.1
IN_A_ROW: Final = 3
"""The number of consecutive checks that must find no work."""
STANDSTILL_SECONDS: Final = 300.0
"""Much longer than the worker's own longest wait: up to 60 s after an update of unknown fate."""
SHOWN_STUCK: Final = 20


@dataclass(frozen=True)
class Moment:
    """The remaining work, and the work done so far."""

    left: tuple[int, ...]
    done: tuple[int, ...]

    @property
    def is_settled(self) -> bool:
        """Whether no work is left."""
        return not any(self.left)


@dataclass(frozen=True)
class Settled:
    """The time until no work was left. `seconds` is None if that never came, for the reason `why`."""

    seconds: float | None
    why: str = ""


async def settle(redis: Redis, box: Sandbox, at_most_seconds: float) -> Settled:
    """Wait until no work is left, for as long as there is progress and at most for `at_most_seconds`."""
    began = moved_at = settled_at = time.monotonic()
    before, in_a_row = await _moment(redis, box), 0
    while (now := time.monotonic()) < began + at_most_seconds:
        if now >= moved_at + STANDSTILL_SECONDS:
            return Settled(None, f"nothing has moved for {STANDSTILL_SECONDS:.0f} s")
        moment = await _moment(redis, box)
        moved_at = moved_at if moment == before else time.monotonic()
        before = moment
        if not moment.is_settled:
            in_a_row = 0
        else:
            settled_at = settled_at if in_a_row else time.monotonic()
            in_a_row += 1
        if in_a_row == IN_A_ROW:
            return Settled(settled_at - began)
        await asyncio.sleep(PAUSE_SECONDS)
    return Settled(None, f"work was left after {at_most_seconds:.0f} s, and went on")


async def _moment(redis: Redis, box: Sandbox) -> Moment:
    """Return the work left: entries in the inbox, waiting or running customers, rechecks and webhooks to come."""
    keys, webhooks = MailboxKeys(PREFIX), box.stripe.webhooks
    async with redis.pipeline(transaction=True) as pipe:
        pipe.xlen(INBOX)
        for name in (keys.waiting, keys.dispatched, keys.rechecks):
            pipe.zcard(name)
        left = [*await pipe.execute(), webhooks.in_flight, len(webhooks.pending)]
    done = len(box.autumn.calls), len(box.stripe.calls), webhooks.delivered
    return Moment(tuple(int(each) for each in left), done)


async def stuck_work(redis: Redis, box: Sandbox, why: str) -> list[tuple[str, str]]:
    """Return where work is left and the state of the first such customers, as (place or customer, text)."""
    overview, keys, webhooks = await read_overview(redis, PREFIX, INBOX), MailboxKeys(PREFIX), box.stripe.webhooks
    rechecks = await redis.zcard(keys.rechecks)
    text = (
        f"{why}: in the inbox {overview.inbox}, waiting {overview.waiting}, being worked on {overview.working}, "
        f"rechecks to come {rechecks}, webhooks to come {webhooks.in_flight + len(webhooks.pending)}"
    )
    found = [("the run", text)]
    for name in (keys.dispatched, keys.waiting):
        for customer in await redis.zrange(name, 0, SHOWN_STUCK - 1):
            standing = await read_standing(redis, PREFIX, customer.decode())
            known = f"{standing.record.attempts} attempts, last error {standing.record.last_error or None}"
            found.append((customer.decode(), f"{standing.state}: {standing.entries} entries, {known}"))
    return found
