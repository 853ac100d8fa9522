"""The health of a process and of the work, judged without I/O.

These are two questions. A platform restarts a process that is not alive, so liveness fails only if a restart may help.
Readiness fails if a person can do something. A service that is down for a minute is no such case.
"""

from dataclasses import dataclass
from typing import Any, Final

from jobs.queue.status import Overview
from worker.loops.heartbeat import Heartbeat
from worker.status.breaker_text import breaker_text
from worker.status.shared_state import READ_SECONDS, ScanState, SharedState

STANDSTILL_SECONDS: Final = 10.0
"""The longest time that the event loop may be blocked: two thirds of a lease. A blocked loop answers no health check,
so this limit is for the check just after."""
NO_CANARY_SECONDS: Final = 150.0
"""The longest time without an accepted canary before a platform should restart the process.

A restart does not repair Redis, and a worker whose Redis is down for 120 s ends by itself (worker.redis_client). The
limit is for a Redis that accepts connections and then hangs: such a worker may take many minutes to end."""
NO_WRITE_SECONDS: Final = 10.0
"""The longest time without an accepted canary before a person should act. A canary is due every two seconds, so by then
Redis is down, or its memory or disk is full. Apps cannot add events either."""
OLDEST_SECONDS: Final = 900.0
"""The highest age of the oldest event: three of the longest pauses between retries. Most temporary failures are over
by then."""
NO_SUCCESS_SECONDS: Final = 600.0
"""The longest time without any applied change, if a change of that age waits. It is shorter than OLDEST_SECONDS, which
may concern one customer only."""
OUTAGE_SECONDS: Final = 300.0
"""The longest outage that needs no person. Restarts and short failures of a service are over by then."""
DEAD_LETTER_SECONDS: Final = 3600.0
"""The time for which a new dead letter makes /readyz fail, unless it is replayed or dropped. Older ones are only
counted, because one that stays must not hide other faults."""


@dataclass(frozen=True)
class Reason:
    """A reason for a failed check. `alert` names the alert of docs/alerts.yml for it, and `text` is for a person."""

    alert: str
    text: str


def why_not_alive(heartbeat: Heartbeat, now: float) -> list[str]:
    """Return what is wrong with the process; empty while it is alive. `now` is monotonic, in seconds."""
    reasons = []
    if now - heartbeat.beat_at > STANDSTILL_SECONDS:
        reasons.append(f"the event loop was blocked for {now - heartbeat.beat_at:.0f} s")
    if now - heartbeat.canary_at > NO_CANARY_SECONDS:
        reasons.append(f"Redis accepted no write for {now - heartbeat.canary_at:.0f} s")
    return reasons


def why_no_write(heartbeat: Heartbeat, now: float) -> list[Reason]:
    """Return why no event can be accepted; empty if Redis accepts writes. `now` is monotonic, in seconds."""
    seconds = now - heartbeat.canary_at
    if seconds <= NO_WRITE_SECONDS:
        return []
    text = f"Redis accepted no write for {seconds:.0f} s; if it answers, check its free memory and disk"
    return [Reason("CustomerSyncRedisDown", text)]


def why_not_ready(state: SharedState | None) -> list[Reason]:
    """Return why a person should act; empty if nobody needs to. None is a state that could not be read."""
    if state is None:
        return [Reason("CustomerSyncRedisDown", f"Redis does not answer within {READ_SECONDS:.0f} s")]
    overview = state.overview
    return [
        *_blocked(overview),
        *_breaker(overview),
        *_age(overview),
        *_dead(overview),
        *_scan(state.scan),
        *_watch(state),
    ]


def why_redis_refuses_writes(state: SharedState | None) -> list[Reason]:
    """Return why no event can be accepted, for a process that writes no canary."""
    if state is None or not state.refuses_writes:
        return []
    text = f"Redis refuses writes ({state.refuses_writes}); check that it is the primary and has free memory and disk"
    return [Reason("CustomerSyncRedisDown", text)]


def _blocked(overview: Overview) -> list[Reason]:
    texts = [f"the key {key} holds a value of the wrong type" for key in overview.wrong_keys]
    texts += [f"the stream {key} has no id left for an entry: rename or delete it" for key in overview.full_keys]
    for loop in overview.failing:
        seconds = overview.age_seconds(loop.since_ms) or 0.0
        texts.append(f"a worker's loop {loop.name} has failed for {seconds:.0f} s ({loop.error})")
    return [Reason("CustomerSyncBlocked", f"{each}; see `customer-sync doctor`") for each in texts]


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
            Reason("CustomerSyncOldestEventTooOld", f"the oldest waiting change was sent {age_seconds:.0f} s ago")
        )
    if age_seconds > NO_SUCCESS_SECONDS and (success_seconds is None or success_seconds > NO_SUCCESS_SECONDS):
        since = "ever" if success_seconds is None else f"for {success_seconds:.0f} s"
        reasons.append(Reason("CustomerSyncNoSuccess", f"changes wait, but none was applied {since}"))
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
    """Return what is wrong with scans.

    A deployment without any scan is left to the alert, which waits: its first scan may be running.
    """
    reasons = []
    if scan.last is not None and scan.last.state in {"failed", "refused"}:
        failed = f"failed ({scan.last.error})" if scan.last.error else "failed"
        what = failed if scan.last.state == "failed" else "was refused, because it would change too much"
        reasons.append(Reason("CustomerSyncScanFailed", f"the last scan {what}; see `customer-sync scan history`"))
    if scan.is_overdue and scan.began_ms is not None:
        reasons.append(Reason("CustomerSyncScanOverdue", "a scan is overdue; check that a scanner runs"))
    return reasons


def _watch(state: SharedState) -> list[Reason]:
    """Return what is wrong with the watch. A watch that is off is no reason, because scans find the same."""
    if not state.watch_behind_seconds:
        return []
    error = f"its polls fail with {state.watch.error}" if state.watch.error else "no worker finishes a poll"
    text = f"the watch has read Stripe's events only up to {state.watch_behind_seconds:.0f} s ago: {error}"
    return [Reason("CustomerSyncWatchBehind", f"{text}; see `customer-sync doctor`")]


def readiness_json(state: SharedState | None, reasons: list[Reason]) -> dict[str, Any]:
    """Return the answer of /readyz: the verdict, its reasons, and the facts behind it. Ages are in seconds."""
    return {
        "ready": not reasons,
        "reasons": [{"alert": reason.alert, "text": reason.text} for reason in reasons],
        **({**_facts(state.overview, state.scan), "watch": _watch_facts(state)} if state is not None else {}),
    }


def _facts(overview: Overview, scan: ScanState) -> dict[str, Any]:
    breaker = overview.breaker
    return {
        "oldest_event_age_seconds": overview.age_seconds(overview.oldest_sent_ms),
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


def _watch_facts(state: SharedState) -> dict[str, Any]:
    watch, overview = state.watch, state.overview
    return {
        "poll_seconds": watch.pause_seconds,
        "off": watch.off or None,
        "error": watch.error or None,
        "position_age_seconds": overview.age_seconds(watch.position_ms),
        "last_poll_age_seconds": overview.age_seconds(watch.polled_ms),
        "behind_seconds": state.watch_behind_seconds,
        "deferred_customers": watch.deferred,
        "backlog_customers": watch.backlog,
    }
