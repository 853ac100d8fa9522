"""The sync job: take a customer's batch, apply it in as few updates as possible, and settle it.

The writes live in `jobs.sync.apply`, and rechecks in `jobs.sync.recheck`. This module decides the outcome of each
event: applied, dead-lettered or retried.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
from pydantic import JsonValue
from redis.exceptions import RedisError

from jobs.autumn.errors import NOT_IN_AUTUMN
from jobs.autumn.versions import unsupported_fields
from jobs.errors import Absent, GiveUp, Halt, SyncError, TryAgain, cause_of, describe
from jobs.observer import sync_of
from jobs.plan.merge import flat, merge, mergeable
from jobs.plan.plan import NEEDS_REVIEW
from jobs.plan.retry import UNEXPECTED_TRIES, DeadLettered, History, Retry, decide, is_permanent
from jobs.queue.batch import Batch, EntryOutcome, LeaseLostError, ParsedEvent, Settlement, parse_entries
from jobs.queue.breaker import NOTHING_LEARNED, ServiceReport, report_of
from jobs.queue.record import CustomerRecord
from jobs.queue.watch.request_ids import happened_at_seconds
from jobs.sync.apply import CustomerSync
from jobs.sync.deps import Deps
from jobs.sync.log import about, log_retry, log_settled, note_unknown_fields
from jobs.sync.recheck import begin_sync, recheck, recheck_after, recheck_after_lost_lease, restore
from jobs.sync.report import SyncReport, add_report
from jobs.sync.unfetched import apply_changes
from jobs.sync.writes import Writes

log = structlog.get_logger(__name__)

ABOUT_THE_CUSTOMER: Final = frozenset({NOT_IN_AUTUMN, "other_customer", "not_taken"})
"""Refusals of the whole customer: every part of a merged update would be refused, too."""
ABOUT_THE_LINK: Final = frozenset({"stripe_customer_missing", NEEDS_REVIEW})
"""Refusals of the whole customer, unless the change names the link."""
REFUSALS_AT_A_TIME: Final = 20
"""The most refusals in one sync. It then settles and leaves the rest, so that bad events do not use up the rates."""
PARTS_AT_A_TIME: Final = 20
"""The most updates of Autumn in one sync, for events that are not merged. The next sync does the rest."""
SYNC_SECONDS: Final = 40.0
"""The most time of one sync: longer than one request may take. The next sync does the rest."""
RETRY_AFTER_TIMEOUT_SECONDS: Final = 30.0
EXPIRE_ATTEMPTS: Final = 5
"""The minimum number of tries before an event expires, because most of the time may have been an outage or a halt."""


@dataclass
class _Progress:
    """The progress of a sync: the outcomes so far, and the events that are left, in order."""

    sync: CustomerSync
    left: list[ParsedEvent]
    outcomes: list[EntryOutcome]
    refusals: int = 0
    parts: int = 0

    @property
    def writes(self) -> Writes:
        """The writes of the sync."""
        return self.sync.writes

    @property
    def batch(self) -> Batch:
        """The batch of the sync."""
        return self.writes.batch

    @property
    def deps(self) -> Deps:
        """The dependencies of the sync."""
        return self.writes.deps


async def sync_customer(deps: Deps, customer_id: str) -> bool:
    """Sync a dispatched customer. Return False if it is not dispatched or another worker has it.

    Faults of services and events do not raise: they become a retry or a dead letter. Raises RedisError; then the lease
    expires and the customer is dispatched again.
    """
    batch = await deps.mailbox.take(customer_id)
    if batch is None:
        return False
    sync = begin_sync(deps, batch)
    observed = sync_of(batch)
    with about(batch), deps.observer.syncing(observed):
        try:
            settlement = await _run(sync)
            settled = await deps.mailbox.settle(batch.lease, settlement)
            if settled:
                observed.ended(settlement)
                _observe_agreement(sync, settlement)
        except LeaseLostError:
            settled = False
        finally:
            deps.mailbox.forget(batch.lease)
        if not settled:
            log.warning("lease_lost", wrote=sync.writes.any_begun)
            await recheck_after_lost_lease(sync.writes)
    return True


def _observe_agreement(sync: CustomerSync, settlement: Settlement) -> None:
    """Tell the observer how long ago the events of Stripe happened that led to this sync, if it reached agreement."""
    deps = sync.writes.deps
    for outcome in settlement.outcomes if sync.has_agreed else ():
        happened_at = happened_at_seconds(outcome.event)
        if happened_at is not None and not outcome.is_dead:
            deps.observer.event_agreed(max(0.0, deps.now() - happened_at))


async def _run(sync: CustomerSync) -> Settlement:
    writes, batch = sync.writes, sync.writes.batch
    events, refused = parse_entries(batch.entries)
    note_unknown_fields(batch.entries, writes.totals)
    if any(event.update.type == "customer.reconcile" for event in events):
        # It asks for a fetch.
        sync.trusted = None
    progress = _Progress(sync, events, refused)
    _dead_letter_unsupported(progress)
    try:
        async with asyncio.timeout(SYNC_SECONDS):
            await recheck(sync, _merged(progress.left), is_all=not progress.left)
            await _apply(progress)
            await restore(sync, _merged(progress.left))
    except (LeaseLostError, RedisError):
        raise
    except TimeoutError:
        return _after_failure(progress, _timed_out())
    except Exception as error:
        return _after_failure(progress, error)
    log_settled(progress.outcomes, len(progress.left), writes.record.link if writes.has_link else None)
    writes.record = replace(
        writes.record,
        attempts=0,
        unexpected=0,
        failing_since=None,
        last_error="",
        last_cause="",
        recheck=False,
        create_tries=0,
        recheck_tries=0,
    )
    return _settlement(progress, _learned(sync))


def _learned(sync: CustomerSync) -> ServiceReport:
    """Return what a sync that ended shows about the services. Some syncs call only Autumn."""
    if not sync.has_agreed:
        return NOTHING_LEARNED
    has_fetched = sync.fetched_at == sync.writes.batch.taken_at
    if not sync.writes.batch.is_probe:
        # A customer that is left alone needs no fetch of Stripe, except as a probe.
        has_fetched = has_fetched and all(each.kind != "billed-elsewhere" for each in sync.findings)
    return ServiceReport("works", "" if has_fetched else "autumn")


def _settlement(
    progress: _Progress, breaker: ServiceReport, *, error: Exception | None = None, retry: Retry | None = None
) -> Settlement:
    """Return the settlement of a sync that ended, or failed with an `error`."""
    writes, memory = progress.writes, progress.sync.memory
    waits = recheck_after(progress.sync, _merged(progress.left), error)
    reports = _reports(progress, _code_of(error) if error is not None else "")
    return Settlement(
        progress.outcomes,
        replace(writes.record, recheck_kind=waits.kind, reports=reports),
        writes.totals,
        again_after_ms=int(retry.after_seconds * 1000) if retry is not None else 0,
        at_least_ms=int(retry.at_least_seconds * 1000) if retry is not None else 0,
        recheck_after_ms=waits.after_ms,
        remembered=None if memory.is_empty else memory.as_dict(),
        remembered_seconds=memory.seconds,
        breaker=breaker,
        before=progress.batch.record,
        link=writes.watched_link,
    )


def _code_of(error: Exception) -> str:
    return error.code if isinstance(error, SyncError) else "unexpected"


def _timed_out() -> TryAgain:
    """Return the error of a sync that ran out of time. The next one waits, because an update may still be pending."""
    return TryAgain("event", "sync_too_long", after_seconds=RETRY_AFTER_TIMEOUT_SECONDS, maybe_applied=True)


def _reports(progress: _Progress, error: str) -> str:
    """Return the customer's reports as JSON, with the one of this sync first."""
    sync, writes = progress.sync, progress.writes
    report = SyncReport(
        at_ms=int(progress.deps.now() * 1000),
        events=len(progress.batch.entries),
        found=sync.found or "",
        link=writes.record.link if writes.has_link else "",
        stripe_id=writes.record.stripe_id if writes.has_link else "",
        actions=tuple(writes.actions),
        findings=(*sync.findings, *writes.findings),
        error=error,
        given_up=dict(Counter(each.dead["reason"] for each in progress.outcomes if each.dead is not None)),
    )
    return add_report(progress.batch.record.reports, report)


