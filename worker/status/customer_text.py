"""The state of a customer or an event, as lines for a person.

Pure. `worker.status.advice` has the texts of the advice. Nothing here may call the services, and no line may hold a
name or an address.
"""

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from autumn_sync_client.outcomes import Outcome
from jobs.plan.findings import Finding
from jobs.plan.plan import LinkState
from jobs.queue.dead_letters import NewestLetters
from jobs.queue.record import CustomerRecord
from jobs.queue.status import Standing
from jobs.queue.watch.state import SeenInStripe
from jobs.sync.report import Action, SyncReport, known_findings, read_reports
from worker.formatting import clock_text, printable, time_text
from worker.status.advice import FAILURES, FINDINGS, LINKS, OTHER_REASON, REASONS, TO_DROP, WAITS
from worker.status.breaker_text import breaker_text

EVENT_NOT_KNOWN = "not known: it was not sent in the last 24 hours, or is still in the inbox"
CAUSES: Final = {
    "sync": "this sync",
    "autumn": "Autumn",
    "app": "an app",
    "dashboard": "the dashboard",
    "stripe": "Stripe",
}
"""The words for the causes of an event of Stripe, by the cause in the record."""
RIGHT = frozenset({"linked", "unclaimed"})
VerdictKind = Literal["in-sync", "waiting", "needs-a-person", "not-known"]


@dataclass(frozen=True)
class Verdict:
    """The judgment of a customer: a word for machines and a sentence for a person."""

    kind: VerdictKind
    text: str


def verdict_of(standing: Standing, letters: NewestLetters) -> Verdict:
    """Return if a customer is in sync, as far as Redis knows. A customer that waits is not judged yet."""
    if standing.state != "idle" and not standing.wrong_keys:
        return Verdict("waiting", _waits_for(standing))
    if not (standing.is_known or standing.wrong_keys or letters.letters):
        return Verdict(
            "not-known", "not known: it had no event in the last 30 days, or its event is still in the inbox"
        )
    problem = _problem(standing, letters)
    if problem is not None:
        return Verdict("needs-a-person", f"needs a person: {problem}")
    return Verdict("in-sync", "in sync")


def findings_of(standing: Standing) -> tuple[Finding, ...]:
    """Return the findings of a customer's last syncs.

    Failed syncs may have pushed the report on receipts out. The customer record still has that finding.
    """
    found = known_findings(reports_of(standing))
    receipts = standing.record.receipts
    if receipts and all(finding.kind != "receipts-cannot-be-sent" for finding in found):
        found = (*found, Finding("receipts-cannot-be-sent", receipts))
    return found


def reports_of(standing: Standing) -> list[SyncReport]:
    """Return the customer's last syncs, the newest first."""
    return read_reports(standing.record.reports)


def standing_lines(standing: Standing, letters: NewestLetters) -> list[str]:
    """Return the state of a customer: the verdict first, then facts, the last syncs, findings and dead letters."""
    verdict = verdict_of(standing, letters)
    return [
        f"{standing.customer}: {verdict.text}",
        *_facts(standing),
        *_syncs(reports_of(standing)),
        *_seen(standing.record),
        *finding_lines(findings_of(standing), standing.customer),
        *_letters(letters, standing.customer),
    ]


def finding_lines(findings: tuple[Finding, ...], customer: str) -> Iterator[str]:
    """Yield each finding with its advice."""
    if findings:
        yield "findings:"
    for finding in findings:
        yield f"  {finding.kind}: {finding.text}"
        yield f"    {what_to_do(finding, customer)}"


def what_to_do(finding: Finding, customer: str) -> str:
    """Return the advice on a finding of this customer."""
    return FINDINGS[finding.kind].to_do.replace("CUSTOMER", shlex.quote(customer))


def link_text(link: str) -> str:
    """Return a state of the link in words."""
    return LINKS[LinkState(link)] if link in set(LinkState) else link


