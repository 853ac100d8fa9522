"""The answers of `customer-sync status … --json` about a customer or an event, for machines. Pure.

What was read goes in, a dictionary comes out; the answer about everything is in worker.status.json.

A field keeps its name and meaning; new ones may come. A time ends in `_ms` and is in milliseconds since the epoch. What
is not known is null. `standing_json` holds no name and no address, `preview_json` holds both.

The answer of `customer-sync status --json`, for machines. Pure: a snapshot goes in, a dictionary comes out.

As in worker.status.json a field keeps its name and meaning, new ones may come, a time ends in `_ms` and is in
milliseconds since the epoch, and what is not known is null. No name, no address, and nothing that a service said.
"""

from typing import Any, Final

from jobs.plan.customer import AutumnCustomer, Payments, StripeCustomer
from jobs.plan.findings import Finding
from jobs.queue.breaker import OpenBreaker
from jobs.queue.dead_letters import DeadLetter, NewestLetters
from jobs.queue.record import PLAUSIBLE, Outcome
from jobs.queue.status import Standing
from jobs.scan.report import ScanRun
from jobs.sync.preview import Preview
from jobs.sync.report import Action, SyncReport
from worker.status.advice import OTHER_REASON, REASONS
from worker.status.customer_text import action_text, findings_of, reports_of, verdict_of, waits_until, what_to_do
from worker.status.health import why_a_person_should_look, why_redis_refuses_writes
from worker.status.live_text import live_verdict_of
from worker.status.snapshot import Snapshot
from worker.status.summary import headline_of, reasons_of
from worker.status.trends import STEP_MINUTES, Trends, trends_of

Json = dict[str, Any]


def standing_json(standing: Standing, letters: NewestLetters) -> Json:
    """A customer, `status CUSTOMER`.

    `verdict` is in-sync, waiting, needs-a-person or not-known, `sentence` the same for a person; `state` is idle,
    waiting (until `due_ms`) or working. `waits_until_ms` is set if the customer waits that long for what `last_error`
    and `sentence` name, such as Stripe's search after a failed create. `last_cause` says where an unexpected error came
    from. `syncs` are the last ones, the earliest first, each with its `actions` in order. `dead_letters` are the
    newest, the newest first; `dead_letters_are_all` is false where there may be older ones.
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
        "dead_letters": [letter_json(letter) for letter in letters.letters],
        "dead_letters_are_all": letters.are_all,
    }


def preview_json(preview: Preview) -> Json:
    """Both sides now, the field `live` of `status CUSTOMER --live`; holds names and addresses.

    `verdict` is in-sync, out-of-sync (`next_steps` says what a sync would do first) or needs-a-person; `stripe` are all
    Stripe customers that were seen. Events that wait (`waiting_events`) are not part of it.
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
    """An event, `status --event ID`: `status` is waiting, applied, dead (then with a `reason`) or not-known."""
    return {
        "event": event_id,
        "status": "not-known" if outcome is None else outcome.status,
        "reason": outcome and outcome.reason,
        "customer": outcome and outcome.customer_id,
        "entry": outcome and outcome.entry_id,
        "at_ms": outcome and outcome.at,
    }


def breaker_json(line: OpenBreaker | None) -> Json | None:
    """Why nothing but a probe goes out; null while all is well."""
    if line is None:
        return None
    return {
        "kind": line.kind,
        "since_ms": line.since_ms,
        "service": line.service,
        "reason": line.reason,
        "message": line.message or None,
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
        "given_up": dict(report.given_up),
        "error": report.error or None,
    }


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
    """A dead letter, with what can be done about it."""
    # Without the message, which may quote what a service said.
    return {
        "id": letter.id,
        "entry": letter.entry,
        "reason": letter.reason,
        "tries": letter.attempts,
        "buried_at_ms": letter.buried_at_ms,
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
    """Everything, `status`: `inbox` and `dead_letters` count events, `waiting` and `working` customers.

    `verdict` is all-right, waiting (a service is failing, see `breaker`) or needs-a-person, and `sentence` the same
    for a person. `reasons` are why a person should look, each with its `alert` of docs/alerts.yml, as /readyz has them.

    `oldest_sent_ms` is when the oldest change was sent that is neither applied nor dead, `last_success_ms` when a
    change was last applied, `newest_dead_letter_ms` when the newest dead letter was buried; null where there is none.
    `breaker` says why nothing but a probe goes out (`kind` is outage or halt), and is null while all is well. `totals`
    count since the beginning.

    `rate_shares` are the share of each rate that is in force, by its name: 1 is all. `hours` are the last ones, see
    `_hours_json`. `longest_waiting` are customers, the longest first; `newest_dead_letters` and `scans` begin with the
    newest. `dead_letter_reasons` counts the newest `dead_letter_reasons_of` of them.
    """
    overview, letters = snapshot.overview, snapshot.letters
    headline = headline_of(snapshot.state)
    reasons = [*why_redis_refuses_writes(snapshot.state), *why_a_person_should_look(snapshot.state)]
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
        "totals": dict(sorted(overview.totals.items())),
        "rate_shares": dict(snapshot.state.rate_shares),
        "hours": _hours_json(trends_of(snapshot.minutes, snapshot.rates)),
        "longest_waiting": [_waiting_json(each) for each in snapshot.waiting if each.oldest_entry is not None],
        "newest_dead_letters": [{**letter_json(each), "customer": each.customer} for each in letters[:LETTERS_SHOWN]],
        "dead_letter_reasons": dict(reasons_of(letters)),
        "dead_letter_reasons_of": len(letters),
        "scans": [_scan_json(run) for run in snapshot.runs],
    }


def _hours_json(trends: Trends) -> Json:
    """Steps of `step_minutes`, the oldest first: events that were applied and given up, the greatest age of the oldest
    change, and the calls of the busiest minute in percent of their limit."""
    names = ("begins_ms", "applied", "given_up", "oldest_seconds", "autumn_percent", "stripe_percent")
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
