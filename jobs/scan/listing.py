"""List both sides into the spool at the same time, then look up customers that the lists lack.

A list can only be read from cursor to cursor, so each side is one chain of calls. The next page is requested while the
last one is written. A page with a passing failure is retried for a while, and stored pages stay stored.

Stripe's list lacks the customers of test clocks, so a linked customer that it lacks may still exist. If the lists are
limited by creation time, the other side of a customer may be older than the limit.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Final, Generic, TypeVar

import structlog

from jobs.autumn.client import AutumnClient
from jobs.autumn.pages import CustomerPage, ListedCustomer, PageSize, fitting_page
from jobs.errors import Absent, GiveUp, OthersFound, TryAgain
from jobs.plan.customer import PaymentIntent, StripeCustomer
from jobs.plan.policy import Policy
from jobs.plan.retry import History, Retry, decide
from jobs.rate_limit import Limits
from jobs.scan.record import ScanProgress, Trouble
from jobs.scan.spool import Side, Spool
from jobs.scan.spool_file import ListError
from jobs.stripe.client import StripeGateway

log = structlog.get_logger(__name__)

PATIENCE_SECONDS: Final = 600.0
"""The time for which one page is retried before the scan fails."""
LONGEST_PAUSE_SECONDS: Final = 30.0
STEPS_BACK_AT_MOST: Final = 1_000
"""Per run. A step back is needed if the cursor customer is deleted before the next page is read: a few are usual."""
UNREADABLE_TRIES: Final = 3
"""A proxy may return an unreadable answer in passing, but hardly more often than this."""

Row = TypeVar("Row")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Lists:
    """The dependencies of the listing. `patience_seconds` is the time for which one page may fail."""

    autumn: AutumnClient
    stripe: StripeGateway
    limits: Limits
    policy: Policy
    random: random.Random
    patience_seconds: float = PATIENCE_SECONDS


@dataclass(frozen=True)
class _Chain(Generic[Row]):
    """The list of one side. `read` returns the page at a cursor and the next cursor, and `keep` stores it."""

    side: Side
    read: Callable[[str], Awaitable[tuple[Sequence[Row], str | None]]]
    keep: Callable[[Sequence[Row], str | None], None]


async def list_both(lists: Lists, spool: Spool, progress: ScanProgress, *, since_ms: int | None = None) -> None:
    """List both sides from their positions in the spool to the end, and the payments if the policy reads them.

    `since_ms` (milliseconds since the epoch) limits the lists to customers created then or later.
    Raises SyncError if a side cannot be read. The stored pages stay in the spool.
    """

    size = PageSize()

    async def autumn(cursor: str) -> tuple[list[ListedCustomer], str | None]:
        async def page_of(limit: int) -> CustomerPage:
            async with lists.limits.autumn_list():
                return await lists.autumn.list_page(cursor, limit)

        return _within_bound(await fitting_page(page_of, size), since_ms)

    async def stripe(cursor: str) -> tuple[list[StripeCustomer], str | None]:
        return await lists.stripe.customer_page(cursor, created_since_ms=since_ms)

    async def payments(cursor: str) -> tuple[list[tuple[str, PaymentIntent]], str | None]:
        return await lists.stripe.payment_page(cursor, with_charges=lists.policy.reads_charges)

    def keep_autumn(page: Sequence[ListedCustomer], cursor: str | None) -> None:
        spool.add_autumn(page, cursor, keys=lists.policy.metadata_keys)

    async def all_sides() -> None:
        async with asyncio.TaskGroup() as sides:
            sides.create_task(_list(_Chain("autumn", autumn, keep_autumn), lists, spool, progress))
            sides.create_task(_list(_Chain("stripe", stripe, spool.add_stripe), lists, spool, progress))
            if lists.policy.reads_payments:
                sides.create_task(_list(_Chain("payments", payments, spool.add_payments), lists, spool, progress))

    try:
        # Before Python 3.11.3, a failed TaskGroup leaves its task marked as cancelled, and every later time-out in that
        # task, such as one of Redis, ends in CancelledError. So the group has a task of its own.
        await asyncio.create_task(all_sides())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _within_bound(page: CustomerPage, since_ms: int | None) -> tuple[list[ListedCustomer], str | None]:
    """Return the customers of a page that were created since, and the next cursor; None if no more can follow.

    The list is ordered by creation, the newest first, so an older customer ends it.
    """
    # A customer that was created with an e-mail address only has no id, so no sync can name it.
    named = [each for each in page.list if each.id]
    if since_ms is None:
        return named, page.next_cursor
    is_over = bool(page.list) and page.list[-1].created_at < since_ms
    return [each for each in named if each.created_at >= since_ms], None if is_over else page.next_cursor


async def _list(chain: _Chain[Row], lists: Lists, spool: Spool, progress: ScanProgress) -> None:
    position = await asyncio.to_thread(spool.position, chain.side)
    setattr(progress, chain.side, position.rows)
    if position.is_done:
        return
    cursor: str | None = position.cursor
    steps_back = 0
    reading = asyncio.ensure_future(with_retries(partial(chain.read, position.cursor), lists, progress))
    try:
        while True:
            try:
                page, cursor = await reading
            except Absent:
                if not cursor or chain.side != "stripe":
                    raise
                steps_back += 1
                if steps_back > STEPS_BACK_AT_MOST:
                    text = "Stripe reports that each listed customer is missing: scan again later"
                    raise ListError("stripe", "list_repeats", text) from None
                # The customer of the cursor was deleted meanwhile, so continue after the one before it.
                cursor = await asyncio.to_thread(spool.step_back)
                progress.stripe -= 1
                reading = asyncio.ensure_future(with_retries(partial(chain.read, cursor), lists, progress))
                continue
            if cursor is not None:
                reading = asyncio.ensure_future(with_retries(partial(chain.read, cursor), lists, progress))
                await asyncio.sleep(0)
            # Not in a thread: a page is written in a millisecond, and a switch of threads takes longer.
            chain.keep(page, cursor)
            setattr(progress, chain.side, getattr(progress, chain.side) + len(page))
            if cursor is None:
                return
    finally:
        reading.cancel()


async def with_retries(read: Callable[[], Awaitable[Answer]], lists: Lists, progress: ScanProgress) -> Answer:
    """Return the result of `read`, and retry it after passing failures. `progress` shows the trouble meanwhile.

    Raises SyncError for any other failure, or if the failures last longer than `patience_seconds`.
    """
    started, trouble = time.monotonic(), Trouble()
    try:
        while True:
            try:
                return await read()
            except TryAgain as error:
                pause_seconds = _pause_seconds(error, trouble, lists, time.monotonic() - started)
                if pause_seconds is None:
                    raise
                if trouble not in progress.troubles:
                    progress.troubles.append(trouble)
                log.warning("page_retried", **asdict(trouble))
                await asyncio.sleep(pause_seconds)
    finally:
        if trouble in progress.troubles:
            progress.troubles.remove(trouble)


def _pause_seconds(error: TryAgain, trouble: Trouble, lists: Lists, failing_seconds: float) -> float | None:
    """Record the error in the trouble. Return the seconds until the next try; None if there is none."""
    trouble.service, trouble.error, trouble.tries = error.service, error.code, trouble.tries + 1
    trouble.gives_up_after_tries = UNREADABLE_TRIES if error.code == "unexpected_response" else 0
    trouble.gives_up_in_seconds = max(0, int(lists.patience_seconds - failing_seconds))
    if trouble.tries == trouble.gives_up_after_tries or failing_seconds > lists.patience_seconds:
        return None
    outcome = decide(error, History(trouble.tries, 0.0), lists.random)
    return min(outcome.after_seconds, LONGEST_PAUSE_SECONDS) if isinstance(outcome, Retry) else None


LOOK_UPS_AT_MOST: Final = 1_000
"""Limits the look-ups of linked customers that Stripe's list lacks: two minutes at the rate limit of a scan.

