"""The answers of `customer-sync status … --json` about the deployment, a customer or an event. Pure.

A field keeps its name and meaning; new fields may be added. A time ends in `_ms` and is in milliseconds since the
epoch. Unknown values are null. Only `preview_json` contains names and e-mail addresses. No answer quotes a service.
"""

from typing import Any, Final

from autumn_sync_client.outcomes import Outcome
from jobs.plan.customer import AutumnCustomer, Payments, StripeCustomer
from jobs.plan.findings import Finding
from jobs.queue.breaker import OpenBreaker
from jobs.queue.dead_letters import DeadLetter, NewestLetters
from jobs.queue.record import PLAUSIBLE, CustomerRecord
from jobs.queue.status import Standing
from jobs.queue.watch.state import SeenInStripe
from jobs.scan.report import ScanRun
from jobs.sync.preview import Preview
from jobs.sync.report import Action, SyncReport
from worker.status.advice import OTHER_REASON, REASONS
from worker.status.customer_text import (
    action_text,
    findings_of,
    reports_of,
    seen_text,
    verdict_of,
    waits_until,
    what_to_do,
)
from worker.status.health import why_not_ready, why_redis_refuses_writes
from worker.status.live_text import live_verdict_of
from worker.status.shared_state import SharedState
from worker.status.snapshot import Snapshot
from worker.status.summary import headline_of, reasons_of, watch_lines
from worker.status.trends import STEP_MINUTES, Trends, trends_of

Json = dict[str, Any]


def standing_json(standing: Standing, letters: NewestLetters) -> Json:
    """Return the answer to `status CUSTOMER`.

    - `verdict`: in-sync, waiting, needs-a-person or not-known. `sentence` is the same for a person.
    - `state`: idle, waiting (until `due_ms`) or working.
    - `waits_until_ms`: set if the customer waits for something that `sentence` names, such as Stripe's search.
    - `last_cause`: the place in the code of an unexpected error.
    - `syncs`: the last syncs, the earliest first, each with its `actions` in order.
    - `seen_in_stripe`: the last events of Stripe that mattered, the earliest first. `cause` is app, autumn, dashboard
      or stripe.
    - `receipt`: the last receipt that Stripe sent.
    - `dead_letters`: the newest first. `dead_letters_are_all` is false if there may be older ones.
    """
    record, verdict = standing.record, verdict_of(standing, letters)
    return {
        "customer": standing.customer,
        "verdict": verdict.kind,
        "sentence": verdict.text,
        "state": standing.state,
        "due_ms": standing.due_ms,
        "recheck_due_ms": standing.recheck_due_ms,
        "waiting_events": standing.entries,
        "oldest_sent_ms": min(int(standing.oldest_entry.split("-")[0]), PLAUSIBLE) if standing.oldest_entry else None,
        "link": record.link or None,
        "stripe_id": record.stripe_id or None,
        "last_error": record.last_error or None,
        "waits_until_ms": waits_until(standing),
        "last_cause": record.last_cause or None,
        "failed_tries": record.attempts + record.unexpected,
        "failing_since_ms": None if record.failing_since is None else int(record.failing_since * 1000),
        "breaker": breaker_json(standing.breaker),
        "findings": [_finding_json(finding, standing.customer) for finding in findings_of(standing)],
        "syncs": [_sync_json(report, standing.customer) for report in reversed(reports_of(standing))],
        "seen_in_stripe": [_seen_json(seen) for seen in record.seen_in_stripe],
        "receipt": _receipt_json(record),
        "dead_letters": [letter_json(letter) for letter in letters.letters],
        "dead_letters_are_all": letters.are_all,
    }


def preview_json(preview: Preview) -> Json:
    """Return the field `live` of `status CUSTOMER --live`: both sides now, with names and addresses.

    `verdict` is in-sync, out-of-sync (then `next_steps` are the first steps of a sync) or needs-a-person. `stripe` has
    all Stripe customers that were found. Events that wait are not applied to it.
    """
    verdict, plan = live_verdict_of(preview), preview.plan
    return {
        "at_ms": preview.at_ms,
        "verdict": verdict.kind,
        "sentence": verdict.text,
        "link": plan.link.value,
        "autumn": _autumn_json(preview.autumn, preview.metadata_keys),
        "stripe": [_stripe_json(customer) for customer in preview.stripe.all_customers],
        "payments": _payments_json(preview.stripe.payments),
        "next_steps": [step.describe() for step in plan.steps],
        "findings": [_finding_json(finding, preview.autumn.id) for finding in plan.findings],
        "refusal": None if plan.refusal is None else {"code": plan.refusal.code, "text": plan.refusal.text},
    }


