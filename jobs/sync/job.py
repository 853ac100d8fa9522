"""The job: a customer's mail is taken, applied in as few updates as possible, and settled in one script, however it
ends.

What the writes are, jobs.sync.apply says. Here is what becomes of the letters: applied, dead, or tried again.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import structlog
from pydantic import JsonValue
from redis.exceptions import RedisError

from jobs.autumn.errors import LATE_SECONDS
from jobs.errors import Absent, GiveUp, Halt, SyncError, TryAgain, cause_of, describe
from jobs.observer import sync_of
from jobs.plan.merge import merge
from jobs.plan.plan import NEEDS_REVIEW
from jobs.plan.recheck import Memory, flat
from jobs.plan.retry import UNEXPECTED_TRIES, Bury, History, decide, is_permanent
from jobs.queue.batch import Ending, LeaseLostError, Letter, Mail, Settled, open_entries
from jobs.queue.breaker import NOTHING_LEARNED, LineReport, report_of
from jobs.sync.apply import Round
from jobs.sync.deps import Resources
from jobs.sync.log import about, log_again, log_settled, note_fields_not_known
from jobs.sync.reapply import reapply, restore
from jobs.sync.report import SyncReport, add_report
from jobs.sync.writes import Writes

log = structlog.get_logger(__name__)

ABOUT_THE_CUSTOMER: Final = frozenset({"customer_not_found", "other_customer", "not_taken"})
"""Refusals of the customer as a whole: taken apart, every part of a merged update would be refused again."""
ABOUT_THE_LINK: Final = frozenset({"stripe_customer_missing", NEEDS_REVIEW})
"""Refusals of the customer as a whole, too, unless the change names the link itself."""
REFUSALS_AT_A_TIME: Final = 20
"""After so many, what is known is settled, and the rest is the next round: nobody's bad changes use up the rates."""
ROUND_SECONDS: Final = 40.0
"""Longer than one call of a service may take; what is not done by then is another round."""
AFTER_A_CUT_SECONDS: Final = 30.0
EXPIRE_ATTEMPTS: Final = 5
"""Tries of its own that a customer gets at least, since most of the time may have been an outage's or a halt's."""
LOOK_AFTER_LOST_LEASE_MS: Final = 1_000
RESTORE_AFTER_MS: Final = 1_000


@dataclass
class _Progress:
    """How far a round has come: what is settled, and what is left in order."""

    round: Round
    left: list[Letter]
    settled: list[Settled]
    refusals: int = 0
    record: dict[str, str] = field(default_factory=dict)


async def sync_customer(resources: Resources, customer_id: str) -> bool:
    """Bring a customer in sync, if it was called and nobody else has it; whether it was so.

    What services and events do wrong never raises: it ends as another try or as a dead letter. Raises RedisError;
    then the lease runs out and the customer is called again.
    """
    mail = await resources.mailbox.take(customer_id)
    if mail is None:
        return False
    this_round = Round(Writes(resources, mail), _memory(resources, mail), autumn_accepts=not mail.is_probe)
    sync = sync_of(mail)
    with about(mail), resources.watch.syncing(sync):
        try:
            ending = await _work_on(this_round)
            settled = await resources.mailbox.settle(mail.lease, ending)
            if settled:
                sync.ended(ending)
        except LeaseLostError:
            settled = False
        finally:
            resources.mailbox.forget(mail.lease)
        if not settled:
            log.warning("lease_lost", wrote=this_round.writes.any_begun)
            if this_round.writes.any_begun:
                # What we sent last may have landed on what another worker sent since.
                await resources.mailbox.ask_for_a_look(customer_id, LOOK_AFTER_LOST_LEASE_MS)
    return True