async def _apply(progress: _Progress) -> None:
    """Apply the events that are left as one update, or as few as Autumn's rules of merging allow.

    If an update is refused permanently, halve it to find the bad event.
    """
    size = len(progress.left)
    while progress.left and progress.refusals < REFUSALS_AT_A_TIME and progress.parts < PARTS_AT_A_TIME:
        part = progress.left[: mergeable(_changes_of(progress.left[:size]))]
        changes = _merged(part)
        progress.sync.named_later, progress.sync.linked_first = _named_by(progress.left[len(part) :]), ""
        try:
            await apply_changes(progress.sync, changes, [event.entry for event in part], _changes_of(part))
        except (LeaseLostError, RedisError, TimeoutError):
            raise
        except Exception as error:
            is_divisible = len(part) > 1 and not _is_about_the_customer(error, changes)
            refusal = _refusal_of(error, progress, is_divisible=is_divisible)
            if refusal is None:
                raise
            progress.refusals += 1
            if is_divisible:
                size = len(part) // 2
                continue
            if dead := _give_up(progress, part, refusal.reason, refusal.message):
                cause = _cause(refusal.reason, refusal.message)
                log.error("entries_refused", entries=dead, reason=refusal.reason, **cause)
        else:
            progress.writes.totals["merged"] += len(part) - 1
            progress.writes.record = replace(progress.writes.record, last_applied=part[-1].entry, reapplies=0)
            progress.outcomes += [event.applied() for event in part]
            progress.parts += 1
        del progress.left[: len(part)]
        size = len(progress.left)