Test clocks have fewer customers. If more are missing, the key may be from another account.
"""
PROBE_PATIENCE_SECONDS: Final = 30.0


async def has_search(lists: Lists, progress: ScanProgress) -> bool:
    """Return whether the Stripe account has search. Without it, a sync links fewer customers and creates none.

    Return True if the search keeps failing, because a scan should not fail for that. Raises SyncError.
    """
    try:
        probing = replace(lists, patience_seconds=min(PROBE_PATIENCE_SECONDS, lists.patience_seconds))
        return await with_retries(lists.stripe.has_search, probing, progress)
    except TryAgain:
        return True


async def look_up_links(lists: Lists, spool: Spool, progress: ScanProgress, *, at_most: int) -> None:
    """Look up `at_most` linked customers that Stripe's list lacks, and count the rest. Raises SyncError."""
    for stripe_id in await asyncio.to_thread(spool.unseen_links, at_most):
        linked = await with_retries(partial(lists.stripe.retrieve, stripe_id), lists, progress)
        progress.looked_up += 1
        if isinstance(linked, StripeCustomer):
            await asyncio.to_thread(spool.add_looked_up, [linked])
        else:
            await asyncio.to_thread(spool.add_absent, stripe_id)
    progress.not_checked = await asyncio.to_thread(spool.count_unchecked)


async def fill_gaps(lists: Lists, spool: Spool, progress: ScanProgress) -> None:
    """Add the other sides that lists limited by creation time lack. Raises SyncError.

    Search Stripe for customers that carry an unmatched Autumn id, and fetch unmatched owners from Autumn.
    """
    for customer_id, email in await asyncio.to_thread(spool.without_stripe):
        ours = await with_retries(partial(_find_ours, lists, customer_id, email), lists, progress)
        progress.looked_up += 1
        await asyncio.to_thread(spool.add_looked_up, ours)
    for owner in await asyncio.to_thread(spool.unknown_owners):
        progress.looked_up += 1
        try:
            await with_retries(partial(lists.autumn.get, owner), lists, progress)
        except GiveUp:
            continue
        await asyncio.to_thread(spool.add_looked_up, (), [owner])


async def _find_ours(lists: Lists, customer_id: str, email: str | None) -> tuple[StripeCustomer, ...]:
    """Return the Stripe customers that carry the id. Ignore OthersFound, because the sync searches again itself."""
    try:
        ours, _ = await lists.stripe.find_ours(customer_id, email)
    except OthersFound:
        return ()
    return ours
