"""Where a customer or an event stands, told in lines for a person.

Pure: what was read goes in, lines come out. What is to be done about it, worker.status.advice says. Nothing here may
need the services, and no line may hold a name or an address: what is read from Redis holds none.
"""

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from jobs.plan.findings import Finding
from jobs.plan.plan import LinkState
from jobs.queue.dead_letters import NewestLetters
from jobs.queue.record import Outcome
from jobs.queue.status import Standing
from jobs.sync.report import Action, SyncReport, known_findings, read_reports
from worker.formatting import clock_text, time_text
from worker.status.advice import FAILURES, FINDINGS, LINKS, OTHER_REASON, REASONS, TO_DROP, WAITS
from worker.status.breaker_text import breaker_text

EVENT_NOT_KNOWN = "not known: it was not sent in the last 24 hours, or is still in the inbox"
RIGHT = frozenset({"linked", "unclaimed"})
VerdictKind = Literal["in-sync", "waiting", "needs-a-person", "not-known"]


@dataclass(frozen=True)
class Verdict:
    """Whether a customer is right, as a word for machines and a sentence for a person."""

    kind: VerdictKind
    text: str


def verdict_of(standing: Standing, letters: NewestLetters) -> Verdict:
    """Whether a customer is right, by what is on record; whoever waits is not judged yet."""
    if standing.state != "idle" and not standing.wrong_keys:
        return Verdict("waiting", _waits_for(standing))
    if not (standing.is_known or standing.wrong_keys or letters.letters):
        return Verdict(
            "not-known", "not known: no event of it was seen in the last 30 days, or it is still in the inbox"
        )
    problem = _problem(standing, letters)
    if problem is not None:
        return Verdict("needs-a-person", f"needs a person: {problem}")
    return Verdict("in-sync", "in sync")


def findings_of(standing: Standing) -> tuple[Finding, ...]:
    """What is known of a customer by its reports; by its record where the last ones, that failed, pushed it out."""
    found = known_findings(reports_of(standing))
    receipts = standing.record.receipts
    if receipts and all(finding.kind != "receipts-cannot-be-sent" for finding in found):
        found = (*found, Finding("receipts-cannot-be-sent", receipts))
    return found


def reports_of(standing: Standing) -> list[SyncReport]:
    """The customer's last syncs, the newest first."""
    return read_reports(standing.record.reports)


def tell(standing: Standing, letters: NewestLetters) -> list[str]:
    """Where a customer stands: first whether it is right, then why, what was done, and what can be done."""
    verdict = verdict_of(standing, letters)
    return [
        f"{standing.customer}: {verdict.text}",
        *_facts(standing),
        *_syncs(reports_of(standing)),
        *tell_findings(findings_of(standing), standing.customer),
        *_letters(letters, standing.customer),
    ]


def tell_findings(findings: tuple[Finding, ...], customer: str) -> Iterator[str]:
    """Each finding, and what can be done about it."""
    if findings:
        yield "to know:"
    for finding in findings:
        yield f"  {finding.kind}: {finding.text}"
        yield f"    {what_to_do(finding, customer)}"


def what_to_do(finding: Finding, customer: str) -> str:
    """What can be done about a finding of this customer."""
    return FINDINGS[finding.kind].to_do.replace("CUSTOMER", shlex.quote(customer))


def link_text(link: str) -> str:
    """A state of the link in words."""
    return LINKS[LinkState(link)] if link in set(LinkState) else link


def tell_outcome(outcome: Outcome) -> list[str]:
    """What became of an event."""
    lines = [
        f"status: {outcome.status}" + (f" ({outcome.reason})" if outcome.reason else ""),
        f"customer: {outcome.customer_id}",
        f"entry: {outcome.entry_id}",
    ]
    return lines if outcome.at is None else [*lines, f"at: {time_text(outcome.at)}"]


