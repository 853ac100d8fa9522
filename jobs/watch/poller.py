"""The poller of the watch: reads Stripe's list of events, and lets the actor act on each one once.

The list is eventually consistent and in no strict order, and several events share a second. So each poll overlaps the
last one, and a set of seen ids tells which events are new. A lease in Redis lets one process poll at a time. If that
process dies, another goes on from the position. All times are on the clock of Redis.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from jobs.errors import Halt, SyncError, TryAgain
from jobs.queue.watch.queue import Tick, WatchQueue
from jobs.queue.watch.state import BEHIND_POLLS, BEHIND_SECONDS, NO_PERMISSION
from jobs.scan.record import ScanRecord
from jobs.stripe.client import StripeGateway
from jobs.stripe.errors import MISSING_PERMISSION
from jobs.stripe.events import EventAnswer
from jobs.stripe.models import unexpected
from jobs.watch.act import Actor

log = structlog.get_logger(__name__)

TICK_SECONDS: Final = 2.0
OVERLAP_SECONDS: Final = 300
"""The time before the position that each poll reads again. An event may appear in the list later than others."""
SLICE_SECONDS: Final = 300
"""The most that is read before the position advances, so that an interrupted catch-up does not begin again."""
PAGE_TRIES: Final = 3
TRY_AGAIN_SECONDS: Final = 1.0
"""A page that fails is requested again after this pause, so that one failure does not end a catch-up."""
PAUSE_AFTER_REDIS_SECONDS: Final = 5.0
"""The pause after a poll that Redis ended, because such a poll keeps the lease."""
AGED_SECONDS: Final = 29 * 86_400
"""An older position is useless, because Stripe keeps events for 30 days."""
RENEWALS_PER_LEASE: Final = 3
ACTS_AT_A_TIME: Final = 8
UNEXPECTED: Final = "unexpected"


class WatchLostError(Exception):
    """This process did not renew the lease in time, and another one polls."""


class Poller:
    """The poller of one process."""

    def __init__(self, queue: WatchQueue, stripe: StripeGateway, actor: Actor, scans: ScanRecord) -> None:
        """Do no I/O."""
        self.actor = actor
        self._queue = queue
        self._stripe = stripe
        self._scans = scans
        self._not_before = 0.0
        self._is_turned_off = False

    async def tick(self) -> None:
        """Request the deferred reconciles that are due, and poll if a poll is due in this process. Raises RedisError.

        A failure of Stripe is noted. The next poll begins at the usual time.
        """
        if not self._queue.poll_seconds and not self._is_turned_off:
            await self._queue.turn_off()
            self._is_turned_off = True
        tick = await self._queue.tick()
        if tick.polls and time.monotonic() >= self._not_before:
            await self._poll(tick)

    async def _poll(self, tick: Tick) -> None:
        off, error = "", ""
        try:
            await self._while_leased(self._catch_up(tick))
        except asyncio.CancelledError:
            with suppress(RedisError):
                await self._queue.release()
            raise
        except WatchLostError:
            log.warning("watch_poll_failed", error="lease_lost")
            return
        except Halt as halt:
            off, error = (NO_PERMISSION, "") if halt.code == MISSING_PERMISSION else (tick.off, halt.code)
        except SyncError as failure:
            off, error = tick.off, failure.code
        except RedisError:
            self._not_before = time.monotonic() + PAUSE_AFTER_REDIS_SECONDS
            raise
        except Exception:
            # The loop reports it. Noting it keeps the pause until the next poll.
            await self._queue.end(tick.now_ms, off=tick.off, error=UNEXPECTED)
            raise
        if error:
            log.warning("watch_poll_failed", error=error)
        before = await self._queue.end(tick.now_ms, off=off, error=error)
        if off and before == "":
            log.warning("watch_turned_off", reason=off, fix="give STRIPE_API_KEY the permission Events: read")
        elif before and not off:
            log.info("watch_turned_on")

    async def _while_leased(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work while the lease is renewed beside it. Raises WatchLostError, and the errors of both."""
        working, renewing = asyncio.create_task(work), asyncio.create_task(self._renew())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                renewing.result()
            await working
        finally:
            working.cancel()
            renewing.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._queue.lease_seconds / RENEWALS_PER_LEASE)
            # A tick renews the lease too. It also requests the deferred reconciles that are due during a long poll.
            if not (await self._queue.tick()).polls:
                raise WatchLostError

    async def _catch_up(self, tick: Tick) -> None:
        """Read from the position to the time of the tick. Advance the position after each slice."""
        now = tick.now_ms // 1000
        position = tick.position
        begins = position is None or not now - AGED_SECONDS <= position <= now + OVERLAP_SECONDS
        if position is None or begins:
            position = await self._first_position(now)
        position = min(position, now)
        behind = now - position
        begin, is_read = position - OVERLAP_SECONDS, False
        while not is_read:
            end = min(position + SLICE_SECONDS, now)
            await self._read(begin, end)
            if begins:
                # Only now, because without the permission each try would request a scan.
                await self._scans.request(position * 1000)
                log.info("watch_began", position=position, lost_position=tick.position)
                begins = False
            if not await self._queue.advance(end):
                raise WatchLostError
            position, begin, is_read = end, end, end >= now
        if behind > max(BEHIND_POLLS * self._queue.poll_seconds, BEHIND_SECONDS):
            log.info("watch_caught_up", behind_seconds=behind)

    async def _first_position(self, now: int) -> int:
        """Return now, or the start of the scan that runs or was interrupted: it may not see what is newer."""
        unfinished = await self._scans.unfinished()
        started = unfinished.started_ms // 1000 if unfinished is not None else 0
        return started if now - AGED_SECONDS <= started < now else now

    async def _read(self, created_gte: int, created_lte: int) -> None:
        """Read all pages of the events that were created in this time, and act on the new ones."""
        after: str | None = ""
        pages_read = set[str]()
        while after is not None:
            if after in pages_read:
                raise unexpected("the list of events does not go on: a page leads back to an earlier one")
            pages_read.add(after)
            page, after = await self._page(created_gte, created_lte, after)
            await self._act_on(page)

    async def _page(self, created_gte: int, created_lte: int, after: str) -> tuple[list[EventAnswer], str | None]:
        """Return a page. A passing failure is tried again."""
        for left in reversed(range(PAGE_TRIES)):
            try:
                return await self._stripe.event_page(
                    self.actor.types, created_gte=created_gte, created_lte=created_lte, after=after
                )
            except TryAgain:
                if not left:
                    raise
                await asyncio.sleep(TRY_AGAIN_SECONDS)
        raise AssertionError

    async def _act_on(self, page: Sequence[EventAnswer]) -> None:
        """Act on the new events of a page, the oldest first, a few at a time."""
        unseen = await self._queue.unseen([each.id for each in page])
        new = [each for each in reversed(page) if each.id in unseen]
        for first in range(0, len(new), ACTS_AT_A_TIME):
            await asyncio.gather(*(self.actor.receive(each) for each in new[first : first + ACTS_AT_A_TIME]))
