"""The state of a customer as text: the verdict first, then the reasons and the advice."""

from dataclasses import replace
from typing import Any, get_args

import pytest

from autumn_sync_client.outcomes import Outcome
from jobs.plan.findings import Finding, FindingKind
from jobs.plan.plan import LinkState
from jobs.queue.breaker import OpenBreaker
from jobs.queue.dead_letters import DeadLetter, NewestLetters
from jobs.queue.record import NO_RECORD, CustomerRecord
from jobs.queue.status import Standing
from jobs.queue.watch.state import SeenInStripe
from jobs.scan.compare import SCAN_KINDS
from jobs.scan.report import INFORMATION
from jobs.sync.report import Action, ActionKind, SyncReport, add_report
from worker.status.advice import FINDINGS, LINKS
from worker.status.customer_text import Verdict, action_text, outcome_lines, standing_lines, verdict_of

NONE = NewestLetters()
SYNCED = CustomerRecord(link="linked", stripe_id="cus_1", takes=1)
IDLE = Standing("ann", "idle", None, 0, None, SYNCED)
WAITING = replace(IDLE, state="waiting", due_ms=1_700_000_060_000, entries=2, oldest_entry="1700000000000-0")
LETTER = DeadLetter("1700000000000-0", "5-0", "ann", "too_long", "why", 1, None, 1_700_000_000_000, {})
REPORT = SyncReport(1_700_000_000_000, 1, "unlinked", "linked", "cus_1")


def with_reports(*reports: SyncReport, **record: Any) -> Standing:
    """Return an idle customer after these syncs, the earliest first."""
    stored = ""
    for report in reports:
        stored = add_report(stored, report)
    return replace(IDLE, record=replace(SYNCED, reports=stored, **record))


def found(kind: FindingKind) -> SyncReport:
    return replace(REPORT, findings=(Finding(kind, "which"),))


def test_every_finding_has_meaning_and_advice() -> None:
    assert set(FINDINGS) == set(get_args(FindingKind))
    for advice in FINDINGS.values():
        assert advice.means[-1] != "."
        assert advice.to_do[-1] == "."


def test_findings_of_a_scan_that_need_no_person_are_information() -> None:
    assert {kind for kind, advice in FINDINGS.items() if advice.is_right and kind in SCAN_KINDS} == INFORMATION


def test_every_link_state_has_text() -> None:
    assert set(LINKS) == set(LinkState)


@pytest.mark.parametrize("kind", get_args(ActionKind))
def test_every_action_text_names_its_object(kind: ActionKind) -> None:
    text = action_text(Action(1, kind, "id_1", ("name",)), "cus_1")
    assert "id_1" in text or "Autumn" in text


@pytest.mark.parametrize("kind", get_args(FindingKind))
def test_finding_is_shown_with_advice(kind: FindingKind) -> None:
    standing = with_reports(found(kind))
    expected = "in-sync" if FINDINGS[kind].is_right else "needs-a-person"
    assert verdict_of(standing, NONE).kind == expected
    lines = standing_lines(standing, NONE)
    assert f"  {kind}: which" in lines
    assert f"    {FINDINGS[kind].to_do.replace('CUSTOMER', 'ann')}" in lines


def test_unknown_customer_with_dead_letter_needs_a_person() -> None:
    nobody = replace(IDLE, record=NO_RECORD)
    assert verdict_of(nobody, NONE).kind == "not-known"
    verdict = verdict_of(nobody, NewestLetters((LETTER,)))
    assert verdict == Verdict("needs-a-person", "needs a person: 1 event was dead-lettered (too_long)")


def test_customer_in_sync_takes_three_lines() -> None:
    assert standing_lines(IDLE, NONE) == ["ann: in sync", "link: linked", "Stripe customer: cus_1"]


@pytest.mark.parametrize(
    ("standing", "text"),
    [
        (replace(WAITING, state="working"), "waits for the sync that runs now"),
        (WAITING, "waits for its next sync"),
        (replace(WAITING, entries=0, oldest_entry=None), "waits for its recheck"),
        (
            replace(WAITING, record=replace(SYNCED, last_error="timeout")),
            "waits for another try at 2023-11-14T22:14:20+00:00: the last one failed because a service did not answer "
            "in time (timeout); no action needed",
        ),
        (
            replace(
                WAITING,
                record=replace(
                    SYNCED,
                    last_error="create_failed_before",
                    waits_for="create_failed_before",
                    waits_until_ms=1700003605000,
                ),
            ),
            "waits for Stripe's search until 23:13:25 UTC: creating its Stripe customer failed, and the search will "
            "show if it exists nevertheless (create_failed_before); no action needed",
        ),
        (
            replace(
                WAITING,
                record=replace(
                    SYNCED, last_error="timeout", waits_for="create_failed_before", waits_until_ms=1700003605000
                ),
            ),
            "waits for another try at 2023-11-14T22:14:20+00:00: the last one failed because a service did not answer "
            "in time (timeout); no action needed",
        ),
        (
            replace(WAITING, breaker=OpenBreaker("outage", 1_700_000_000_000, "autumn", "http_503", "")),
            "waits: Autumn has been failing since 2023-11-14 22:13 UTC (http_503). Retrying one customer at a time "
            "until it recovers.",
        ),
        (
            replace(WAITING, breaker=OpenBreaker("halt", 1_700_000_000_000, "stripe", "invalid_key", "Set a key")),
            "waits: Syncs have been halted since 2023-11-14 22:13 UTC (stripe invalid_key). Set a key",
        ),
    ],
)
def test_verdict_says_what_customer_waits_for(standing: Standing, text: str) -> None:
    assert verdict_of(standing, NONE) == Verdict("waiting", text)