def _refusal_of(error: Exception, progress: _Progress, *, is_divisible: bool) -> DeadLettered | None:
    """Return why a part can never be applied; None if a later try may succeed.

    After an unexpected error a part is divided. A single event is tried again first.
    """
    batch = progress.batch
    if isinstance(error, SyncError):
        is_for_good = isinstance(error, GiveUp | Absent)
        if is_for_good or is_permanent(error, batch.record.attempts, others_work=not batch.is_probe):
            return DeadLettered(error.code, error.message)
        return None
    progress.sync.fetch_again()
    if is_divisible or batch.record.unexpected + 1 >= UNEXPECTED_TRIES:
        return DeadLettered("unexpected", describe(error))
    return None


def _is_about_the_customer(error: Exception, changes: dict[str, JsonValue]) -> bool:
    if not isinstance(error, SyncError):
        return False
    return error.code in ABOUT_THE_CUSTOMER or (error.code in ABOUT_THE_LINK and "stripe_id" not in changes)


def _after_failure(progress: _Progress, error: Exception) -> Settlement:
    """Return the settlement after a failure: retry the events that are left, or dead-letter them.

    Outcomes from before the failure stay.
    """
    writes, record = progress.writes, progress.batch.record
    tries = record.attempts if progress.left else record.recheck_tries
    history = History(tries, _failing_seconds(progress), record.unexpected)
    decision = decide(error, history, progress.deps.random)
    code, cause = _code_of(error), cause_of(error)
    writes.record = replace(writes.record, last_error=code, last_cause=cause, verified=None)
    if isinstance(decision, DeadLettered):
        _dead_letter(progress, progress.left, decision.reason, decision.message)
        writes.record = replace(writes.record, attempts=0, unexpected=0, failing_since=None)
        return _settlement(progress, report_of(error), error=error)
    if not isinstance(error, Halt):
        _dead_letter_expired(progress, history, code, cause)
    writes.record = _count_try(progress, error, history)
    writes.totals[f"retries:{code}"] += 1
    log_retry(error, code, decision, history)
    return _settlement(progress, report_of(error), error=error, retry=decision)


def _failing_seconds(progress: _Progress) -> float:
    """Return how long the customer's syncs have failed in a row before this one."""
    since = progress.batch.record.failing_since
    return 0.0 if since is None else progress.deps.now() - since


