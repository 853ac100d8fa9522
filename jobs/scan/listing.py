"""Both sides listed into the spool at the same time: a page is asked for while the one before it is written.

The lists' cursors are the only way through, so each side is one chain of calls. A page that fails in passing is asked
for again, for a while; what was kept stays kept.

Look up, one by one, what the lists leave open.

Stripe's list leaves out the customers of test clocks, so a linked customer that it lacks may still be there. If the
lists are bounded in time, the other side of a customer may be older than the bound.
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
from jobs.plan.retry import Again, History, decide
from jobs.rate_limit import Limits
from jobs.scan.record import ScanProgress, Trouble
from jobs.scan.spool import Side, Spool
from jobs.scan.spool_file import ListError
from jobs.stripe.client import StripeGateway

log = structlog.get_logger(__name__)

PATIENCE_SECONDS: Final = 600.0
"""How long a page is asked for again in a row before the scan has failed."""
LONGEST_PAUSE_SECONDS: Final = 30.0
STEPS_BACK_AT_MOST: Final = 1_000
"""In a run, for customers of Stripe that were deleted while the page behind them was asked for: a few are usual."""
UNREADABLE_TRIES: Final = 3
"""An answer that cannot be read may come from a proxy in passing, but hardly more often than this."""

Row = TypeVar("Row")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Lists:
    """Where the lists are read from. `patience_seconds` is how long one page may fail."""

    autumn: AutumnClient
    stripe: StripeGateway
    limits: Limits
    policy: Policy
    random: random.Random
    patience_seconds: float = PATIENCE_SECONDS


@dataclass(frozen=True)
class _Chain(Generic[Row]):
    """One side's list: how a page is read from a cursor on, with the next cursor, and how it is kept."""

    side: Side
    read: Callable[[str], Awaitable[tuple[Sequence[Row], str | None]]]
    keep: Callable[[Sequence[Row], str | None], None]


async def list_both(lists: Lists, spool: Spool, progress: ScanProgress, *, since_ms: int | None = None) -> None:
    """List both sides, and the payments where the policy looks at them, from where the spool stands to the end.

    `since_ms` (milliseconds since the epoch) bounds it to customers created then or later.
    Raises SyncError where a side cannot be read; what was kept until then stays in the spool.
    """

    size = PageSize()

    async def autumn(cursor: str) -> tuple[list[ListedCustomer], str | None]:
        async def ask(limit: int) -> CustomerPage:
            async with lists.limits.autumn_list():
                return await lists.autumn.list_page(cursor, limit)

        return _within_bound(await fitting_page(ask, size), since_ms)

    async def stripe(cursor: str) -> tuple[list[StripeCustomer], str | None]:
        return await lists.stripe.customer_page(cursor, created_since_ms=since_ms)

    async def payments(cursor: str) -> tuple[list[tuple[str, PaymentIntent]], str | None]:
        return await lists.stripe.payment_page(cursor, with_charges=lists.policy.reads_charges)

    def keep_autumn(page: Sequence[ListedCustomer], cursor: str | None) -> None:
        spool.add_autumn(page, cursor, keys=lists.policy.metadata_keys)

    try:
        async with asyncio.TaskGroup() as sides:
            sides.create_task(_list(_Chain("autumn", autumn, keep_autumn), lists, spool, progress))
            sides.create_task(_list(_Chain("stripe", stripe, spool.add_stripe), lists, spool, progress))
            if lists.policy.reads_payments:
                sides.create_task(_list(_Chain("payments", payments, spool.add_payments), lists, spool, progress))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _within_bound(page: CustomerPage, since_ms: int | None) -> tuple[list[ListedCustomer], str | None]:
    """The customers of a page that were created since, and the cursor of the next page if that may hold more of them.

    The list is the newest first, so an older customer is the end of it.
    """
    # A customer without an id was made with an e-mail address only: there is nothing to call it by.
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
    reading = asyncio.ensure_future(patiently(partial(chain.read, position.cursor), lists, progress))
    try:
        while True:
            try:
                page, cursor = await reading
            except Absent:
                if not cursor or chain.side != "stripe":
                    raise
                steps_back += 1
                if steps_back > STEPS_BACK_AT_MOST:
                    text = "Stripe says of each customer that it listed that there is none: scan again later"
                    raise ListError("stripe", "list_repeats", text) from None
                # The customer that the next page was to follow was deleted meanwhile: from the one before it, then.
                cursor = await asyncio.to_thread(spool.step_back)
                progress.stripe -= 1
                reading = asyncio.ensure_future(patiently(partial(chain.read, cursor), lists, progress))
                continue
            if cursor is not None:
                reading = asyncio.ensure_future(patiently(partial(chain.read, cursor), lists, progress))
                await asyncio.sleep(0)
            # Not in a thread: to write a page takes a millisecond, and to hand it over would take longer.
            chain.keep(page, cursor)
            setattr(progress, chain.side, getattr(progress, chain.side) + len(page))
            if cursor is None:
                return
    finally:
        reading.cancel()


