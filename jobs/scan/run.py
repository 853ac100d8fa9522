"""The other job: compare the whole of both sides, report what is wrong, and ask for syncs, never write.

Both lists are read at different times, and one of them from a replica: what is found here may be over by now. So it
only asks, by `customer.reconcile` in the inbox, and the sync looks again before it writes.
"""

import asyncio
import contextlib
import random
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.autumn.client import AutumnClient
from jobs.errors import Halt, SyncError, describe
from jobs.plan.customer import Mode
from jobs.plan.policy import Policy
from jobs.queue.record import read_refused
from jobs.rate_limit import Limits
from jobs.scan.compare import SCAN_KINDS, Lens, findings_of, orphan
from jobs.scan.findings_store import SpooledFindings
from jobs.scan.inbox import busy_customers, request_syncs
from jobs.scan.listing import LOOK_UPS_AT_MOST, PATIENCE_SECONDS, Lists, fill_gaps, has_search, list_both, look_up_links
from jobs.scan.record import ScanLostError, ScanProgress, ScanRecord
from jobs.scan.report import ScanReport, ScanRun
from jobs.scan.spool import About, Spool, open_spool
from jobs.scan.spool_file import BYTES_AT_MOST, ListError, SpoolFullError
from jobs.stripe.client import StripeGateway

log = structlog.get_logger(__name__)

RESUME_MS: Final = 6 * 3_600_000
"""A run that was cut short is gone on with for so long: later, its first pages are too old to compare with its last."""
ROWS_AT_A_TIME: Final = 5_000
CUSTOMERS_AT_A_TIME: Final = 500
BEATS_PER_LEASE: Final = 5


@dataclass(frozen=True)
class ScanDeps:
    """What a scan is handed. `limits` hold it to its share of the rates; `now` is in seconds since the epoch.

    `spool` is the file it spools to, of `spool_bytes_at_most`. `account` is a digest of what is compared: a run
    resumes only a spool of the same. Of all customers, at most the part `max_changed` may be asked for.
    `look_ups_at_most` linked customers that Stripe's list lacks are looked up.
    A page that fails in passing is asked for again for `patience_seconds`.
    """

    redis: Redis
    record: ScanRecord
    autumn: AutumnClient
    stripe: StripeGateway
    limits: Limits
    mode: Mode
    policy: Policy
    inbox: str
    prefix: str
    spool: Path
    account: str
    max_changed: float
    random: random.Random
    now: Callable[[], float]
    look_ups_at_most: int = LOOK_UPS_AT_MOST
    spool_bytes_at_most: int = BYTES_AT_MOST
    patience_seconds: float = PATIENCE_SECONDS

    @property
    def lists(self) -> Lists:
        """The part that lists."""
        return Lists(self.autumn, self.stripe, self.limits, self.policy, self.random, self.patience_seconds)

    @property
    def lens(self) -> Lens:
        """What a plan depends on, as of now."""
        return Lens(self.mode, self.policy, self.now())


@dataclass(frozen=True)
class ScanRequest:
    """What a run is for: with `apply` it asks for syncs, with `force` for any number of them.

    `kinds` of findings that are wanted, none means all; `since_ms` (milliseconds since the epoch) bounds it to
    customers created then or later.
    """

    apply: bool = False
    force: bool = False
    kinds: tuple[str, ...] = ()
    since_ms: int | None = None

    @property
    def scope(self) -> str:
        """In words; empty for all customers and all kinds."""
        bounds = [f"only {', '.join(self.kinds)}"] if self.kinds else []
        if self.since_ms is not None:
            since = datetime.fromtimestamp(self.since_ms / 1000, UTC).isoformat(timespec="seconds")
            bounds.append(f"created since {since}")
        return "; ".join(bounds)


@asynccontextmanager
async def scanning(deps: ScanDeps, request: ScanRequest, progress: ScanProgress) -> AsyncIterator[ScanReport]:
    """Scan, and yield the report, whose findings are there until the block ends. `progress` is counted up meanwhile.

    A run that was cut short within RESUME_MS, with the same accounts and scope, is gone on with at its last page. One
    that is cancelled may be gone on with; one that fails is noted as failed.

    Raises ScanRunningError where one runs already, ScanLostError, SyncError, RedisError, OSError, sqlite3.Error.
    """
    unfinished = await deps.record.begin()
    try:
        async with _noting_failure(deps, progress):
            spool, about = await _open_spool(deps, request, unfinished)
        is_kept = False
        try:
            async with _beating(deps, progress) as beat:
                try:
                    report = await _unless_lost(beat, _run(deps, request, spool, about, progress))
                except (asyncio.CancelledError, ScanLostError):
                    is_kept = True
                    raise
                yield report
        finally:
            await asyncio.to_thread(spool.close if is_kept else spool.remove)
    finally:
        with contextlib.suppress(RedisError):
            await deps.record.give_back()