def test_waiting_customer_is_not_judged_yet() -> None:
    standing = replace(WAITING, record=with_reports(found("foreign")).record)
    assert verdict_of(standing, NewestLetters((LETTER,))).kind == "waiting"


def test_open_breaker_does_not_affect_idle_customer() -> None:
    standing = replace(IDLE, breaker=OpenBreaker("halt", 1, "stripe", "invalid_key", "Set a key"))
    assert standing_lines(standing, NONE)[0] == "ann: in sync"


def test_text_names_failed_tries_and_waiting_events() -> None:
    failing = replace(SYNCED, last_error="http_500", attempts=3, failing_since=1_700_000_000.25)
    lines = standing_lines(replace(WAITING, record=failing), NONE)
    assert "waiting: 2 events, the oldest sent at 2023-11-14T22:13:20+00:00" in lines
    assert "failed tries: 3, since 2023-11-14T22:13:20+00:00" in lines
    assert lines[0].endswith("the last one failed with http_500; no action needed")


@pytest.mark.parametrize(("kind", "why"), [("echo", "an echo of an older value"), ("whole", "a late write")])
def test_text_names_pending_recheck_and_reason(kind: str, why: str) -> None:
    standing = replace(IDLE, recheck_due_ms=1_700_000_000_000, record=replace(SYNCED, recheck_kind=kind))
    assert f"recheck: at 2023-11-14T22:13:20+00:00, in case {why} reverts the write" in standing_lines(standing, NONE)


def test_actions_are_listed_in_order() -> None:
    at = 1_700_000_000_000
    actions = (
        Action(at, "created-in-autumn", "ann"),
        Action(at + 1000, "created-in-stripe", "cus_1"),
        Action(at + 2000, "updated-autumn", "ann", ("email", "stripe_id")),
        Action(at + 3000, "updated-stripe", "cus_1", ("email", "metadata.autumn_id")),
        Action(at + 4000, "set-receipt-email", "pi_1"),
        Action(at + 5000, "took-back-receipt-email", "pi_2"),
    )
    later = replace(REPORT, at_ms=at + 60_000, events=0, found="linked", actions=actions[4:5])
    lines = standing_lines(with_reports(replace(REPORT, actions=actions), later), NONE)
    assert lines[3:] == [
        "last syncs:",
        "  2023-11-14T22:13:20+00:00  1 event: found not linked, left linked",
        "    2023-11-14T22:13:20+00:00  created the customer in Autumn",
        "    2023-11-14T22:13:21+00:00  created the Stripe customer cus_1",
        "    2023-11-14T22:13:22+00:00  wrote email in Autumn and linked it to cus_1",
        "    2023-11-14T22:13:23+00:00  wrote email, metadata.autumn_id to cus_1",
        "    2023-11-14T22:13:24+00:00  set the receipt address of pi_1",
        "    2023-11-14T22:13:25+00:00  removed the receipt address of pi_2",
        "  2023-11-14T22:14:20+00:00  recheck: found linked",
        "    2023-11-14T22:13:24+00:00  set the receipt address of pi_1",
    ]


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (replace(REPORT, found="linked"), "1 event: found linked, nothing to write"),
        (
            replace(REPORT, found="", link="", error="timeout"),
            "1 event: failed because a service did not answer in time",
        ),
        (
            replace(REPORT, events=3, found="linked", given_up={"too_long": 2}),
            "3 events: found linked, dead-lettered 2 events (too_long)",
        ),
    ],
)
def test_sync_without_writes_says_why(report: SyncReport, text: str) -> None:
    (line,) = [line for line in standing_lines(with_reports(report), NONE) if "event" in line]
    assert line.partition("  2023-11-14T22:13:20+00:00  ")[2].startswith(text)


@pytest.mark.parametrize(
    ("fields", "stripe_id", "text"),
    [
        (("stripe_id",), "cus_1", "linked it to cus_1"),
        (("stripe_id",), "", "unlinked it"),
        (("name",), "cus_1", "wrote name in Autumn"),
        ((), "", "sent an empty update to Autumn"),
    ],
)
def test_text_of_autumn_update_names_link(fields: tuple[str, ...], stripe_id: str, text: str) -> None:
    assert action_text(Action(1, "updated-autumn", "ann", fields), stripe_id) == text