def _count_try(progress: _Progress, error: Exception, history: History) -> CustomerRecord:
    """Return the record after another failed try.

    A halt does not count as a try, and neither does its time. A failed probe says nothing about the customer. A recheck
    without events counts its own tries, so that later events begin at zero.
    """
    record, tries = progress.writes.record, history.attempts + (not progress.batch.is_probe)
    since = progress.deps.now() if record.failing_since is None else record.failing_since
    if isinstance(error, Halt):
        return replace(record, failing_since=None, attempts=0)
    if not progress.left:
        return replace(record, failing_since=None, attempts=0, recheck_tries=tries)
    if not isinstance(error, SyncError):
        return replace(record, unexpected=history.unexpected + 1, failing_since=since)
    return replace(record, attempts=tries, failing_since=since)


def _dead_letter_expired(progress: _Progress, history: History, code: str, cause: str) -> None:
    """Dead-letter the events that waited too long, if the customer failed for as long and often enough."""
    deps = progress.deps
    if history.failing_seconds < deps.retry_for_seconds or history.attempts < EXPIRE_ATTEMPTS:
        return
    oldest_kept = deps.now() - deps.retry_for_seconds
    expired = [event for event in progress.left if event.sent_at_seconds <= oldest_kept]
    text = f"still failing after {history.failing_seconds:.0f} s{cause and ': ' + cause}"
    _dead_letter(progress, expired, code, text)


def _dead_letter_unsupported(progress: _Progress) -> None:
    """Dead-letter the events with a field that the version of Autumn's API does not know."""
    version = progress.deps.autumn.api_version
    for event, changes in zip(progress.left, _changes_of(progress.left), strict=True):
        if texts := unsupported_fields(changes, version):
            _dead_letter(progress, [event], "unsupported_field", "; ".join(texts))


def _dead_letter(progress: _Progress, events: Sequence[ParsedEvent], reason: str, message: str) -> None:
    if dead := _give_up(progress, events, reason, message):
        log.error("entries_dead_lettered", entries=dead, reason=reason, **_cause(reason, message))
    progress.left = [event for event in progress.left if event not in events]


def _give_up(progress: _Progress, events: Sequence[ParsedEvent], reason: str, message: str) -> int:
    """Add the outcomes of events that will never be applied, and return the number of dead letters.

    A reconcile that the watch requested is dropped, unless this software failed. No app waits for it, and the report
    holds the finding, as after a scan.
    """
    writes = progress.writes
    writes.is_unknown |= reason == NOT_IN_AUTUMN
    dropped = [event for event in events if reason != "unexpected" and event.is_from_watch]
    dead = [event for event in events if event not in dropped]
    if dropped:
        log.warning("watch_requests_dropped", entries=len(dropped), reason=reason)
        writes.totals["watch_requests_dropped"] += len(dropped)
    progress.outcomes += [event.applied(reason) for event in dropped]
    for event in dead:
        text = message + _link_note(event, progress.sync.linked_first)
        progress.outcomes.append(event.dead(reason, text, progress.batch.record))
    return len(dead)


def _link_note(event: ParsedEvent, linked: str) -> str:
    """Return the end of a dead letter's text if the event also named the link and that part of it is applied."""
    is_named = event.update.changes is not None and event.update.changes.stripe_id == linked
    return f" (changes.stripe_id is applied: the customer is linked to {linked})" if linked and is_named else ""


def _cause(reason: str, message: str) -> dict[str, str]:
    """Return the log field `cause` of an unexpected error. A service's message may be personal: do not log it."""
    return {"cause": message} if reason == "unexpected" else {}


def _merged(events: Sequence[ParsedEvent]) -> dict[str, JsonValue]:
    return merge(_changes_of(events))


def _named_by(events: Sequence[ParsedEvent]) -> frozenset[str]:
    return frozenset(flat(_merged(events)))


def _changes_of(events: Sequence[ParsedEvent]) -> list[dict[str, JsonValue]]:
    """Return the changes of each event. Those of a reconcile are empty."""
    return [event.update.changes.requested() if event.update.changes is not None else {} for event in events]
