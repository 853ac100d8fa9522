"""The answers of `customer-sync status … --json` about a customer or an event, for machines. Pure.

What was read goes in, a dictionary comes out; the answer about everything is in worker.picture_json.

A field keeps its name and meaning; new ones may come. A time ends in `_ms` and is in milliseconds since the epoch. What
is not known is null. `standing_json` holds no name and no address, `preview_json` holds both.
"""

from typing import Any

from jobs.customer import AutumnCustomer, Payments, StripeCustomer
from jobs.dead_letters import DeadLetter, NewestLetters
from jobs.findings import Finding
from jobs.line import Line
from jobs.overview import Standing
from jobs.preview import Preview
from jobs.record import PLAUSIBLE, Outcome
from jobs.report import Action, SyncReport
from worker.advice import OTHER_REASON, REASONS
from worker.preview_story import live_verdict_of, step_text
from worker.story import action_text, findings_of, reports_of, verdict_of, waits_until, what_to_do

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
    since = record.get("failing_since")
    return {
        "customer": standing.customer,
        "verdict": verdict.kind,
        "sentence": verdict.text,
        "state": standing.state,
        "due_ms": standing.due_ms,
        "second_look_due_ms": standing.look_due_ms,
        "waiting_events": standing.entries,
        "oldest_sent_ms": min(int(standing.oldest_entry.split("-")[0]), PLAUSIBLE) if standing.oldest_entry else None,
        "link": record.get("link") or None,
        "stripe_id": record.get("stripe_id") or None,
        "last_error": record.get("last_error") or None,
        "waits_until_ms": waits_until(standing),
        "last_cause": record.get("last_cause") or None,
        "failed_tries": int(record.get("attempts") or 0) + int(record.get("unexpected") or 0),
        "failing_since_ms": int(float(since) * 1000) if since else None,
        "line": line_json(standing.line),
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
        "stripe": [_stripe_json(customer) for customer in preview.stripe.everyone],
        "payments": _payments_json(preview.stripe.payments),
        "next_steps": [step_text(step) for step in plan.steps],
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


def line_json(line: Line | None) -> Json | None:
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