@asynccontextmanager
async def _noting_failure(deps: ScanDeps, progress: ScanProgress) -> AsyncIterator[None]:
    """Note the run as failed where the block fails. A run that was lost is another's to note."""
    try:
        yield
    except ScanLostError:
        raise
    except Exception as error:
        if isinstance(error, SyncError):
            code, text = error.code, error.message if isinstance(error, Halt | ListError | SpoolFullError) else ""
            log.error("scan_failed", error=code, fix=text.split(" It said: ", maxsplit=1)[0])
        else:
            code, text = type(error).__name__, describe(error)
            log.error("scan_failed", error=code, cause=text)
        await deps.record.end(_failed(progress, await deps.record.now_ms(), code, text))
        raise


async def _open_spool(deps: ScanDeps, request: ScanRequest, unfinished: ScanProgress | None) -> tuple[Spool, About]:
    """The spool of the run that was cut short, or else a new one."""
    identity = f"{deps.account}\n{request.scope}\n{deps.policy}"
    now_ms = await deps.record.now_ms()
    # A process that is killed while it reports leaves the spool of a run that is noted.
    noted = {run.run for run in await deps.record.history()}

    def open_it() -> tuple[Spool, About]:
        spool = open_spool(deps.spool, bytes_at_most=deps.spool_bytes_at_most)
        about = spool.about()
        is_unfinished = about is not None and about.run not in noted and now_ms - about.started_ms < RESUME_MS
        if about is not None and is_unfinished and about.identity == identity:
            return spool, about
        spool.remove()
        spool, about = (
            Spool(deps.spool, bytes_at_most=deps.spool_bytes_at_most),
            About(f"{now_ms}-{secrets.token_hex(2)}", identity, now_ms),
        )
        spool.begin(about)
        return spool, about

    spool, about = await asyncio.to_thread(open_it)
    if unfinished is not None and unfinished.run != about.run:
        await deps.record.end(_failed(unfinished, now_ms, "cut_short", "it was cut short and not gone on with"))
    return spool, about


@asynccontextmanager
async def _beating(deps: ScanDeps, progress: ScanProgress) -> AsyncIterator[asyncio.Task[None]]:
    """Keep the right to scan beside what is done in the block; the task ends with an error where it is lost."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(deps.record.lease_seconds / BEATS_PER_LEASE)
            await deps.record.keep(progress)

    task = asyncio.create_task(beat())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _unless_lost(beat: asyncio.Task[None], work: Coroutine[Any, Any, ScanReport]) -> ScanReport:
    """What the work comes to; it is ended where the right to scan is lost."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task, beat}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            beat.result()
        return await task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _run(deps: ScanDeps, request: ScanRequest, spool: Spool, about: About, progress: ScanProgress) -> ScanReport:
    """One run from where its spool stands to the report; one that fails is noted as failed."""
    before = await deps.record.history()
    whole = next((run for run in before if run.state == "done" and not run.scope), None)
    progress.run, progress.scope, progress.started_ms = about.run, request.scope, about.started_ms
    progress.expected = whole.autumn_customers + whole.stripe_customers if whole and not request.scope else 0
    async with _noting_failure(deps, progress):
        await deps.record.keep(progress)
        await list_both(deps.lists, spool, progress, since_ms=request.since_ms)
        findings = await _compare(deps, request, spool, progress)
        run = await _conclude(deps, request, findings, progress)
    progress.phase = "reporting"
    return ScanReport(run, findings, before)


