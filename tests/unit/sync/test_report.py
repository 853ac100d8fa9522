"""A customer's reports: which are kept, and what is known by them."""

from dataclasses import replace

from jobs.plan.findings import Finding
from jobs.sync.report import REPORTS_KEPT, Action, SyncReport, add_report, known_findings, read_reports

NO_ADDRESS = Finding("receipts-cannot-be-sent", "no e-mail address")
UNDONE = Finding("reapply-given-up", "something undoes name each time")
SYNC = SyncReport(
    1, 1, "unlinked", "linked", "cus_1", (Action(1, "created-in-stripe", "cus_1", ("x",)),), (NO_ADDRESS,)
)
LOOK = SyncReport(2, 0, "linked", "linked", "cus_1")
FAILED = SyncReport(3, 1, "", "", "", error="timeout")


def kept(*reports: SyncReport) -> list[SyncReport]:
    """The kept part of these reports, the earliest first."""
    stored = ""
    for report in reports:
        stored = add_report(stored, report)
    return read_reports(stored)


def test_reports_are_read_as_they_were_written_the_newest_first_and_only_a_few() -> None:
    entries_dead_lettered = replace(SYNC, at_ms=9, given_up={"too_long": 2})
    assert kept(SYNC, entries_dead_lettered) == [entries_dead_lettered, SYNC]
    assert len(kept(*[replace(SYNC, at_ms=at) for at in range(9)])) == REPORTS_KEPT


def test_a_report_of_another_form_is_left_out_and_one_without_what_came_later_is_read() -> None:
    assert read_reports('[{"at_ms":1}]') == []
    text = add_report("", LOOK).replace("{", '{"later":1,', 1)
    assert read_reports(text) == []
    assert read_reports(add_report("", SYNC).replace(',"given_up":{}', "")) == [SYNC]


def test_a_look_that_finds_nothing_new_is_no_report_and_one_that_does_is() -> None:
    same = replace(LOOK, findings=(NO_ADDRESS,))
    assert kept(SYNC, same) == [SYNC]
    assert kept(SYNC, LOOK) == [LOOK, SYNC]
    assert kept(LOOK, LOOK) == kept(LOOK) == []


def test_a_look_that_saw_neither_side_tells_only_what_it_found() -> None:
    blind = replace(LOOK, found="", link="", stripe_id="")
    assert kept(SYNC, blind) == [SYNC]
    undone = replace(blind, findings=(UNDONE,))
    assert kept(SYNC, undone) == [undone, SYNC]


def test_a_failure_that_repeats_takes_the_place_of_the_one_before_it() -> None:
    later = replace(FAILED, at_ms=8)
    assert kept(SYNC, FAILED, later) == [later, SYNC]
    other = replace(FAILED, error="http_503")
    assert kept(SYNC, FAILED, other) == [other, FAILED, SYNC]
    wrote = replace(FAILED, actions=SYNC.actions)
    assert kept(wrote, wrote) == [wrote, wrote]


def test_what_is_known_goes_back_to_the_last_sync_that_looked_at_the_link() -> None:
    undone = replace(LOOK, link="", findings=(UNDONE,))
    assert known_findings([FAILED, undone, SYNC, replace(SYNC, findings=(UNDONE,))]) == (UNDONE, NO_ADDRESS)
    assert known_findings([LOOK, SYNC]) == ()
    assert known_findings([]) == ()