def outcome_lines(outcome: Outcome) -> list[str]:
    """Return the outcome of an event."""
    lines = [
        f"status: {outcome.status}" + (f" ({outcome.reason})" if outcome.reason else ""),
        f"customer: {outcome.customer_id}",
        f"entry: {outcome.entry_id}",
    ]
    return lines if outcome.at is None else [*lines, f"at: {time_text(outcome.at)}"]


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 event` or `1,200 events`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def failure_text(code: str) -> str:
    """Return the reason why a sync failed, in words if the code has any."""
    return f"because {FAILURES[code]} ({code})" if code in FAILURES else f"with {code}"


def action_text(action: Action, stripe_id: str) -> str:
    """Return one write in words. `stripe_id` is the Stripe customer that the customer is linked to after the sync."""
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
            return f"removed the receipt address of {action.id}"
        case "updated-autumn":
            return _update_text(action, stripe_id)


def seen_text(seen: SeenInStripe) -> str:
    """Return an event of Stripe in words: its type, its cause, and the fields that changed."""
    changed = f": {', '.join(seen.fields)}" if seen.fields else ""
    return printable(f"{seen.type} by {CAUSES.get(seen.cause, seen.cause)}{changed}")


def _waits_for(standing: Standing) -> str:
    if standing.state == "working":
        return "waits for the sync that runs now"
    breaker, error = standing.breaker, standing.record.last_error
    if breaker is not None:
        return f"waits: {breaker_text(breaker)} {breaker.message}".rstrip()
    until = waits_until(standing)
    if until is not None:
        what, why = WAITS[error]
        return f"waits for {what} until {clock_text(until)}: {why} ({error}); no action needed"
    if error:
        due = time_text(standing.due_ms or 0)
        return f"waits for another try at {due}: the last one failed {failure_text(error)}; no action needed"
    return "waits for its next sync" if standing.entries else "waits for its recheck"


def waits_until(standing: Standing) -> int | None:
    """Return the end of a wait for something that `WAITS` names, in milliseconds; None if there is no such wait.

    The last failed sync has noted it.
    """
    record = standing.record
    if standing.state != "waiting" or record.waits_for not in WAITS or record.waits_for != record.last_error:
        return None
    return record.waits_until_ms


def _problem(standing: Standing, letters: NewestLetters) -> str | None:
    """Return the reason why a person is needed, as a clause; None if nothing is wrong."""
    if standing.wrong_keys:
        return f"{' and '.join(standing.wrong_keys)} holds a value of the wrong type"
    wrong = [FINDINGS[each.kind].means for each in findings_of(standing) if not FINDINGS[each.kind].is_right]
    if wrong:
        return ", and ".join(dict.fromkeys(wrong))
    link, error = standing.record.link, standing.record.last_error
    if link and link not in RIGHT:
        return f"it is {link_text(link)}"
    if letters.letters:
        reasons = ", ".join(dict.fromkeys(each.reason for each in letters.letters))
        return f"{_dead_lettered(letters)} dead-lettered ({reasons})"
    if error:
        return f"its last sync failed {failure_text(error)}, and no retry is scheduled"
    return None if link else "no sync has fetched both sides yet"


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
        yield f"recheck: at {time_text(standing.recheck_due_ms)}, in case {why} reverts the write"


def _syncs(reports: list[SyncReport]) -> Iterator[str]:
    if reports:
        yield "last syncs:"
    for report in reversed(reports):
        yield f"  {time_text(report.at_ms)}  {_sync_text(report)}"
        for action in report.actions:
            yield f"    {time_text(action.at_ms)}  {action_text(action, report.stripe_id)}"


def _seen(record: CustomerRecord) -> Iterator[str]:
    if record.seen_in_stripe:
        yield "seen in Stripe:"
    for seen in record.seen_in_stripe:
        yield f"  {time_text(seen.at_ms)}  {seen_text(seen)}"
    if record.receipt_number:
        at = "" if record.receipt_at_ms is None else f" at {time_text(record.receipt_at_ms)}"
        yield printable(f"last receipt: Stripe sent number {record.receipt_number}{at}")


def _sync_text(report: SyncReport) -> str:
    trigger = plural(report.events, "event") if report.events else "recheck"
    parts = []
    if report.found:
        parts.append(f"found {link_text(report.found)}")
    if report.link and report.link != report.found:
        parts.append(f"left {link_text(report.link)}")
    if report.given_up:
        parts.append(f"dead-lettered {plural(sum(report.given_up.values()), 'event')} ({', '.join(report.given_up)})")
    if report.error:
        parts.append(f"failed {failure_text(report.error)}")
    if report.link and not (report.error or report.given_up or report.actions):
        parts.append("nothing to write")
    return f"{trigger}: {', '.join(parts)}" if parts else trigger


def _update_text(action: Action, stripe_id: str) -> str:
    others = [name for name in action.fields if name != "stripe_id"]
    parts = [f"wrote {', '.join(others)} in Autumn"] if others else []
    if "stripe_id" in action.fields:
        parts.append(f"linked it to {stripe_id}" if stripe_id else "unlinked it")
    return " and ".join(parts) or "sent an empty update to Autumn"


def _dead_lettered(letters: NewestLetters) -> str:
    """Return the number of dead letters as the subject and verb of a sentence."""
    more = "" if letters.are_all else " or more"
    verb = "was" if len(letters.letters) == 1 and letters.are_all else "were"
    return f"{plural(len(letters.letters), 'event')}{more} {verb}"


def _letters(letters: NewestLetters, customer: str) -> Iterator[str]:
    if not letters.are_all:
        yield f"older dead letters were not searched: customer-sync dead list --customer {shlex.quote(customer)}"
    if not letters.letters:
        return
    yield f"{_dead_lettered(letters)} dead-lettered, the newest first:"
    for letter in letters.letters:
        yield f"  {letter.id}  {time_text(letter.dead_lettered_at_ms)}  {letter.reason}"
    for reason, number in Counter(letter.reason for letter in letters.letters).items():
        yield f"  {reason} ({number}): {REASONS.get(reason, OTHER_REASON)}"
        act = "drop" if reason in TO_DROP else "replay"
        yield f"    customer-sync dead {act} --customer {shlex.quote(customer)} --reason {shlex.quote(reason)}"
    yield "  to show the message of one: customer-sync dead show ID"
