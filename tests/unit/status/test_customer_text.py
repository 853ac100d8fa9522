"""A customer's record as text: first whether it is right, then why, and what can be done."""

from dataclasses import replace
from typing import Any, get_args

import pytest

from jobs.plan.findings import Finding, FindingKind
from jobs.plan.plan import LinkState
from jobs.queue.breaker import OpenBreaker
from jobs.queue.dead_letters import DeadLetter, NewestLetters
from jobs.queue.record import NO_RECORD, CustomerRecord, Outcome
from jobs.queue.status import Standing
from jobs.sync.report import Action, ActionKind, SyncReport, add_report
from worker.status.advice import FINDINGS, LINKS
from worker.status.customer_text import Verdict, action_text, tell, tell_outcome, verdict_of

NONE = NewestLetters()
SYNCED = CustomerRecord(link="linked", stripe_id="cus_1", takes=1)
IDLE = Standing("ann", "idle", None, 0, None, SYNCED)
WAITING = replace(IDLE, state="waiting", due_ms=1_700_000_060_000, entries=2, oldest_entry="1700000000000-0")
LETTER = DeadLetter("1700000000000-0", "5-0", "ann", "too_long", "why", 1, None, 1_700_000_000_000, {})
REPORT = SyncReport(1_700_000_000_000, 1, "unlinked", "linked", "cus_1")


def with_reports(*reports: SyncReport, **record: Any) -> Standing:
    """Standing idle after these syncs, the earliest first."""
    stored = ""
    for report in reports:
        stored = add_report(stored, report)
    return replace(IDLE, record=replace(SYNCED, reports=stored, **record))


def found(kind: FindingKind) -> SyncReport:
    return replace(REPORT, findings=(Finding(kind, "which"),))


def test_every_kind_of_finding_says_what_it_means_and_what_can_be_done() -> None:
    assert set(FINDINGS) == set(get_args(FindingKind))
    for advice in FINDINGS.values():
        assert advice.means[-1] != "."
        assert advice.to_do[-1] == "."


def test_every_state_of_the_link_has_words() -> None:
    assert set(LINKS) == set(LinkState)


@pytest.mark.parametrize("kind", get_args(ActionKind))
def test_every_action_has_words_that_name_what_was_written(kind: ActionKind) -> None:
    text = action_text(Action(1, kind, "id_1", ("name",)), "cus_1")
    assert "id_1" in text or "Autumn" in text


@pytest.mark.parametrize("kind", get_args(FindingKind))
def test_a_finding_is_told_with_what_can_be_done_and_needs_a_person_where_something_is_wrong(
    kind: FindingKind,
) -> None:
    standing = with_reports(found(kind))
    expected = "in-sync" if FINDINGS[kind].is_right else "needs-a-person"
    assert verdict_of(standing, NONE).kind == expected
    lines = tell(standing, NONE)
    assert f"  {kind}: which" in lines
    assert f"    {FINDINGS[kind].to_do.replace('CUSTOMER', 'ann')}" in lines


def test_nothing_known_is_said_so_and_dead_letters_alone_are_something() -> None:
    nobody = replace(IDLE, record=NO_RECORD)
    assert verdict_of(nobody, NONE).kind == "not-known"
    verdict = verdict_of(nobody, NewestLetters((LETTER,)))
    assert verdict == Verdict("needs-a-person", "needs a person: 1 event was given up (too_long)")


def test_a_customer_that_is_right_needs_three_lines() -> None:
    assert tell(IDLE, NONE) == ["ann: in sync", "link: linked", "Stripe customer: cus_1"]


