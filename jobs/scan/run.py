"""Run a scan: list both sides, compare them, store the result, and request reconciles.

The two lists are read at different times, and one comes from a replica, so a finding may already be out of date.
A scan therefore never writes to a service. It adds `customer.reconcile` events to the inbox, and the sync fetches both
sides again before it writes.
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
from jobs.queue.watch.links import Links
from jobs.rate_limit import Limits
from jobs.scan.compare import SCAN_KINDS, PlanInputs, findings_of, orphan
from jobs.scan.findings_store import SpooledFindings
from jobs.scan.inbox import busy_customers, request_reconciles
from jobs.scan.links import write_links
from jobs.scan.listing import LOOK_UPS_AT_MOST, PATIENCE_SECONDS, Lists, fill_gaps, has_search, list_both, look_up_links
from jobs.scan.record import ScanLostError, ScanProgress, ScanRecord
from jobs.scan.report import ScanReport, ScanRun
from jobs.scan.spool import About, Spool, open_spool
from jobs.scan.spool_file import BYTES_AT_MOST, ListError, SpoolFullError
from jobs.stripe.client import StripeGateway

log = structlog.get_logger(__name__)

RESUME_MS: Final = 6 * 3_600_000
"""The age up to which an interrupted run is resumed. Later, its first pages are too old to compare with its last."""
ROWS_AT_A_TIME: Final = 5_000
CUSTOMERS_AT_A_TIME: Final = 500


@dataclass(frozen=True)
class ScanDeps:
    """The dependencies and settings of a scan.

    - `limits`: the rate limits of a scan.
    - `spool`: the path of the spool file, which has at most `spool_bytes_at_most` bytes.
    - `account`: a digest of the two accounts. A run resumes only a spool with the same digest.
    - `max_changed`: the fraction of all customers that one run may request reconciles for.
    - `now`: returns seconds since the epoch.
    - `look_ups_at_most`: limits the look-ups of linked customers that are missing from Stripe's list.
    - `patience_seconds`: the time for which a page with a passing failure is retried.
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
        """The dependencies of the listing."""
        return Lists(self.autumn, self.stripe, self.limits, self.policy, self.random, self.patience_seconds)

    @property
    def plan_inputs(self) -> PlanInputs:
        """The inputs of a plan that are the same for all customers."""
        return PlanInputs(self.mode, self.policy, self.now())


@dataclass(frozen=True)
class ScanRequest:
    """The options of a run.

    `apply` requests reconciles, and `force` allows any number of them. `kinds` are the kinds of findings to report;
    empty means all. `since_ms` (milliseconds since the epoch) limits the scan to customers created then or later.
    """

    apply: bool = False
    force: bool = False
    kinds: tuple[str, ...] = ()
    since_ms: int | None = None

    @property
    def scope(self) -> str:
        """Describe the limits of the run in words; empty for all customers and all kinds."""
        bounds = [f"only {', '.join(self.kinds)}"] if self.kinds else []
        if self.since_ms is not None:
            since = datetime.fromtimestamp(self.since_ms / 1000, UTC).isoformat(timespec="seconds")
            bounds.append(f"created since {since}")
        return "; ".join(bounds)


@asynccontextmanager
async def scanning(deps: ScanDeps, request: ScanRequest, progress: ScanProgress) -> AsyncIterator[ScanReport]:
    """Scan, and yield the report. Its findings exist until the block ends. `progress` is updated during the scan.

    A run with the same accounts, scope and policy that was interrupted within RESUME_MS is resumed at its last page.
    A cancelled run can be resumed. A run that fails is stored as failed.

    Raises ScanRunningError if another scan is running; ScanLostError, SyncError, RedisError, OSError, sqlite3.Error.
    """
    unfinished = await deps.record.begin()
    try:
        async with _recording_failure(deps, progress):
            spool, about = await _open_spool(deps, request, unfinished)
        is_kept = False
        try:
            async with _renewing_lease(deps, progress) as renewal:
                try:
                    report = await _unless_lost(renewal, _run(deps, request, spool, about, progress))
                except (asyncio.CancelledError, ScanLostError):
                    is_kept = True
                    raise
                yield report
        finally:
            await asyncio.to_thread(spool.close if is_kept else spool.remove)
    finally:
        with contextlib.suppress(RedisError):
            await deps.record.release()


@asynccontextmanager
async def _recording_failure(deps: ScanDeps, progress: ScanProgress) -> AsyncIterator[None]:
    """Store the run as failed if the block raises. After ScanLostError, the scan that took over stores it."""
    try:
        yield
    except ScanLostError:
        raise
    except Exception as error:
        if isinstance(error, SyncError):
            code, text = error.code, error.message if isinstance(error, Halt | ListError | SpoolFullError) else ""
            log.error("scan_failed", error=code, fix=error.fix if isinstance(error, Halt) else text)
        else:
            code, text = type(error).__name__, describe(error)
            log.error("scan_failed", error=code, cause=text)
        await deps.record.end(_failed(progress, await deps.record.now_ms(), code, text))
        raise