async def _work_on(this_round: Round) -> Ending:
    writes = this_round.writes
    letters, refused = open_entries(writes.mail.entries)
    note_fields_not_known(writes.mail.entries, writes.totals)
    progress = _Progress(this_round, letters, refused)
    try:
        async with asyncio.timeout(ROUND_SECONDS):
            await _recheck(progress)
            await _apply(progress)
            await _restore(progress)
    except (LeaseLostError, RedisError):
        raise
    except TimeoutError:
        return _after_failure(progress, _too_long())
    except Exception as error:
        return _after_failure(progress, error)
    log_settled(progress.settled, len(progress.left), writes.record)
    fresh = {"attempts": "0", "unexpected": "0", "failing_since": "", "last_error": "", "last_cause": "", "look": ""}
    fresh |= {"create_tries": "0", "look_tries": "0"}
    look_kind, look_after_ms = _next_look(progress, unsure=False, is_over=True)
    return Ending(
        progress.settled,
        {**writes.record, **progress.record, **fresh, "look_kind": look_kind, "reports": _reports(progress, "")},
        writes.totals,
        look_after_ms=look_after_ms,
        **_remembered(this_round.memory),
        line=LineReport("works") if this_round.has_agreed else NOTHING_LEARNED,
    )


def _too_long() -> TryAgain:
    """The round was cut short, perhaps with an update on its way: the next one gives that some time to land."""
    return TryAgain("event", "round_too_long", after_seconds=AFTER_A_CUT_SECONDS, maybe_applied=True)


def _reports(progress: _Progress, error: str) -> str:
    """The customer's reports with this round's on top."""
    this_round, writes = progress.round, progress.round.writes
    report = SyncReport(
        at_ms=int(writes.resources.now() * 1000),
        events=len(writes.mail.entries),
        found=this_round.found or "",
        link=writes.record.get("link", ""),
        stripe_id=writes.record.get("stripe_id", ""),
        actions=tuple(writes.actions),
        findings=(*this_round.findings, *writes.findings),
        error=error,
        given_up=dict(Counter(end.dead["reason"] for end in progress.settled if end.dead is not None)),
    )
    return add_report(writes.mail.record.get("reports", ""), report)


def _memory(resources: Resources, mail: Mail) -> Memory:
    """What earlier syncs remember of the customer. One that died may have left an update on its way."""
    now = resources.now()
    try:
        memory = Memory.read(mail.lease.customer_id, mail.remembered, now)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # Of another form than this version writes: the customer starts afresh.
        log.error("customer_state_reset", customer=mail.lease.customer_id, parts=["remembered"], cause=describe(error))
        memory = Memory.read(mail.lease.customer_id, {}, now)
    if mail.was_abandoned:
        memory.in_doubt_until = max(memory.in_doubt_until, now + LATE_SECONDS)
    return memory


def _remembered(memory: Memory) -> dict[str, Any]:
    """What an ending says of the memory; nothing where there is none."""
    if memory.is_empty:
        return {}
    return {"remembered": memory.as_dict(), "remembered_seconds": memory.seconds}


def _next_look(progress: _Progress, *, unsure: bool, is_over: bool) -> tuple[str, int]:
    """The reason of the recheck that waits after this round (empty for none), and in how many milliseconds a new one is
    due (0 for none).

    After a write of unknown fate, or again where the last one left something out: a worker that died here before us may
    have left a write on its way. For an echo where a name or e-mail changed. At once where Stripe holds what Autumn has
    not accepted. One that still waits is not made less.
    """
    this_round, mail = progress.round, progress.round.writes.mail
    after_ms = int(this_round.writes.resources.look_after_seconds * 1000)
    waiting = "" if is_over and mail.wants_a_look else mail.record.get("look_kind", "")
    if this_round.memory.unaccepted_fields - _named_by(progress.left):
        return "whole", RESTORE_AFTER_MS
    if not after_ms:
        return waiting, 0
    if unsure or mail.was_abandoned or this_round.left_out:
        return "whole", after_ms
    if this_round.profile_changed:
        return waiting or "echo", after_ms
    return waiting, 0


async def _recheck(progress: _Progress) -> None:
    """Reapply what something reverted."""
    mail = progress.round.writes.mail
    progress.round.writes.totals["looks"] += mail.wants_a_look
    progress.round.named_later = _named_by(progress.left)

    async def recheck() -> None:
        await reapply(progress.round, _merged(progress.left))
        if mail.wants_a_look and not progress.left and not progress.round.has_agreed:
            await progress.round.check()

    await _beside(progress, "recheck", recheck())


