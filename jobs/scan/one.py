"""Compare one customer through a preview of its sync, without a scan of all customers.

Findings that need the lists of all customers are not found here, such as two customers with one `stripe_id`.
"""

from collections import Counter
from dataclasses import replace

from jobs.autumn.errors import NOT_IN_AUTUMN
from jobs.errors import GiveUp
from jobs.scan.compare import SCAN_KINDS, JoinedCustomer, findings_of, orphan
from jobs.scan.inbox import request_reconciles
from jobs.scan.record import ScanProgress
from jobs.scan.report import ScanFinding, ScanReport, ScanRun
from jobs.scan.run import ScanDeps, ScanRequest
from jobs.sync.preview import preview


async def scan_one(deps: ScanDeps, customer_id: str, request: ScanRequest) -> ScanReport:
    """Compare one customer, and request its reconcile if `apply` is set. The run is not stored in the history.

    Raises SyncError, such as GiveUp `customer_not_found` if neither side knows the id; RedisError.
    """
    started_ms = await deps.record.now_ms()
    progress = ScanProgress(run=f"{started_ms}-{customer_id}")
    wanted = request.kinds or SCAN_KINDS
    found = tuple(each for each in await _findings(deps, customer_id, progress) if each.kind in wanted)
    repairable = {each.customer for each in found if each.is_repairable}
    if request.apply:
        await request_reconciles(deps.redis, deps.inbox, iter(repairable), progress)
    run = ScanRun(
        run=progress.run,
        state="done",
        started_ms=started_ms,
        ended_ms=await deps.record.now_ms(),
        autumn_customers=progress.autumn,
        stripe_customers=progress.stripe,
        totals=dict(Counter(each.kind for each in found)),
        scope=f"customer {customer_id}",
        repairable=len(repairable),
        requested=progress.requested,
    )
    return ScanReport(run, found, await deps.record.history())


async def _findings(deps: ScanDeps, customer_id: str, progress: ScanProgress) -> list[ScanFinding]:
    try:
        seen = await preview(deps, customer_id)
    except GiveUp as unknown:
        if unknown.code != NOT_IN_AUTUMN:
            raise
        ours, _ = await deps.stripe.find_ours(customer_id, None)
        if not ours:
            raise
        progress.stripe = len(ours)
        return [orphan(customer) for customer in ours]
    view = seen.stripe
    progress.autumn, progress.stripe = 1, len(view.all_customers)
    payments = None if view.payments is None else view.payments.intents
    joined = JoinedCustomer(seen.autumn, view.linked, view.ours, payments=payments)
    return findings_of(joined, replace(deps.plan_inputs, searched=view.searched))
