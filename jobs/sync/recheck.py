"""Request values again that something reverted, and take back from Stripe what Autumn never accepted.

`jobs.plan.recheck` decides which values these are, and `jobs.sync.apply` writes them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import structlog
from pydantic import JsonValue

from jobs.errors import Absent, GiveUp, TryAgain
from jobs.plan.findings import Finding
from jobs.plan.merge import cleared
from jobs.plan.plan import Request
from jobs.plan.recheck import Fields, flat, nested, shown_by
from jobs.sync.apply import CustomerSync

log = structlog.get_logger(__name__)

REAPPLIES_MAX: Final = 3
"""How often in a row a value is reapplied. Somebody who reverts it each time would make a loop of it."""
STALE_READ_SECONDS: Final = 2.0


async def reapply(sync: CustomerSync, later: Mapping[str, JsonValue]) -> None:
    """Request again what something has reverted to an older value.

    What waiting changes name (`later`) is left to them. Raises SyncError, and LeaseLostError before a write that is no
    longer ours.
    """
    if not sync.memory.fields:
        return
    autumn, view = await sync.fetch(Request())
    if "stripe_id" in later and view.linked is None:
        # The link that is asked for comes first; what is to be reapplied goes to Stripe with it.
        sync.left_out = True
        return
    lost = sync.lost(autumn, view, besides=later)
    if lost:
        await _reapply(sync, lost)
        return
    unsaid = {name: value for name, value in shown_by(autumn).items() if name not in flat(later)}
    if sync.memory.is_stale(unsaid):
        raise TryAgain("autumn", "stale_read", after_seconds=STALE_READ_SECONDS)
    if not later:
        sync.writes.record = replace(sync.writes.record, reapplies=0)


async def restore(sync: CustomerSync, left: Mapping[str, JsonValue]) -> None:
    """Give Stripe Autumn's values again where Autumn did not accept what was written there first.

    What changes that are `left` name is theirs to settle. Raises as `reapply` does.
    """
    if sync.memory.unaccepted_fields - flat(left).keys():
        sync.fetch_again()
        try:
            await sync.check()
        except (GiveUp, Absent):
            sync.memory.forget_unaccepted()
            raise


async def _reapply(sync: CustomerSync, lost: Fields) -> None:
    """Request the values again, unless that was in vain too often."""
    writes, fields = sync.writes, sorted(lost)
    before = writes.batch.record.reapplies
    if before >= REAPPLIES_MAX:
        text = f"something undoes {', '.join(fields)} each time, and it was put back {before} times: left as it is now"
        log.error("reapply_given_up", fields=fields)
        writes.findings.append(Finding("reapply-given-up", text))
        return
    log.warning("fields_reapplied", fields=fields)
    try:
        if "stripe_id" in lost:
            await _reapply_link(sync, lost["stripe_id"])
        rest = nested({name: value for name, value in lost.items() if name != "stripe_id"})
        await sync.agree(Request(rest, cleared(nested(lost)), suspicious=sync.is_suspicious))
    except (GiveUp, Absent):
        # What is refused now may be accepted later, as long as the older values are known.
        sync.left_out = True
        raise
    finally:
        # A try that failed before Autumn took it was not in vain.
        done = int(any(action.kind == "updated-autumn" for action in writes.actions))
        writes.record = replace(writes.record, reapplies=before + done)
        writes.totals["reapplied"] += done


async def _reapply_link(sync: CustomerSync, stripe_id: JsonValue) -> None:
    """Ask for a link again. One that is refused by now does not hold up the rest."""
    wanted = {"stripe_id": stripe_id}
    try:
        await sync.agree(Request(wanted, cleared(wanted)))
    except (GiveUp, Absent) as refusal:
        log.warning("link_reapply_refused", reason=refusal.code)