async def _restore(progress: _Progress) -> None:
    """Give Stripe Autumn's values again where a change was refused after Stripe had its value."""
    progress.round.named_later = _named_by(progress.left)
    await _beside(progress, "restore", restore(progress.round, _merged(progress.left)))


async def _beside(progress: _Progress, work: Literal["recheck", "restore"], doing: Awaitable[None]) -> None:
    """Do work that no event asked for: a refusal, or an error of ours, is logged and holds no event up."""
    try:
        await doing
    except (GiveUp, Absent) as refusal:
        log.warning("recheck_refused", work=work, reason=refusal.code)
    except (SyncError, LeaseLostError, RedisError, TimeoutError):
        raise
    except Exception as error:
        progress.round.look_afresh()
        # Without the traceback: its values may be personal.
        log.error("recheck_failed", work=work, cause=describe(error))


async def _apply(progress: _Progress) -> None:
    """Apply what is left as one update; where that is refused for good, halve it until the bad letter is found."""
    size = len(progress.left)
    while progress.left and progress.refusals < REFUSALS_AT_A_TIME:
        part = progress.left[:size]
        said = _merged(part)
        progress.round.named_later = _named_by(progress.left[len(part) :])
        try:
            await progress.round.apply(said, [letter.entry for letter in part], _spoken(part))
        except (LeaseLostError, RedisError, TimeoutError):
            raise
        except Exception as error:
            is_divisible = len(part) > 1 and not _is_about_the_customer(error, said)
            refusal = _refusal_of(error, progress, is_divisible=is_divisible)
            if refusal is None:
                raise
            progress.refusals += 1
            if is_divisible:
                size = len(part) // 2
                continue
            if progress.round.linked_ahead:
                text = f"{refusal.message} (its stripe_id, {progress.round.linked_ahead}, was linked before)"
                refusal = Bury(refusal.reason, text)
            log.error("refused", entries=len(part), reason=refusal.reason, **_cause(refusal.reason, refusal.message))
            progress.settled += [
                letter.dead(refusal.reason, refusal.message, progress.round.writes.mail.record) for letter in part
            ]
        else:
            progress.round.writes.totals["merged"] += len(part) - 1
            progress.record |= {"last_applied": part[-1].entry, "put_backs": "0"}
            progress.settled += [letter.applied() for letter in part]
        del progress.left[: len(part)]
        size = len(progress.left)


def _refusal_of(error: Exception, progress: _Progress, *, is_divisible: bool) -> Bury | None:
    """Why a part is never applied as it is; None if the same thing may work later.

    An unexpected error is about the part while that can be divided. About a single event it is tried again first.
    """
    mail = progress.round.writes.mail
    if isinstance(error, SyncError):
        is_for_good = isinstance(error, GiveUp | Absent)
        if is_for_good or is_permanent(error, mail.number("attempts"), others_work=not mail.is_probe):
            return Bury(error.code, error.message)
        return None
    progress.round.look_afresh()
    if is_divisible or mail.number("unexpected") + 1 >= UNEXPECTED_TRIES:
        return Bury("unexpected", describe(error))
    return None


def _is_about_the_customer(error: Exception, said: dict[str, JsonValue]) -> bool:
    if not isinstance(error, SyncError):
        return False
    return error.code in ABOUT_THE_CUSTOMER or (error.code in ABOUT_THE_LINK and "stripe_id" not in said)