def plural(number: int, noun: str) -> str:
    """So many of something."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def failure_text(code: str) -> str:
    """Why a sync failed, in words where there are any, with its code."""
    return f"because {FAILURES[code]} ({code})" if code in FAILURES else f"with {code}"


def action_text(action: Action, stripe_id: str) -> str:
    """What one write did; `stripe_id` is the Stripe customer that the sync left the customer linked to."""
    match action.kind:
        case "created-in-autumn":
            return "created the customer in Autumn"
        case "created-in-stripe":
            return f"created the Stripe customer {action.id}"
        case "updated-stripe":
            return f"wrote {', '.join(action.fields)} to {action.id}"
        case "set-receipt-email":
            return f"set the receipt address of {action.id}"
        case "took-back-receipt-email":
            return f"took back the receipt address of {action.id}"
        case "updated-autumn":
            return _update_text(action, stripe_id)


def _waits_for(standing: Standing) -> str:
    if standing.state == "working":
        return "waits for the sync that works on it now"
    breaker, error = standing.breaker, standing.record.last_error
    if breaker is not None:
        return f"waits: {breaker_text(breaker)} {breaker.message}".rstrip()
    until = waits_until(standing)
    if until is not None:
        what, why = WAITS[error]
        return f"waits for {what} until {clock_text(until)}: {why} ({error}); nothing has to be done"
    if error:
        due = time_text(standing.due_ms or 0)
        return f"waits for another try at {due}: the last one failed, {failure_text(error)}; nothing has to be done"
    return "waits for its next sync" if standing.entries else "waits for its recheck"


def waits_until(standing: Standing) -> int | None:
    """Until when a waiting customer waits for what its last sync noted, in milliseconds; None if it noted nothing."""
    record = standing.record
    if standing.state != "waiting" or record.waits_for not in WAITS or record.waits_for != record.last_error:
        return None
    return record.waits_until_ms


def _problem(standing: Standing, letters: NewestLetters) -> str | None:
    """What a person has to look at, as half a sentence; None where nothing is wrong."""
    if standing.wrong_keys:
        return f"{' and '.join(standing.wrong_keys)} holds another type of value than it should"
    wrong = [FINDINGS[each.kind].means for each in findings_of(standing) if not FINDINGS[each.kind].is_right]
    if wrong:
        return ", and ".join(dict.fromkeys(wrong))
    link, error = standing.record.link, standing.record.last_error
    if link and link not in RIGHT:
        return f"it is {link_text(link)}"
    if letters.letters:
        return f"{_given_up(letters)} given up ({', '.join(dict.fromkeys(each.reason for each in letters.letters))})"
    if error:
        return f"its last sync failed, {failure_text(error)}, and nothing waits any more"
    return None if link else "no sync has seen both of its sides"


def _facts(standing: Standing) -> Iterator[str]:
    record = standing.record
    if record.link:
        yield f"link: {link_text(record.link)}"
    if record.stripe_id:
        yield f"Stripe customer: {record.stripe_id}"
    if standing.oldest_entry is not None:
        sent = time_text(int(standing.oldest_entry.split("-")[0]))
        yield f"waiting: {plural(standing.entries, 'event')}, the oldest sent at {sent}"
    tries = record.attempts + record.unexpected
    if tries:
        since = record.failing_since
        yield f"failed tries: {tries}" + ("" if since is None else f", since {time_text(int(since * 1000))}")
    if record.last_cause:
        yield f"cause: {record.last_cause}"
    if standing.recheck_due_ms is not None:
        why = "an echo of an older value" if record.recheck_kind == "echo" else "a late write"
        yield f"recheck: at {time_text(standing.recheck_due_ms)}, in case {why} reverts what was written"


def _syncs(reports: list[SyncReport]) -> Iterator[str]:
    if reports:
        yield "the last syncs:"
    for report in reversed(reports):
        yield f"  {time_text(report.at_ms)}  {_sync_text(report)}"
        for action in report.actions:
            yield f"    {time_text(action.at_ms)}  {action_text(action, report.stripe_id)}"


def _sync_text(report: SyncReport) -> str:
    asked = plural(report.events, "event") if report.events else "recheck"
    parts = []
    if report.found:
        parts.append(f"found {link_text(report.found)}")
    if report.link and report.link != report.found:
        parts.append(f"left {link_text(report.link)}")
    if report.given_up:
        parts.append(f"gave up {plural(sum(report.given_up.values()), 'event')} ({', '.join(report.given_up)})")
    if report.error:
        parts.append(f"failed, {failure_text(report.error)}")
    if report.link and not (report.error or report.given_up or report.actions):
        parts.append("nothing had to be written")
    return f"{asked}: {', '.join(parts)}" if parts else asked


def _update_text(action: Action, stripe_id: str) -> str:
    others = [name for name in action.fields if name != "stripe_id"]
    parts = [f"wrote {', '.join(others)} in Autumn"] if others else []
    if "stripe_id" in action.fields:
        parts.append(f"linked it to {stripe_id}" if stripe_id else "unlinked it")
    return " and ".join(parts) or "sent an empty update to Autumn"


def _given_up(letters: NewestLetters) -> str:
    """How many events there are, as the subject of a sentence."""
    more = "" if letters.are_all else " or more"
    verb = "was" if len(letters.letters) == 1 and letters.are_all else "were"
    return f"{plural(len(letters.letters), 'event')}{more} {verb}"


def _letters(letters: NewestLetters, customer: str) -> Iterator[str]:
    if not letters.are_all:
        yield f"older dead letters were not looked through: customer-sync dead list --customer {shlex.quote(customer)}"
    if not letters.letters:
        return
    yield f"{_given_up(letters)} given up, the newest first:"
    for letter in letters.letters:
        yield f"  {letter.id}  {time_text(letter.buried_at_ms)}  {letter.reason}"
    for reason, number in Counter(letter.reason for letter in letters.letters).items():
        yield f"  {reason} ({number}): {REASONS.get(reason, OTHER_REASON)}"
        act = "drop" if reason in TO_DROP else "replay"
        yield f"    customer-sync dead {act} --customer {shlex.quote(customer)} --reason {shlex.quote(reason)}"
    yield "  what the message of one says: customer-sync dead show ID"