def outcome_json(event_id: str, outcome: Outcome | None) -> Json:
    """Return the answer to `status --event ID`: `status` is waiting, applied, dead (with a `reason`) or not-known."""
    return {
        "event": event_id,
        "status": "not-known" if outcome is None else outcome.status,
        "reason": outcome and outcome.reason,
        "customer": outcome and outcome.customer_id,
        "entry": outcome and outcome.entry_id,
        "at_ms": outcome and outcome.at,
    }


def breaker_json(breaker: OpenBreaker | None) -> Json | None:
    """Return the open circuit breaker; None if it is closed."""
    if breaker is None:
        return None
    return {
        "kind": breaker.kind,
        "since_ms": breaker.since_ms,
        "service": breaker.service,
        "reason": breaker.reason,
        "message": breaker.message or None,
    }


def _sync_json(report: SyncReport, customer: str) -> Json:
    return {
        "at_ms": report.at_ms,
        "events": report.events,
        "found": report.found or None,
        "link": report.link or None,
        "stripe_id": report.stripe_id or None,
        "actions": [_action_json(action, report.stripe_id) for action in report.actions],
        "findings": [_finding_json(finding, customer) for finding in report.findings],
        "dead_lettered": dict(report.given_up),
        "error": report.error or None,
    }


def _seen_json(seen: SeenInStripe) -> Json:
    return {
        "at_ms": seen.at_ms,
        "type": seen.type,
        "cause": seen.cause,
        "fields": list(seen.fields),
        "text": seen_text(seen),
    }


def _receipt_json(record: CustomerRecord) -> Json | None:
    return {"number": record.receipt_number, "at_ms": record.receipt_at_ms} if record.receipt_number else None


def _action_json(action: Action, stripe_id: str) -> Json:
    return {
        "at_ms": action.at_ms,
        "kind": action.kind,
        "id": action.id,
        "fields": list(action.fields),
        "text": action_text(action, stripe_id),
    }


def _finding_json(finding: Finding, customer: str) -> Json:
    return {"kind": finding.kind, "text": finding.text, "to_do": what_to_do(finding, customer)}


def letter_json(letter: DeadLetter) -> Json:
    """Return a dead letter with its advice."""
    # The message is left out, because it may quote a service.
    return {
        "id": letter.id,
        "entry": letter.entry,
        "source": letter.source,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "dead_lettered_at_ms": letter.dead_lettered_at_ms,
        "to_do": REASONS.get(letter.reason, OTHER_REASON),
    }


def _autumn_json(autumn: AutumnCustomer, metadata_keys: tuple[str, ...]) -> Json:
    return {
        "id": autumn.id,
        "name": autumn.name,
        "email": autumn.email,
        "stripe_id": autumn.stripe_id,
        "mode": autumn.mode,
        "send_email_receipts": autumn.send_email_receipts,
        "metadata": {key: autumn.metadata[key] for key in metadata_keys if key in autumn.metadata},
    }


def _stripe_json(customer: StripeCustomer) -> Json:
    return {
        "id": customer.id,
        "name": customer.name,
        "email": customer.email,
        "mode": customer.mode,
        "metadata": dict(customer.metadata),
    }


def _payments_json(payments: Payments | None) -> list[Json] | None:
    if payments is None:
        return None
    return [{"id": each.id, "status": each.status, "receipt_email": each.receipt_email} for each in payments.intents]


VERDICTS: Final = {"good": "all-right", "warn": "waiting", "bad": "needs-a-person"}
LETTERS_SHOWN: Final = 50


