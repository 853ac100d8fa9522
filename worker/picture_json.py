"""The answer of `customer-sync status --json`, for machines. Pure: a picture goes in, a dictionary comes out.

As in worker.status_json a field keeps its name and meaning, new ones may come, a time ends in `_ms` and is in
milliseconds since the epoch, and what is not known is null. No name, no address, and nothing that a service said.
"""

from typing import Final

from jobs.dead_letters import NewestLetters
from jobs.overview import Standing
from jobs.scan_report import ScanRun
from worker.health import why_a_person_should_look, why_redis_refuses_writes
from worker.picture import Picture
from worker.picture_words import headline_of, reasons_of
from worker.status_json import Json, letter_json, line_json
from worker.story import verdict_of
from worker.trends import STEP_MINUTES, Trends, trends_of

VERDICTS: Final = {"good": "all-right", "warn": "waiting", "bad": "needs-a-person"}
LETTERS_SHOWN: Final = 50


def picture_json(picture: Picture) -> Json:
    """Everything, `status`: `inbox` and `dead_letters` count events, `waiting` and `working` customers.

    `verdict` is all-right, waiting (a service fails, and is tried by itself) or needs-a-person, and `sentence` the same
    for a person. `reasons` are why a person should look, each with its `alert` of docs/alerts.yml, as /readyz has them.

    `oldest_sent_ms` is when the oldest change was sent that is neither applied nor dead, `last_success_ms` when a
    change was last applied, `newest_dead_letter_ms` when the newest dead letter was buried; null where there is none.
    `line` says why nothing but a probe goes out (`kind` is outage or halt), and is null while all is well. `totals`
    count since the beginning.

    `rate_shares` are the share of each rate that is in force, by its name: 1 is all. `hours` are the last ones, see
    `_hours_json`. `longest_waiting` are customers, the longest first; `newest_dead_letters` and `scans` begin with the
    newest. `dead_letter_reasons` counts the newest `dead_letter_reasons_of` of them.
    """
    overview, letters = picture.overview, picture.letters
    headline = headline_of(picture.state)
    reasons = [*why_redis_refuses_writes(picture.state), *why_a_person_should_look(picture.state)]
    return {
        "verdict": VERDICTS[headline.kind],
        "sentence": " ".join(filter(None, [headline.text, headline.more])).strip(),
        "reasons": [{"alert": each.alert, "text": each.text} for each in reasons],
        "at_ms": overview.now_ms,
        "mode": picture.mode,
        "inbox": overview.inbox,
        "waiting": overview.waiting,
        "working": overview.working,
        "dead_letters": overview.dead,
        "oldest_sent_ms": overview.oldest_sent_ms,
        "last_success_ms": overview.last_success_ms,
        "newest_dead_letter_ms": overview.newest_dead_ms,
        "line": line_json(overview.line),
        "totals": dict(sorted(overview.totals.items())),
        "rate_shares": dict(picture.state.rate_shares),
        "hours": _hours_json(trends_of(picture.minutes, picture.rates)),
        "longest_waiting": [_waiting_json(each) for each in picture.waiting if each.oldest_entry is not None],
        "newest_dead_letters": [{**letter_json(each), "customer": each.customer} for each in letters[:LETTERS_SHOWN]],
        "dead_letter_reasons": dict(reasons_of(letters)),
        "dead_letter_reasons_of": len(letters),
        "scans": [_scan_json(run) for run in picture.runs],
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
        "last_error": standing.record.get("last_error") or None,
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
        "asked": run.asked,
    }
