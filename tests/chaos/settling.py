"""Wait until no work is left, for as long as there is progress. A busy machine takes longer and is not wrong."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from jobs.queue.mailbox import MailboxKeys
from jobs.queue.status import read_overview, read_standing
from jobs.queue.watch.state import WatchKeys
from sandbox.everything import Sandbox
from tests.chaos.drifts import ReadEvents
from tests.chaos.outside import INBOX, PREFIX

PAUSE_SECONDS: Final = 0.1
IN_A_ROW: Final = 3
"""The number of consecutive checks that must find no work."""
STANDSTILL_SECONDS: Final = 300.0
"""Much longer than the worker's own longest wait: up to 60 s after an update of unknown fate."""
RECHECK_SECONDS: Final = 120.0
"""Rechecks that are due later are not awaited. A sync that overwrote an edit has one in five minutes, for an Autumn
whose webhook is that late."""
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
    events, polls = ReadEvents(box, redis), _Polls(box)
    before, in_a_row = await _moment(redis, box, events, polls), 0
    while (now := time.monotonic()) < began + at_most_seconds:
        if now >= moved_at + STANDSTILL_SECONDS:
            return Settled(None, f"nothing has moved for {STANDSTILL_SECONDS:.0f} s")
        moment = await _moment(redis, box, events, polls)
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


@dataclass
class _Polls:
    """The number of polls of Stripe's events so far. A poll is no progress."""

    box: Sandbox
    number: int = 0
    _known: int = 0

    def count(self) -> int:
        """Count the newest calls too."""
        new = self.box.stripe.calls[self._known :]
        self._known += len(new)
        self.number += sum(call.endpoint == "events.list" for call in new)
        return self.number


async def _moment(redis: Redis, box: Sandbox, events: ReadEvents, polls: _Polls) -> Moment:
    """Return the work left.

    That is: events of Stripe that the watch has not read, entries in the inbox, waiting or running customers, requests
    of the watch that wait for their time, and rechecks and webhooks to come.
    """
    # First, because an event that is read leads to an entry.
    unread = await events.count_unread()
    keys, webhooks = MailboxKeys(PREFIX), box.stripe.webhooks
    seconds, _ = await redis.time()
    async with redis.pipeline(transaction=True) as pipe:
        pipe.xlen(INBOX)
        pipe.zcard(keys.waiting)
        pipe.zcard(keys.dispatched)
        pipe.zcard(WatchKeys(PREFIX).backlog)
        pipe.zcount(keys.rechecks, "-inf", (seconds + RECHECK_SECONDS) * 1000)
        left = [unread, *await pipe.execute(), webhooks.in_flight, len(webhooks.pending)]
    done = unread, len(box.autumn.calls), len(box.stripe.calls) - polls.count(), webhooks.delivered
    return Moment(tuple(int(each) for each in left), done)


async def stuck_work(redis: Redis, box: Sandbox, why: str) -> list[tuple[str, str]]:
    """Return where work is left and the state of the first such customers, as (place or customer, text)."""
    overview, keys, webhooks = await read_overview(redis, PREFIX, INBOX), MailboxKeys(PREFIX), box.stripe.webhooks
    rechecks = await redis.zcard(keys.rechecks)
    text = (
        f"{why}: in the inbox {overview.inbox}, waiting {overview.waiting}, being worked on {overview.working}, "
        f"rechecks to come {rechecks}, webhooks to come {webhooks.in_flight + len(webhooks.pending)}, "
        f"unread events of Stripe {await ReadEvents(box, redis).count_unread()}"
    )
    found = [("the run", text)]
    for name in (keys.dispatched, keys.waiting):
        for customer in await redis.zrange(name, 0, SHOWN_STUCK - 1):
            standing = await read_standing(redis, PREFIX, customer.decode())
            known = f"{standing.record.attempts} attempts, last error {standing.record.last_error or None}"
            found.append((customer.decode(), f"{standing.state}: {standing.entries} entries, {known}"))
    return found