def snapshot_json(snapshot: Snapshot) -> Json:
    """Return the answer to `status`: the whole deployment.

    - `verdict`: all-right, waiting (for a service that fails) or needs-a-person. `sentence` is the same for a person.
    - `reasons`: why a person should act, as in /readyz, each with its `alert` of docs/alerts.yml.
    - `inbox`, `dead_letters`: numbers of events. `waiting`, `working`: numbers of customers.
    - `oldest_sent_ms`: the time of the oldest event that has no outcome yet. `last_success_ms`: the time of the last
      applied change. `newest_dead_letter_ms`: the time of the newest dead letter. Null if there is none.
    - `breaker`: the open circuit breaker, with `kind` outage or halt. Null if it is closed.
    - `watch`: the state of the watch, see `_watch_json`.
    - `totals`: the counters since the beginning.
    - `rate_shares`: the share of each rate limit that is in use, by its name. 1 is the whole limit.
    - `hours`: the last hours, see `_hours_json`.
    - `longest_waiting`: customers, the longest waiting first. `newest_dead_letters`, `scans`: the newest first.
    - `dead_letter_reasons`: the reasons of the newest dead letters; `dead_letter_reasons_of` is the number of these.
    """
    overview, letters = snapshot.overview, snapshot.letters
    headline = headline_of(snapshot.state)
    reasons = [*why_redis_refuses_writes(snapshot.state), *why_not_ready(snapshot.state)]
    return {
        "verdict": VERDICTS[headline.kind],
        "sentence": " ".join(filter(None, [headline.text, headline.more])).strip(),
        "reasons": [{"alert": each.alert, "text": each.text} for each in reasons],
        "at_ms": overview.now_ms,
        "mode": snapshot.mode,
        "inbox": overview.inbox,
        "waiting": overview.waiting,
        "working": overview.working,
        "dead_letters": overview.dead,
        "oldest_sent_ms": overview.oldest_sent_ms,
        "last_success_ms": overview.last_success_ms,
        "newest_dead_letter_ms": overview.newest_dead_ms,
        "breaker": breaker_json(overview.breaker),
        "watch": _watch_json(snapshot.state),
        "totals": dict(sorted(overview.totals.items())),
        "rate_shares": dict(snapshot.state.rate_shares),
        "hours": _hours_json(trends_of(snapshot.minutes, snapshot.rates)),
        "longest_waiting": [_waiting_json(each) for each in snapshot.waiting if each.oldest_entry is not None],
        "newest_dead_letters": [{**letter_json(each), "customer": each.customer} for each in letters[:LETTERS_SHOWN]],
        "dead_letter_reasons": dict(reasons_of(letters)),
        "dead_letter_reasons_of": len(letters),
        "scans": [_scan_json(run) for run in snapshot.runs],
    }


def _watch_json(state: SharedState) -> Json:
    """Return the state of the watch. `sentence` is the same for a person.

    - `poll_seconds`: the time between two polls. `off`: why the watch is off, no_permission or setting.
    - `position_ms`: every event that was created before it was read. `behind_seconds`: its age if the watch is behind.
    - `deferred`: the number of customers with a deferred reconcile.
    """
    watch = state.watch
    return {
        "sentence": " ".join(watch_lines(state)),
        "poll_seconds": watch.pause_seconds,
        "off": watch.off or None,
        "off_since_ms": watch.off_since_ms,
        "position_ms": None if watch.position_ms is None else min(watch.position_ms, PLAUSIBLE),
        "polled_ms": watch.polled_ms,
        "behind_seconds": state.watch_behind_seconds,
        "error": watch.error or None,
        "error_since_ms": watch.error_since_ms,
        "deferred": watch.deferred,
        "backlog": watch.backlog,
    }


def _hours_json(trends: Trends) -> Json:
    """Return the last hours in steps of `step_minutes`, the oldest first.

    A step has its applied and dead-lettered events and the highest age of the oldest event. Requests are those of the
    busiest minute, in percent of the rate limit.
    """
    names = ("begins_ms", "applied", "dead_lettered", "oldest_seconds", "autumn_percent", "stripe_percent")
    columns = [getattr(trends, name) for name in names]
    steps = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    return {"step_minutes": STEP_MINUTES, "steps": steps}


def _waiting_json(standing: Standing) -> Json:
    return {
        "customer": standing.customer,
        "oldest_sent_ms": int((standing.oldest_entry or "0").split("-")[0]),
        "waiting_events": standing.entries,
        "state": standing.state,
        "due_ms": standing.due_ms,
        "last_error": standing.record.last_error or None,
        "sentence": verdict_of(standing, NewestLetters()).text,
    }


def _scan_json(run: ScanRun) -> Json:
    changed = run.changed
    return {
        "began_ms": run.started_ms,
        "ended_ms": run.ended_ms,
        "state": run.state,
        "error": run.error or None,
        "scope": run.scope or None,
        "autumn_customers": run.autumn_customers,
        "stripe_customers": run.stripe_customers,
        "findings": run.findings,
        "findings_by_kind": dict(run.totals),
        "new": None if changed is None else changed.new,
        "fixed": None if changed is None else changed.fixed,
        "still_there": None if changed is None else changed.still_there,
        "requested": run.requested,
    }
