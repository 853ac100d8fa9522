"""A customer's reports: which ones are kept, and the findings that are known from them."""

from dataclasses import replace

from jobs.plan.findings import Finding
from jobs.sync.report import REPORTS_KEPT, Action, SyncReport, add_report, known_findings, read_reports

NO_ADDRESS = Finding("receipts-cannot-be-sent", "no e-mail address")
REVERTED = Finding("reapply-given-up", "something reverts name each time")
SYNC = SyncReport(
    1, 1, "unlinked", "linked", "cus_1", (Action(1, "created-in-stripe", "cus_1", ("x",)),), (NO_ADDRESS,)
)
RECHECK = SyncReport(2, 0, "linked", "linked", "cus_1")
FAILED = SyncReport(3, 1, "", "", "", error="timeout")


def kept(*reports: SyncReport) -> list[SyncReport]:
    """Return the reports that are kept of these, which are in order of time."""
    stored = ""
    for report in reports:
        stored = add_report(stored, report)
    return read_reports(stored)


def test_few_newest_reports_are_kept() -> None:
    entries_dead_lettered = replace(SYNC, at_ms=9, given_up={"too_long": 2})
    assert kept(SYNC, entries_dead_lettered) == [entries_dead_lettered, SYNC]
    assert len(kept(*[replace(SYNC, at_ms=at) for at in range(9)])) == REPORTS_KEPT


def test_report_in_another_format_is_left_out() -> None:
    assert read_reports('[{"at_ms":1}]') == []
    text = add_report("", RECHECK).replace("{", '{"later":1,', 1)
    assert read_reports(text) == []
    assert read_reports(add_report("", SYNC).replace(',"given_up":{}', "")) == [SYNC]


def test_sync_without_news_makes_no_report() -> None:
    same = replace(RECHECK, findings=(NO_ADDRESS,))
    assert kept(SYNC, same) == [SYNC]
    assert kept(SYNC, RECHECK) == [RECHECK, SYNC]
    assert kept(RECHECK, RECHECK) == kept(RECHECK) == []


def test_sync_without_fetch_reports_only_new_findings() -> None:
    blind = replace(RECHECK, found="", link="", stripe_id="")
    assert kept(SYNC, blind) == [SYNC]
    reverted = replace(blind, findings=(REVERTED,))
    assert kept(SYNC, reverted) == [reverted, SYNC]


def test_repeated_failure_replaces_previous_report() -> None:
    later = replace(FAILED, at_ms=8)
    assert kept(SYNC, FAILED, later) == [later, SYNC]
    other = replace(FAILED, error="http_503")
    assert kept(SYNC, FAILED, other) == [other, FAILED, SYNC]
    wrote = replace(FAILED, actions=SYNC.actions)
    assert kept(wrote, wrote) == [wrote, wrote]


def test_known_findings_reach_back_to_last_fetch_of_link() -> None:
    reverted = replace(RECHECK, link="", findings=(REVERTED,))
    assert known_findings([FAILED, reverted, SYNC, replace(SYNC, findings=(REVERTED,))]) == (REVERTED, NO_ADDRESS)
    assert known_findings([RECHECK, SYNC]) == ()
    assert known_findings([]) == ()