@pytest.mark.parametrize(
    ("standing", "text"),
    [
        (replace(WAITING, state="working"), "waits for the sync that works on it now"),
        (WAITING, "waits for its next sync"),
        (replace(WAITING, entries=0, oldest_entry=None), "waits for its recheck"),
        (
            replace(WAITING, record=replace(SYNCED, last_error="timeout")),
            "waits for another try at 2023-11-14T22:14:20+00:00: the last one failed, because a service did not answer "
            "in time (timeout); nothing has to be done",
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
            "show whether one was made all the same (create_failed_before); nothing has to be done",
        ),
        (
            replace(
                WAITING,
                record=replace(
                    SYNCED, last_error="timeout", waits_for="create_failed_before", waits_until_ms=1700003605000
                ),
            ),
            "waits for another try at 2023-11-14T22:14:20+00:00: the last one failed, because a service did not answer "
            "in time (timeout); nothing has to be done",
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
def test_who_waits_is_told_for_what(standing: Standing, text: str) -> None:
    assert verdict_of(standing, NONE) == Verdict("waiting", text)


def test_who_waits_is_not_judged_yet() -> None:
    standing = replace(WAITING, record=with_reports(found("foreign")).record)
    assert verdict_of(standing, NewestLetters((LETTER,))).kind == "waiting"


def test_a_closed_line_is_nothing_to_a_customer_that_does_not_wait() -> None:
    standing = replace(IDLE, breaker=OpenBreaker("halt", 1, "stripe", "invalid_key", "Set a key"))
    assert tell(standing, NONE)[0] == "ann: in sync"


def test_how_often_and_since_when_it_fails_and_what_waits_is_told() -> None:
    failing = replace(SYNCED, last_error="http_500", attempts=3, failing_since=1_700_000_000.25)
    lines = tell(replace(WAITING, record=failing), NONE)
    assert "waiting: 2 events, the oldest sent at 2023-11-14T22:13:20+00:00" in lines
    assert "failed tries: 3, since 2023-11-14T22:13:20+00:00" in lines
    assert lines[0].endswith("the last one failed, with http_500; nothing has to be done")


@pytest.mark.parametrize(("kind", "why"), [("echo", "an echo of an older value"), ("whole", "a late write")])
def test_text_names_pending_recheck_and_reason(kind: str, why: str) -> None:
    standing = replace(IDLE, recheck_due_ms=1_700_000_000_000, record=replace(SYNCED, recheck_kind=kind))
    assert f"recheck: at 2023-11-14T22:13:20+00:00, in case {why} reverts what was written" in tell(standing, NONE)


def test_what_was_done_is_told_in_order() -> None:
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
    lines = tell(with_reports(replace(REPORT, actions=actions), later), NONE)
    assert lines[3:] == [
        "the last syncs:",
        "  2023-11-14T22:13:20+00:00  1 event: found not linked, left linked",
        "    2023-11-14T22:13:20+00:00  created the customer in Autumn",
        "    2023-11-14T22:13:21+00:00  created the Stripe customer cus_1",
        "    2023-11-14T22:13:22+00:00  wrote email in Autumn and linked it to cus_1",
        "    2023-11-14T22:13:23+00:00  wrote email, metadata.autumn_id to cus_1",
        "    2023-11-14T22:13:24+00:00  set the receipt address of pi_1",
        "    2023-11-14T22:13:25+00:00  took back the receipt address of pi_2",
        "  2023-11-14T22:14:20+00:00  recheck: found linked",
        "    2023-11-14T22:13:24+00:00  set the receipt address of pi_1",
    ]


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (replace(REPORT, found="linked"), "1 event: found linked, nothing had to be written"),
        (
            replace(REPORT, found="", link="", error="timeout"),
            "1 event: failed, because a service did not answer in time",
        ),
        (
            replace(REPORT, events=3, found="linked", given_up={"too_long": 2}),
            "3 events: found linked, gave up 2 events (too_long)",
        ),
    ],
)
def test_a_sync_that_wrote_nothing_says_why(report: SyncReport, text: str) -> None:
    (line,) = [line for line in tell(with_reports(report), NONE) if "event" in line]
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
def test_an_update_of_autumn_says_what_became_of_the_link(fields: tuple[str, ...], stripe_id: str, text: str) -> None:
    assert action_text(Action(1, "updated-autumn", "ann", fields), stripe_id) == text


@pytest.mark.parametrize("link", [each.value for each in LinkState if each not in {"linked", "unclaimed"}])
def test_a_link_that_is_not_right_needs_a_person_also_where_the_reports_have_forgotten_why(link: str) -> None:
    standing = with_reports(replace(REPORT, link="", error="timeout"), link=link)
    assert verdict_of(standing, NONE).kind == "needs-a-person"


def test_receipts_that_cannot_be_sent_are_told_also_where_the_reports_have_forgotten_them() -> None:
    lines = tell(with_reports(receipts="no e-mail address"), NONE)
    assert lines[0] == "ann: needs a person: e-mail receipts are on and none can be sent"
    assert "  receipts-cannot-be-sent: no e-mail address" in lines


def test_a_last_sync_that_failed_for_good_is_not_in_sync_even_without_its_letter() -> None:
    verdict = verdict_of(with_reports(last_error="unexpected"), NONE)
    assert verdict.kind == "needs-a-person"
    assert "because of an error in this software (unexpected)" in verdict.text


def test_an_unexpected_error_is_told_with_its_place() -> None:
    cause = "KeyError at jobs/sync/apply.py:120 apply"
    lines = tell(with_reports(last_error="unexpected", last_cause=cause), NONE)
    assert f"cause: {cause}" in lines
    assert not any(line.startswith("cause") for line in tell(with_reports(last_error="", last_cause=""), NONE))


def test_a_customer_that_no_sync_has_seen_is_not_in_sync() -> None:
    verdict = verdict_of(replace(IDLE, record=CustomerRecord(takes=1)), NONE)
    assert verdict == Verdict("needs-a-person", "needs a person: no sync has seen both of its sides")


def test_dead_letters_are_told_by_reason_with_how_to_be_rid_of_them() -> None:
    other = replace(LETTER, id="1600000000000-0", reason="a reason; of nobody", buried_at_ms=1_600_000_000_000)
    lines = tell(IDLE, NewestLetters((LETTER, LETTER, other)))
    assert lines[0] == "ann: needs a person: 3 events were given up (too_long, a reason; of nobody)"
    assert lines[3:] == [
        "3 events were given up, the newest first:",
        "  1700000000000-0  2023-11-14T22:13:20+00:00  too_long",
        "  1700000000000-0  2023-11-14T22:13:20+00:00  too_long",
        "  1600000000000-0  2020-09-13T12:26:40+00:00  a reason; of nobody",
        "  too_long (2): A value is longer than Stripe takes. Send a shorter one, and drop this one.",
        "    customer-sync dead drop --customer ann --reason too_long",
        "  a reason; of nobody (1): The message says why. When the cause is mended, replay; if the change is not "
        "wanted, drop it.",
        "    customer-sync dead replay --customer ann --reason 'a reason; of nobody'",
        "  what the message of one says: customer-sync dead show ID",
    ]


def test_dead_letters_that_were_not_all_looked_through_are_said_to_be() -> None:
    lines = tell(IDLE, NewestLetters((LETTER,), are_all=False))
    assert "1 event or more were given up, the newest first:" in lines
    assert tell(IDLE, NewestLetters((), are_all=False))[3:] == [
        "older dead letters were not looked through: customer-sync dead list --customer ann"
    ]


def test_an_outcome_is_told() -> None:
    assert tell_outcome(Outcome("waiting", "ann", "5-0")) == ["status: waiting", "customer: ann", "entry: 5-0"]
    assert tell_outcome(Outcome("dead", "ann", "5-0", "too_long", 1_700_000_000_000)) == [
        "status: dead (too_long)",
        "customer: ann",
        "entry: 5-0",
        "at: 2023-11-14T22:13:20+00:00",
    ]