async def _compare(deps: ScanDeps, request: ScanRequest, spool: Spool, progress: ScanProgress) -> SpooledFindings:
    """Find what is wrong with whom, and leave out whoever was or is being changed meanwhile."""
    progress.phase = "comparing"
    await asyncio.to_thread(spool.index)
    progress.autumn = await asyncio.to_thread(spool.count, "autumn")
    progress.stripe = await asyncio.to_thread(spool.count, "stripe")
    await look_up_links(deps.lists, spool, progress, at_most=deps.look_ups_at_most)
    if request.since_ms is not None:
        await fill_gaps(deps.lists, spool, progress)
    await asyncio.to_thread(spool.join)
    findings = SpooledFindings(spool, request.kinds or SCAN_KINDS)
    findings.clear()
    lens = replace(deps.lens, searched=await has_search(deps.lists, progress))
    for after in range(0, spool.last_row("autumn"), ROWS_AT_A_TIME):
        progress.findings += await asyncio.to_thread(_compare_rows, spool, findings, lens, after)
        progress.compared += ROWS_AT_A_TIME
    for after in range(0, spool.last_row("stripe"), ROWS_AT_A_TIME):
        progress.findings += await asyncio.to_thread(_find_orphans, spool, findings, after)
        progress.compared += ROWS_AT_A_TIME
    async for batch in busy_customers(deps.redis, deps.prefix, deps.inbox, since_ms=progress.started_ms):
        await asyncio.to_thread(findings.leave_out, batch)
    await _note_refused(deps, findings)
    return findings


async def _note_refused(deps: ScanDeps, findings: SpooledFindings) -> None:
    """Take what Stripe refused in a sync out of what is to be repaired."""
    drifting = findings.drifting()
    while batch := await asyncio.to_thread(lambda: list(islice(drifting, CUSTOMERS_AT_A_TIME))):
        for customer, refused in zip(batch, await read_refused(deps.redis, deps.prefix, batch), strict=True):
            if refused:
                await asyncio.to_thread(findings.note_refused, customer, refused)


def _compare_rows(spool: Spool, findings: SpooledFindings, lens: Lens, after: int) -> int:
    payments = lens.policy.reads_payments
    pairs = spool.pairs(after, after + ROWS_AT_A_TIME, in_doubt=lens.skips_agreeing, payments=payments)
    found = [finding for pair in pairs for finding in findings_of(pair, lens)]
    return findings.add(found) if found else 0


def _find_orphans(spool: Spool, findings: SpooledFindings, after: int) -> int:
    found = [orphan(customer) for customer in spool.orphans(after, after + ROWS_AT_A_TIME)]
    return findings.add(found) if found else 0


async def _conclude(deps: ScanDeps, request: ScanRequest, findings: SpooledFindings, progress: ScanProgress) -> ScanRun:
    """Ask for the syncs, where that is wanted and not too many, and note the run."""
    is_whole = not request.scope
    base = await deps.record.fingerprints() if is_whole else None
    run = ScanRun(
        run=progress.run,
        state="done",
        started_ms=progress.started_ms,
        ended_ms=0,
        autumn_customers=progress.autumn,
        stripe_customers=progress.stripe,
        totals=findings.totals(),
        scope=request.scope,
        repairable=findings.count_repairable(),
        left_out=findings.left_out(),
        looked_up=progress.looked_up,
        not_checked=progress.not_checked,
        changed=await asyncio.to_thread(findings.compare, base) if base is not None else None,
    )
    # What nobody could check may be wrong, too: all of it is if the key is of another account.
    if (
        request.apply
        and not request.force
        and run.repairable + run.not_checked > deps.max_changed * run.autumn_customers
    ):
        run = replace(run, state="refused", text=_too_many(run, deps.max_changed))
    elif request.apply:
        progress.phase = "requesting"
        run = replace(run, requested=await request_syncs(deps.redis, deps.inbox, findings.repairable(), progress))
    run = replace(run, ended_ms=await deps.record.now_ms())
    log.info(
        "scan_finished", state=run.state, findings=run.findings, repairable=run.repairable, requested=run.requested
    )
    await deps.record.end(
        run, fingerprints=findings.fingerprints() if is_whole else None, serves_schedule=request.apply and is_whole
    )
    return run


def _too_many(run: ScanRun, max_changed: float) -> str:
    unknown = f", {run.not_checked:,} more could not be checked" if run.not_checked else ""
    return (
        f"{run.repairable:,} of {run.autumn_customers:,} customers would change{unknown}, and SCAN_MAX_CHANGED is "
        f"{max_changed:g}: nothing was asked for. Look at the findings; if they are right, scan with --apply --force"
    )


def _failed(progress: ScanProgress, ended_ms: int, error: str, text: str) -> ScanRun:
    return ScanRun(
        run=progress.run,
        state="failed",
        started_ms=progress.started_ms or ended_ms,
        ended_ms=ended_ms,
        autumn_customers=progress.autumn,
        stripe_customers=progress.stripe,
        scope=progress.scope,
        error=error,
        text=text,
    )