async def patiently(read: Callable[[], Awaitable[Answer]], lists: Lists, progress: ScanProgress) -> Answer:
    """Return what `read` returns, tried again while it fails in passing; `progress` shows the trouble meanwhile.

    Raises SyncError if that lasts longer than the patience.
    """
    begun, trouble = time.monotonic(), Trouble()
    try:
        while True:
            try:
                return await read()
            except TryAgain as error:
                pause_seconds = _pause_seconds(error, trouble, lists, time.monotonic() - begun)
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
    """Note the error in the trouble. Return the seconds until the next try, None if there is none."""
    trouble.service, trouble.error, trouble.tries = error.service, error.code, trouble.tries + 1
    trouble.gives_up_after_tries = UNREADABLE_TRIES if error.code == "unexpected_response" else 0
    trouble.gives_up_in_seconds = max(0, int(lists.patience_seconds - failing_seconds))
    if trouble.tries == trouble.gives_up_after_tries or failing_seconds > lists.patience_seconds:
        return None
    fate = decide(error, History(trouble.tries, 0.0), lists.random)
    return min(fate.after_seconds, LONGEST_PAUSE_SECONDS) if isinstance(fate, Again) else None


LOOK_UPS_AT_MOST: Final = 1_000
"""Linked customers that Stripe's list lacks and that one scan looks up: two minutes at the rate of a scan. Test clocks
have fewer customers; if more are missing, the key is perhaps of another account."""
PROBE_PATIENCE_SECONDS: Final = 30.0


async def has_search(lists: Lists, progress: ScanProgress) -> bool:
    """Whether Stripe's account has search, by one probe; without it a sync links fewer customers and creates none.

    True if the search fails for so long that nobody can tell: no scan should fail because of that. Raises SyncError.
    """
    try:
        probing = replace(lists, patience_seconds=min(PROBE_PATIENCE_SECONDS, lists.patience_seconds))
        return await patiently(lists.stripe.has_search, probing, progress)
    except TryAgain:
        return True


async def look_up_links(lists: Lists, spool: Spool, progress: ScanProgress, *, at_most: int) -> None:
    """Look up linked customers that Stripe's list lacks, and count the others. Raises SyncError if a look fails."""
    for stripe_id in await asyncio.to_thread(spool.unseen_links, at_most):
        linked = await patiently(partial(lists.stripe.retrieve, stripe_id), lists, progress)
        progress.looked_up += 1
        if isinstance(linked, StripeCustomer):
            await asyncio.to_thread(spool.add_looked_up, [linked])
        else:
            await asyncio.to_thread(spool.add_absent, stripe_id)
    progress.not_checked = await asyncio.to_thread(spool.count_unchecked)


async def fill_gaps(lists: Lists, spool: Spool, progress: ScanProgress) -> None:
    """Add the Stripe customers that are ours and no list showed, and whom Autumn knows of the other owners.

    For lists that were bounded in time. Raises SyncError where a look fails.
    """
    for customer_id, email in await asyncio.to_thread(spool.without_stripe):
        ours = await patiently(partial(_find_ours, lists, customer_id, email), lists, progress)
        progress.looked_up += 1
        await asyncio.to_thread(spool.add_looked_up, ours)
    for owner in await asyncio.to_thread(spool.unknown_owners):
        progress.looked_up += 1
        try:
            await patiently(partial(lists.autumn.get, owner), lists, progress)
        except GiveUp:
            continue
        await asyncio.to_thread(spool.add_looked_up, (), [owner])


async def _find_ours(lists: Lists, customer_id: str, email: str | None) -> tuple[StripeCustomer, ...]:
    """The Stripe customers of one of Autumn's. None if the look showed others only: the sync will look itself."""
    try:
        ours, _ = await lists.stripe.find_ours(customer_id, email)
    except OthersFound:
        return ()
    return ours
