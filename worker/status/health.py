"""Whether the process lives, and whether the work is being done: judged from what is known, without any I/O.

Two questions, because two answer them. A platform restarts a process that is not alive, so that is red only where a
restart may help. A person looks at work that is not done, so that is red where a person can do something: a service
that is down for a minute is none of it.
"""

from dataclasses import dataclass
from typing import Any, Final

from jobs.queue.status import Overview
from worker.loops.heartbeat import Pulse
from worker.status.breaker_text import breaker_text
from worker.status.shared_state import READ_SECONDS, ScanState, SharedState

STANDSTILL_SECONDS: Final = 10.0
"""The event loop stood still for so long: two thirds of a lease. While it does, no probe is answered at all; this is
for the one that comes just after."""
NO_CANARY_SECONDS: Final = 150.0
"""Redis took no canary for so long. A restart does not bring Redis back, and a worker whose Redis is away for 120 s
ends by itself (worker.redis_client). So only a process that neither works nor ends is to be restarted from outside: one
whose Redis accepts connections and hangs may take many minutes to lose its patience."""
NO_WRITE_SECONDS: Final = 10.0
"""Redis took no canary for so long, one of which is due each second: it is full, or its disk is, or it is away. Then
apps are refused as well, so that nothing need wait."""
OLDEST_SECONDS: Final = 900.0
"""Three of the longest waits between two tries: what passes by itself has mostly passed by then."""
NO_SUCCESS_SECONDS: Final = 600.0
"""Nothing at all was applied for so long although changes as old wait: sooner than one customer's trouble counts."""
OUTAGE_SECONDS: Final = 300.0
"""A service's restarts and short failures are over by then; a longer one is worth a look at its status page."""
DEAD_LETTER_SECONDS: Final = 3600.0
"""For so long a new dead letter calls for somebody, unless it is sent again or dropped. The older ones are only
counted: one that is left alone must not hide everything else."""


@dataclass(frozen=True)
class Reason:
    """Why something is red: `alert` is the alert of docs/alerts.yml that is about the same, `text` is for a person."""

    alert: str
    text: str


def why_not_alive(pulse: Pulse, now: float) -> list[str]:
    """What is wrong with the process; empty while it is alive. `now` is on the monotonic clock, in seconds."""
    reasons = []
    if now - pulse.beat_at > STANDSTILL_SECONDS:
        reasons.append(f"the event loop stood still for {now - pulse.beat_at:.0f} s")
    if now - pulse.canary_at > NO_CANARY_SECONDS:
        reasons.append(f"nothing could be written to Redis for {now - pulse.canary_at:.0f} s")
    return reasons


def why_no_write(pulse: Pulse, now: float) -> list[Reason]:
    """Why nothing can be accepted; empty while Redis takes writes. `now` is on the monotonic clock, in seconds."""
    seconds = now - pulse.canary_at
    if seconds <= NO_WRITE_SECONDS:
        return []
    text = f"Redis took no write for {seconds:.0f} s; if it answers, see that neither its memory nor its disk is full"
    return [Reason("CustomerSyncRedisDown", text)]


def why_a_person_should_look(state: SharedState | None) -> list[Reason]:
    """What a person should look at; empty while the work is being done."""
    if state is None:
        return [Reason("CustomerSyncRedisDown", f"Redis does not answer within {READ_SECONDS:.0f} s")]
    overview = state.overview
    return [*_blocked(overview), *_breaker(overview), *_age(overview), *_dead(overview), *_scan(state.scan)]


def why_redis_refuses_writes(state: SharedState | None) -> list[Reason]:
    """Return why nothing can be accepted, as another process than a worker sees it, which writes no canary."""
    if state is None or not state.refuses_writes:
        return []
    text = f"Redis takes no write ({state.refuses_writes}); see that it is the primary, and has memory and disk left"
    return [Reason("CustomerSyncRedisDown", text)]


def _blocked(overview: Overview) -> list[Reason]:
    what = [f"the key {key} holds another type of value than it should" for key in overview.wrong_keys]
    what += [f"the stream {key} has no id left for an entry: rename or delete it" for key in overview.full_keys]
    for loop in overview.failing:
        seconds = overview.age_seconds(loop.since_ms) or 0.0
        what.append(f"a worker's loop {loop.name} has failed for {seconds:.0f} s ({loop.error})")
    return [Reason("CustomerSyncBlocked", f"{each}; `customer-sync doctor` says more") for each in what]


