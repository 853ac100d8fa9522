"""Request values again that something reverted, and take back from Stripe what Autumn never accepted.

`jobs.plan.recheck` decides which values these are, and `jobs.sync.apply` writes them.
"""

from collections.abc import Mapping
from typing import Final

import structlog
from pydantic import JsonValue

from jobs.errors import Absent, GiveUp, TryAgain
from jobs.plan.findings import Finding
from jobs.plan.merge import cleared
from jobs.plan.plan import Asked
from jobs.plan.recheck import Fields, flat, nested, shown_by
from jobs.sync.apply import Round

log = structlog.get_logger(__name__)

REAPPLIES_MAX: Final = 3
"""How often in a row a value is reapplied. Somebody who reverts it each time would make a loop of it."""
STALE_READ_SECONDS: Final = 2.0


async def reapply(this_round: Round, later: Mapping[str, JsonValue]) -> None:
    """Request again what something has reverted to an older value.

    What waiting changes name (`later`) is left to them. Raises SyncError, and LeaseLostError before a write that is no
    longer ours.
    """
    if not this_round.memory.fields:
        return
    autumn, view = await this_round.look(Asked())
    if "stripe_id" in later and view.linked is None:
        # The link that is asked for comes first; what is to be reapplied goes to Stripe with it.
        this_round.left_out = True
        return
    lost = this_round.lost(autumn, view, besides=later)
    if lost:
        await _reapply(this_round, lost)
        return
    unsaid = {name: value for name, value in shown_by(autumn).items() if name not in flat(later)}
    if this_round.memory.is_stale(unsaid):
        raise TryAgain("autumn", "stale_read", after_seconds=STALE_READ_SECONDS)
    if not later:
        this_round.writes.record["put_backs"] = "0"


async def restore(this_round: Round, left: Mapping[str, JsonValue]) -> None:
    """Give Stripe Autumn's values again where Autumn did not accept what was written there first.

    What changes that are `left` name is theirs to settle. Raises as `reapply` does.
    """
    if this_round.memory.unaccepted_fields - flat(left).keys():
        this_round.look_afresh()
        try:
            await this_round.check()
        except (GiveUp, Absent):
            this_round.memory.forget_unaccepted()
            raise


async def _reapply(this_round: Round, lost: Fields) -> None:
    """Request the values again, unless that was in vain too often."""
    writes, fields = this_round.writes, sorted(lost)
    before = writes.mail.number("put_backs")
    if before >= REAPPLIES_MAX:
        text = f"something undoes {', '.join(fields)} each time, and it was put back {before} times: left as it is now"
        log.error("put_back_again_and_again", fields=fields)
        writes.findings.append(Finding("put-back-again-and-again", text))
        return
    log.warning("put_back", fields=fields)
    try:
        if "stripe_id" in lost:
            await _reapply_link(this_round, lost["stripe_id"])
        rest = nested({name: value for name, value in lost.items() if name != "stripe_id"})
        await this_round.agree(Asked(rest, cleared(nested(lost)), suspicious=this_round.is_suspicious))
    except (GiveUp, Absent):
        # What is refused now may be accepted later, as long as the older values are known.
        this_round.left_out = True
        raise
    finally:
        # A try that failed before Autumn took it was not in vain.
        done = int(any(action.kind == "updated-autumn" for action in writes.actions))
        writes.record["put_backs"] = str(before + done)
        writes.totals["put_back"] += done


async def _reapply_link(this_round: Round, stripe_id: JsonValue) -> None:
    """Ask for a link again. One that is refused by now does not hold up the rest."""
    wanted = {"stripe_id": stripe_id}
    try:
        await this_round.agree(Asked(wanted, cleared(wanted)))
    except (GiveUp, Absent) as refusal:
        log.warning("link_not_put_back", reason=refusal.code)