def _after_failure(progress: _Progress, error: Exception) -> Ending:
    """Another try for what is left, or its burial. What was settled before the failure stays settled."""
    writes, resources = progress.round.writes, progress.round.writes.resources
    mail = writes.mail
    tries = mail.number("attempts" if progress.left else "look_tries")
    history = History(tries, _failing_seconds(writes), mail.number("unexpected"))
    fate = decide(error, history, resources.random)
    code = error.code if isinstance(error, SyncError) else "unexpected"
    record = {**writes.record, **progress.record, "last_error": code, "last_cause": cause_of(error)}
    unsure = writes.any_begun and isinstance(error, TryAgain) and error.maybe_applied
    if unsure:
        progress.round.memory.in_doubt_until = resources.now() + LATE_SECONDS
    again_ms, at_least_ms = 0, 0
    if isinstance(fate, Bury):
        _bury(progress, progress.left, fate.reason, fate.message)
        record |= {"attempts": "0", "unexpected": "0", "failing_since": ""}
    else:
        if not isinstance(error, Halt):
            _bury_expired(progress, history, code, cause_of(error))
        record |= _counted(progress, error, history)
        again_ms, at_least_ms = int(fate.after_seconds * 1000), int(fate.at_least_seconds * 1000)
        writes.totals[f"retries:{code}"] += 1
        log_again(error, code, fate, history)
    look_kind, look_after_ms = _next_look(progress, unsure=unsure, is_over=False)
    return Ending(
        progress.settled,
        {**record, "look_kind": look_kind, "reports": _reports(progress, code)},
        writes.totals,
        again_after_ms=again_ms,
        at_least_ms=at_least_ms,
        look_after_ms=look_after_ms,
        **_remembered(progress.round.memory),
        line=report_of(error),
    )


def _failing_seconds(writes: Writes) -> float:
    """How long the customer's changes have failed in a row before this round."""
    since = writes.mail.record.get("failing_since")
    return writes.resources.now() - float(since) if since else 0.0


def _counted(progress: _Progress, error: Exception, history: History) -> dict[str, str]:
    """What the record says after another failed try.

    A halt is nobody's try, and its time counts for nobody. What a probe meets is about the service, not the customer.
    A look without changes has tries of its own, which a change that comes does not inherit.
    """
    mail = progress.round.writes.mail
    since = mail.record.get("failing_since") or f"{progress.round.writes.resources.now():.3f}"
    if isinstance(error, Halt):
        return {"failing_since": "", "attempts": "0"}
    if not progress.left:
        return {"failing_since": "", "attempts": "0", "look_tries": str(history.attempts + (not mail.is_probe))}
    if not isinstance(error, SyncError):
        return {"unexpected": str(history.unexpected + 1), "failing_since": since}
    return {"attempts": str(history.attempts + (not mail.is_probe)), "failing_since": since}


def _bury_expired(progress: _Progress, history: History, code: str, cause: str) -> None:
    """Bury what has waited too long itself, where the customer has failed for so long and some times, too."""
    resources = progress.round.writes.resources
    if history.failing_seconds < resources.retry_for_seconds or history.attempts < EXPIRE_ATTEMPTS:
        return
    oldest_kept = resources.now() - resources.retry_for_seconds
    expired = [letter for letter in progress.left if letter.sent_at_seconds <= oldest_kept]
    _bury(progress, expired, code, f"still failing after {history.failing_seconds:.0f} s{cause and ': ' + cause}")


def _bury(progress: _Progress, letters: Sequence[Letter], reason: str, message: str) -> None:
    if letters:
        log.error("gave_up", entries=len(letters), reason=reason, **_cause(reason, message))
    progress.settled += [letter.dead(reason, message, progress.round.writes.mail.record) for letter in letters]
    progress.left = [letter for letter in progress.left if letter not in letters]


def _cause(reason: str, message: str) -> dict[str, str]:
    """What the log says beside a reason: of an unexpected error the places; a service's words may be personal."""
    return {"cause": message} if reason == "unexpected" else {}


def _merged(letters: Sequence[Letter]) -> dict[str, JsonValue]:
    return merge(_spoken(letters))


def _named_by(letters: Sequence[Letter]) -> frozenset[str]:
    return frozenset(flat(_merged(letters)))


def _spoken(letters: Sequence[Letter]) -> list[dict[str, JsonValue]]:
    return [letter.update.changes.said() for letter in letters if letter.update.changes is not None]
