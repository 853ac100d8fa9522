"""The recheck: find values that something reverted, reapply them, and decide when the next recheck is due.

`jobs.plan.recheck` holds the rules, `jobs.sync.apply` writes, and `rechecks.lua` stores when a recheck is due.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Final, Literal

import structlog
from pydantic import JsonValue
from redis.exceptions import RedisError

from jobs.autumn.errors import LATE_SECONDS
from jobs.errors import Absent, GiveUp, SyncError, TryAgain, describe
from jobs.plan.customer import shown_by
from jobs.plan.edits import EDIT_SECONDS, Edits
from jobs.plan.findings import Finding
from jobs.plan.merge import Changes, Fields, cleared, flat, nested
from jobs.plan.plan import Request
from jobs.plan.recheck import Memory, Recheck, next_recheck
from jobs.plan.verified import Verified, is_fitting
from jobs.queue.batch import Batch, LeaseLostError
from jobs.sync.apply import CustomerSync
from jobs.sync.deps import Deps
from jobs.sync.unfetched import can_skip_fetch
from jobs.sync.writes import Writes

log = structlog.get_logger(__name__)

REAPPLIES_MAX: Final = 3
"""The most times in a row that a value is reapplied. Without a limit, two writers could loop forever."""
STALE_READ_SECONDS: Final = 2.0
LOST_LEASE_MS: Final = 1_000
"""The time from a lost lease to the recheck of the customer."""


def begin_sync(deps: Deps, batch: Batch) -> CustomerSync:
    """Return the sync of a batch, with the memory of earlier syncs."""
    may_be_late = batch.is_recheck or batch.was_abandoned
    memory = _read_memory(deps, batch)
    for name, edit in batch.edits.items():
        memory.note_replaced(name, edit.digest, edit.written_at)
    return CustomerSync(
        Writes(deps, batch),
        memory,
        Edits(batch.edits, batch.taken_at, keeps_unknown=batch.is_from_watch),
        autumn_accepts=not batch.is_probe,
        is_suspicious=may_be_late and batch.record.payments_read,
        trusted=_trusted(deps, batch, memory),
        fetched_at=batch.taken_at,
    )


def _trusted(deps: Deps, batch: Batch, memory: Memory) -> Verified | None:
    """Return the values of an earlier fetch if they can be trusted and no write of ours may still change them."""
    verified = batch.verified(deps.link_trust_seconds)
    if verified is None or memory.is_in_doubt or memory.unaccepted_fields:
        return None
    return verified if is_fitting(verified, deps.policy) else None


async def recheck(sync: CustomerSync, later: Changes, *, is_all: bool) -> None:
    """Reapply the values that something reverted, except the fields that the events of the batch (`later`) name.

    `is_all`: the batch has no valid event, so a recheck also makes both sides agree. A refusal is logged and stops no
    event.
    Raises TryAgain, Halt, LeaseLostError, RedisError, TimeoutError.
    """
    batch = sync.writes.batch
    sync.writes.totals["rechecks"] += batch.is_recheck
    sync.named_later = frozenset(flat(later))

    async def work() -> None:
        await _reapply_lost(sync, later)
        if batch.is_recheck and is_all and not sync.has_agreed:
            await _check(sync)

    await _log_refusal(sync, "recheck", work())


async def restore(sync: CustomerSync, left: Changes) -> None:
    """Restore Autumn's values in Stripe if Autumn did not accept values that were written to Stripe first.

    Fields that the `left` changes name are not restored. Refusals and errors are as in `recheck`.
    """
    sync.named_later = frozenset(flat(left))

    async def work() -> None:
        if not sync.memory.unaccepted_fields - sync.named_later:
            return
        sync.fetch_again()
        try:
            await _check(sync)
        except (GiveUp, Absent):
            sync.memory.forget_unaccepted()
            raise

    await _log_refusal(sync, "restore", work())


def recheck_after(sync: CustomerSync, left: Changes, error: Exception | None = None) -> Recheck:
    """Return the recheck that is needed after this sync, which may have failed with an `error`.

    Fields that the `left` changes name need no recheck. After a write of unknown fate, the memory also notes until when
    that write may be applied.
    """
    writes, batch = sync.writes, sync.writes.batch
    is_unsure = writes.any_begun and isinstance(error, TryAgain) and error.maybe_applied
    if is_unsure:
        sync.memory.in_doubt_until = writes.deps.now() + LATE_SECONDS
    is_done = error is None and batch.is_recheck
    next_one = next_recheck(
        "" if is_done else batch.record.recheck_kind,
        after_seconds=writes.deps.recheck_after_seconds,
        has_unaccepted=bool(sync.memory.unaccepted_fields - flat(left).keys()),
        may_be_late=is_unsure or batch.was_abandoned or sync.left_out,
        may_echo=sync.profile_changed,
    )
    if not next_one.after_ms and sync.awaits_edit:
        return Recheck(next_one.kind or "echo", int(EDIT_SECONDS * 1000))
    return next_one


async def recheck_after_lost_lease(writes: Writes) -> None:
    """Schedule a recheck if a write was started: it may be applied after a write of another worker."""
    if writes.any_begun:
        await writes.deps.mailbox.schedule_recheck(writes.batch.customer_id, LOST_LEASE_MS)


def _read_memory(deps: Deps, batch: Batch) -> Memory:
    """Return the memory of earlier syncs. If the last one died, an update may still be pending."""
    now = deps.now()
    try:
        memory = Memory.read(batch.customer_id, batch.remembered, now)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # Another version wrote another format: start with an empty memory.
        log.error("customer_state_reset", customer=batch.customer_id, parts=["remembered"], cause=describe(error))
        memory = Memory.read(batch.customer_id, {}, now)
    if batch.was_abandoned:
        memory.in_doubt_until = max(memory.in_doubt_until, now + LATE_SECONDS)
    return memory


async def _log_refusal(sync: CustomerSync, work: Literal["recheck", "restore"], doing: Awaitable[None]) -> None:
    """Do work that no event requested. A refusal or an unexpected error is logged and stops no event."""
    try:
        await doing
    except (GiveUp, Absent) as refusal:
        log.warning("recheck_refused", work=work, reason=refusal.code)
    except (SyncError, LeaseLostError, RedisError, TimeoutError):
        raise
    except Exception as error:
        sync.fetch_again()
        # Log no traceback, because its values may be personal.
        log.error("recheck_failed", work=work, cause=describe(error))


async def _check(sync: CustomerSync) -> None:
    """Make both sides agree without a change. Raises as `CustomerSync.apply` does.

    If the last change removed the link, it stays removed until the next event.
    """
    cleared_link = frozenset({"stripe_id"}) if sync.memory.is_unlinked else frozenset[str]()
    await sync.agree(Request(cleared=cleared_link, suspicious=sync.is_suspicious))


async def _reapply_lost(sync: CustomerSync, later: Mapping[str, JsonValue]) -> None:
    """Request the values again that something reverted to an older value, except fields that `later` events name.

    Raises SyncError, and LeaseLostError before a write if the lease is lost.
    """
    if (not sync.memory.fields and not sync.edits.by_field) or can_skip_fetch(sync, later):
        # Without a fetch, the answer to the update shows what something reverted.
        return
    autumn, view = await sync.fetch(Request())
    if "stripe_id" in later and view.linked is None:
        # Link first. A later recheck reapplies the values in Stripe.
        sync.left_out = True
        return
    lost = sync.lost(autumn, view.linked, besides=sync.named_later)
    if lost:
        await _reapply(sync, lost)
        return
    others = {name: value for name, value in shown_by(autumn).items() if name not in sync.named_later}
    if sync.memory.is_stale(others):
        raise TryAgain("autumn", "stale_read", after_seconds=STALE_READ_SECONDS)
    if not later:
        sync.writes.record = replace(sync.writes.record, reapplies=0)


async def _reapply(sync: CustomerSync, lost: Fields) -> None:
    """Request the values again, unless they were reverted too often."""
    writes, fields = sync.writes, sorted(lost)
    before = writes.batch.record.reapplies
    if before >= REAPPLIES_MAX:
        text = f"something reverts {', '.join(fields)} each time; gave up after reapplying it {before} times"
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
        # It may be accepted later, as long as the older values are remembered. An edit that Autumn refuses stays in
        # Stripe, and each sync tries it once.
        edited = lost.keys() & sync.edits.by_field.keys()
        sync.edits = replace(sync.edits, refused=frozenset(edited))
        sync.left_out = bool(lost.keys() - edited)
        raise
    finally:
        # Count only tries that Autumn accepted.
        done = int(any(action.kind == "updated-autumn" for action in writes.actions))
        writes.record = replace(writes.record, reapplies=before + done)
        writes.totals["reapplied"] += done


async def _reapply_link(sync: CustomerSync, stripe_id: JsonValue) -> None:
    """Request a link again. A refusal does not stop the other fields."""
    wanted = {"stripe_id": stripe_id}
    try:
        await sync.agree(Request(wanted, cleared(wanted)))
    except (GiveUp, Absent) as refusal:
        log.warning("link_reapply_refused", reason=refusal.code)
