"""One customer compared at once, by looking at both sides: for whoever asks about that one and does not want to wait.

What only a comparison of everybody shows, such as another customer with the same `stripe_id`, is not found here.
"""

from collections import Counter
from dataclasses import replace

from jobs.errors import GiveUp
from jobs.scan.compare import SCAN_KINDS, Pair, findings_of, orphan
from jobs.scan.inbox import request_syncs
from jobs.scan.record import ScanProgress
from jobs.scan.report import ScanFinding, ScanReport, ScanRun
from jobs.scan.run import ScanDeps, ScanRequest
from jobs.sync.fetch import as_autumn_customer, fetch_stripe


async def look_at_one(deps: ScanDeps, customer_id: str, request: ScanRequest) -> ScanReport:
    """What is wrong with one customer; with `apply` a sync is asked for. Not kept among the runs.

    Raises SyncError, such as GiveUp `customer_not_found` where neither side knows the id; RedisError.
    """
    started_ms = await deps.record.now_ms()
    progress = ScanProgress(run=f"{started_ms}-{customer_id}")
    wanted = request.kinds or SCAN_KINDS
    found = tuple(each for each in await _findings(deps, customer_id, progress) if each.kind in wanted)
    repairable = {each.customer for each in found if each.is_repairable}
    if request.apply:
        await request_syncs(deps.redis, deps.inbox, iter(repairable), progress)
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
        autumn = as_autumn_customer(await deps.autumn.get(customer_id))
    except GiveUp as unknown:
        ours, _ = await deps.stripe.find_ours(customer_id, None)
        if unknown.code != "customer_not_found" or not ours:
            raise
        progress.stripe = len(ours)
        return [orphan(customer) for customer in ours]
    view = await fetch_stripe(deps.stripe, autumn)
    lens, payments = replace(deps.lens, searched=view.searched), None
    if lens.fetches_payments and view.linked is not None:
        with_charges = deps.policy.receipts == "recover"
        payments = (await deps.stripe.payments(view.linked.id, with_charges=with_charges)).intents
    progress.autumn, progress.stripe = 1, len(view.everyone)
    return findings_of(Pair(autumn, view.linked, view.ours, payments=payments), lens)