async def _open_spool(deps: ScanDeps, request: ScanRequest, unfinished: ScanProgress | None) -> tuple[Spool, About]:
    """Open the spool of the interrupted run if it can be resumed, or else a new one."""
    identity = f"{deps.account}\n{request.scope}\n{deps.policy}"
    now_ms = await deps.record.now_ms()
    # A process that is killed while it reports leaves the spool of a run that is already in the history.
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
        await deps.record.end(_failed(unfinished, now_ms, "cut_short", "the scan was interrupted and not resumed"))
    return spool, about


@asynccontextmanager
async def _renewing_lease(deps: ScanDeps, progress: ScanProgress) -> AsyncIterator[asyncio.Task[None]]:
    """Renew the scan's lease while the block runs. The task raises an error if the lease is lost."""

    async def renewal() -> None:
        while True:
            await asyncio.sleep(deps.record.renew_seconds)
            await deps.record.renew(progress)

    task = asyncio.create_task(renewal())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _unless_lost(renewal: asyncio.Task[None], work: Coroutine[Any, Any, ScanReport]) -> ScanReport:
    """Return the result of the work. Cancel the work and raise ScanLostError if the lease is lost."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task, renewal}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            renewal.result()
        return await task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _run(deps: ScanDeps, request: ScanRequest, spool: Spool, about: About, progress: ScanProgress) -> ScanReport:
    """Run the scan from the position in its spool to the report. Store a failed run as failed."""
    before = await deps.record.history()
    whole = next((run for run in before if run.state == "done" and not run.scope), None)
    progress.run, progress.scope, progress.started_ms = about.run, request.scope, about.started_ms
    progress.expected = whole.autumn_customers + whole.stripe_customers if whole and not request.scope else 0
    async with _recording_failure(deps, progress):
        await deps.record.renew(progress)
        await list_both(deps.lists, spool, progress, since_ms=request.since_ms)
        findings = await _compare(deps, request, spool, progress)
        run = await _conclude(deps, request, findings, progress)
        # After a refused run, the lists may be those of another account.
        if not request.scope and run.state == "done":
            await write_links(Links(deps.redis, deps.prefix), spool, since_ms=progress.started_ms)
    progress.phase = "reporting"
    return ScanReport(run, findings, before)


async def _compare(deps: ScanDeps, request: ScanRequest, spool: Spool, progress: ScanProgress) -> SpooledFindings:
    """Find what differs, without the customers that have events waiting or were synced during the scan."""
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
    inputs = replace(deps.plan_inputs, searched=await has_search(deps.lists, progress))
    for after in range(0, spool.last_row("autumn"), ROWS_AT_A_TIME):
        progress.findings += await asyncio.to_thread(_compare_rows, spool, findings, inputs, after)
        progress.compared += ROWS_AT_A_TIME
    for after in range(0, spool.last_row("stripe"), ROWS_AT_A_TIME):
        progress.findings += await asyncio.to_thread(_find_orphans, spool, findings, after)
        progress.compared += ROWS_AT_A_TIME
    async for batch in busy_customers(deps.redis, deps.prefix, deps.inbox, since_ms=progress.started_ms):
        await asyncio.to_thread(findings.leave_out, batch)
    await _mark_refused(deps, findings)
    return findings


async def _mark_refused(deps: ScanDeps, findings: SpooledFindings) -> None:
    """Mark differences in values that Stripe refused in a sync, because another sync cannot repair them."""
    drifting = findings.drifting()
    while batch := await asyncio.to_thread(lambda: list(islice(drifting, CUSTOMERS_AT_A_TIME))):
        for customer, refused in zip(batch, await read_refused(deps.redis, deps.prefix, batch), strict=True):
            if refused:
                await asyncio.to_thread(findings.mark_refused, customer, refused)


def _compare_rows(spool: Spool, findings: SpooledFindings, inputs: PlanInputs, after: int) -> int:
    payments = inputs.policy.reads_payments
    joined_rows = spool.joined(after, after + ROWS_AT_A_TIME, in_doubt=inputs.skips_agreeing, payments=payments)
    found = [finding for joined in joined_rows for finding in findings_of(joined, inputs)]
    return findings.add(found) if found else 0


def _find_orphans(spool: Spool, findings: SpooledFindings, after: int) -> int:
    found = [orphan(customer) for customer in spool.orphans(after, after + ROWS_AT_A_TIME)]
    return findings.add(found) if found else 0


async def _conclude(deps: ScanDeps, request: ScanRequest, findings: SpooledFindings, progress: ScanProgress) -> ScanRun:
    """Request the reconciles, if `apply` is set and they are not too many, and store the run."""
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
    # Unchecked customers count too: if the key is from another account, all of them would change.
    if (
        request.apply
        and not request.force
        and run.repairable + run.not_checked > deps.max_changed * run.autumn_customers
    ):
        run = replace(run, state="refused", text=_too_many(run, deps.max_changed))
    elif request.apply:
        progress.phase = "requesting"
        run = replace(run, requested=await request_reconciles(deps.redis, deps.inbox, findings.repairable(), progress))
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
        f"{max_changed:g}: no reconcile was requested. Check the findings. If they are right, scan with --apply --force"
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