def _breaker(overview: Overview) -> list[Reason]:
    breaker = overview.breaker
    if breaker is None:
        return []
    text = breaker_text(breaker)
    if breaker.kind == "halt":
        return [Reason("CustomerSyncHalted", f"{text.removesuffix('.')}; `customer-sync status` says what to fix")]
    if (overview.age_seconds(breaker.since_ms) or 0.0) > OUTAGE_SECONDS:
        return [Reason("CustomerSyncOutage", text)]
    return []


def _age(overview: Overview) -> list[Reason]:
    age_seconds = overview.age_seconds(overview.oldest_sent_ms) or 0.0
    success_seconds = overview.age_seconds(overview.last_success_ms)
    reasons = []
    if age_seconds > OLDEST_SECONDS:
        reasons.append(
            Reason("CustomerSyncOldestChangeTooOld", f"the oldest change that waits was sent {age_seconds:.0f} s ago")
        )
    if age_seconds > NO_SUCCESS_SECONDS and (success_seconds is None or success_seconds > NO_SUCCESS_SECONDS):
        since = "ever" if success_seconds is None else f"for {success_seconds:.0f} s"
        reasons.append(Reason("CustomerSyncNoSuccess", f"changes wait, and none was applied {since}"))
    return reasons


def _dead(overview: Overview) -> list[Reason]:
    age_seconds = overview.age_seconds(overview.newest_dead_ms)
    if age_seconds is None or age_seconds > DEAD_LETTER_SECONDS:
        return []
    aside = f", {overview.dead_aside} of them kept in `:dead-aside`, because `:dead` takes none" * bool(
        overview.dead_aside
    )
    text = f"dead letters: {overview.dead}, the newest {age_seconds:.0f} s old{aside}; see `customer-sync dead list`"
    return [Reason("CustomerSyncDeadLetters", text)]


def _scan(scan: ScanState) -> list[Reason]:
    """A deployment that never scanned is left to the alert, which waits: its first scan may only have begun."""
    reasons = []
    if scan.last is not None and scan.last.state in {"failed", "refused"}:
        failed = f"failed ({scan.last.error})" if scan.last.error else "failed"
        what = failed if scan.last.state == "failed" else "was refused, as too much would change"
        reasons.append(Reason("CustomerSyncScanFailed", f"the last scan {what}; see `customer-sync scan history`"))
    if scan.is_overdue and scan.began_ms is not None:
        reasons.append(Reason("CustomerSyncScanOverdue", "a scan should have come to its end; does a scanner run?"))
    return reasons


def readiness_json(state: SharedState | None, reasons: list[Reason]) -> dict[str, Any]:
    """The answer of /readyz: whether it is ready, why not, and the facts that was judged by; ages are in seconds."""
    return {
        "ready": not reasons,
        "reasons": [{"alert": reason.alert, "text": reason.text} for reason in reasons],
        **(_facts(state.overview, state.scan) if state is not None else {}),
    }


def _facts(overview: Overview, scan: ScanState) -> dict[str, Any]:
    breaker = overview.breaker
    return {
        "oldest_change_age_seconds": overview.age_seconds(overview.oldest_sent_ms),
        "last_success_age_seconds": overview.age_seconds(overview.last_success_ms),
        "breaker": None
        if breaker is None
        else {
            "kind": breaker.kind,
            "service": breaker.service,
            "reason": breaker.reason,
            "age_seconds": overview.age_seconds(breaker.since_ms),
        },
        "inbox_events": overview.inbox,
        "mailbox_events": overview.in_mailboxes,
        "waiting_customers": overview.waiting,
        "working_customers": overview.working,
        "dead_letters": overview.dead,
        "newest_dead_letter_age_seconds": overview.age_seconds(overview.newest_dead_ms),
        "last_scan": None
        if scan.last is None
        else {
            "state": scan.last.state,
            "error": scan.last.error or None,
            "age_seconds": overview.age_seconds(scan.last.started_ms),
            "findings": scan.last.findings,
        },
    }