@pytest.mark.parametrize("link", [each.value for each in LinkState if each not in {"linked", "unclaimed"}])
def test_wrong_link_needs_a_person_without_its_report(link: str) -> None:
    standing = with_reports(replace(REPORT, link="", error="timeout"), link=link)
    assert verdict_of(standing, NONE).kind == "needs-a-person"


def test_receipts_that_cannot_be_sent_are_shown_without_report() -> None:
    lines = standing_lines(with_reports(receipts="no e-mail address"), NONE)
    assert lines[0] == "ann: needs a person: e-mail receipts are on, but none can be sent"
    assert "  receipts-cannot-be-sent: no e-mail address" in lines


def test_failed_last_sync_needs_a_person_without_dead_letter() -> None:
    verdict = verdict_of(with_reports(last_error="unexpected"), NONE)
    assert verdict.kind == "needs-a-person"
    assert "because of an error in this software (unexpected)" in verdict.text


def test_unexpected_error_is_shown_with_its_place() -> None:
    cause = "KeyError at jobs/sync/apply.py:120 apply"
    lines = standing_lines(with_reports(last_error="unexpected", last_cause=cause), NONE)
    assert f"cause: {cause}" in lines
    assert not any(
        line.startswith("cause") for line in standing_lines(with_reports(last_error="", last_cause=""), NONE)
    )


def test_customer_without_any_sync_needs_a_person() -> None:
    verdict = verdict_of(replace(IDLE, record=CustomerRecord(takes=1)), NONE)
    assert verdict == Verdict("needs-a-person", "needs a person: no sync has fetched both sides yet")


def test_dead_letters_are_grouped_by_reason_with_commands() -> None:
    other = replace(LETTER, id="1600000000000-0", reason="a reason; of nobody", dead_lettered_at_ms=1_600_000_000_000)
    lines = standing_lines(IDLE, NewestLetters((LETTER, LETTER, other)))
    assert lines[0] == "ann: needs a person: 3 events were dead-lettered (too_long, a reason; of nobody)"
    assert lines[3:] == [
        "3 events were dead-lettered, the newest first:",
        "  1700000000000-0  2023-11-14T22:13:20+00:00  too_long",
        "  1700000000000-0  2023-11-14T22:13:20+00:00  too_long",
        "  1600000000000-0  2020-09-13T12:26:40+00:00  a reason; of nobody",
        "  too_long (2): A value is longer than Stripe accepts. Send a shorter one, and drop this one.",
        "    customer-sync dead drop --customer ann --reason too_long",
        "  a reason; of nobody (1): The message says why. Fix the cause, then replay. If the change is not "
        "wanted, drop it.",
        "    customer-sync dead replay --customer ann --reason 'a reason; of nobody'",
        "  to show the message of one: customer-sync dead show ID",
    ]


def test_text_says_if_older_dead_letters_were_not_searched() -> None:
    lines = standing_lines(IDLE, NewestLetters((LETTER,), are_all=False))
    assert "1 event or more were dead-lettered, the newest first:" in lines
    assert standing_lines(IDLE, NewestLetters((), are_all=False))[3:] == [
        "older dead letters were not searched: customer-sync dead list --customer ann"
    ]


def test_outcome_is_shown_in_lines() -> None:
    assert outcome_lines(Outcome("waiting", "ann", "5-0")) == ["status: waiting", "customer: ann", "entry: 5-0"]
    assert outcome_lines(Outcome("dead", "ann", "5-0", "too_long", 1_700_000_000_000)) == [
        "status: dead (too_long)",
        "customer: ann",
        "entry: 5-0",
        "at: 2023-11-14T22:13:20+00:00",
    ]


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        ("app", "an app"),
        ("autumn", "Autumn"),
        ("dashboard", "the dashboard"),
        ("stripe", "Stripe"),
        ("x\x1b", "x\ufffd"),
    ],
)
def test_event_of_stripe_is_shown_with_its_cause(cause: str, text: str) -> None:
    seen = (SeenInStripe(1_700_000_000_000, "customer.deleted", cause),)
    lines = standing_lines(replace(IDLE, record=replace(SYNCED, seen_in_stripe=seen)), NONE)
    assert lines[-2:] == ["seen in Stripe:", f"  2023-11-14T22:13:20+00:00  customer.deleted by {text}"]


def test_proven_receipt_is_shown_with_its_time() -> None:
    record = replace(SYNCED, receipt_number="2000-0001", receipt_at_ms=1_700_000_000_000)
    lines = standing_lines(replace(IDLE, record=record), NONE)
    assert lines[-1] == "last receipt: Stripe sent number 2000-0001 at 2023-11-14T22:13:20+00:00"
