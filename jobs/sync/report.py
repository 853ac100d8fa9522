"""Reports of the findings and writes of a sync, stored in the customer record. Plain values, no I/O.

A report holds ids and names of fields, never a name, an address or another value of a customer.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, get_args

from jobs.plan.findings import Finding, FindingKind

REPORTS_KEPT: Final = 3
"""Reports that are kept of each customer: enough to explain the last events, small enough for a million customers."""

ActionKind = Literal[
    "created-in-autumn",
    "updated-autumn",
    "created-in-stripe",
    "updated-stripe",
    "set-receipt-email",
    "took-back-receipt-email",
]


@dataclass(frozen=True)
class Action:
    """One write: its time (milliseconds since the epoch), its kind, the id it wrote to, and the names of the fields."""

    at_ms: int
    kind: ActionKind
    id: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class SyncReport:
    """The report of one sync of `events` waiting events.

    `found` is the link at the first fetch, empty if the change named the link. `link` is the link afterwards, empty if
    it was not fetched. `given_up` counts the dead-lettered events by reason. `error` is the code of a failed sync.
    """

    at_ms: int
    events: int
    found: str
    link: str
    stripe_id: str
    actions: tuple[Action, ...] = ()
    findings: tuple[Finding, ...] = ()
    error: str = ""
    given_up: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        lists = {name: [vars(each) for each in getattr(self, name)] for name in ("actions", "findings")}
        return {**vars(self), **lists}


def add_report(kept: str, report: SyncReport) -> str:
    """Return the stored reports as JSON, with this one first.

    A report without news is left out. A repeated failure replaces the previous one, so that older reports are not
    pushed out.
    """
    before = read_reports(kept)
    if not _has_news(report, before):
        return kept
    if before and report.error and not report.actions and replace(before[0], at_ms=report.at_ms) == report:
        before = before[1:]
    reports = [report, *before][:REPORTS_KEPT]
    return json.dumps([each.as_dict() for each in reports], separators=(",", ":"))


def _has_news(report: SyncReport, before: Sequence[SyncReport]) -> bool:
    if report.events or report.actions or report.error:
        return True
    return bool(report.link or report.findings) and report.findings != known_findings(before)


def known_findings(reports: Sequence[SyncReport]) -> tuple[Finding, ...]:
    """Return the findings of the reports, newest first, back to the last sync that fetched the link."""
    found: list[Finding] = []
    for report in reports:
        found += report.findings
        if report.link:
            break
    return tuple(dict.fromkeys(found))


def read_reports(kept: str) -> list[SyncReport]:
    """Return the reports, newest first, without those that another version wrote in another format."""
    found = []
    for raw in json.loads(kept) if kept else []:
        try:
            found.append(_read(raw))
        except (KeyError, TypeError):
            continue
    return found


def _read(raw: Mapping[str, Any]) -> SyncReport:
    actions: Sequence[Mapping[str, Any]] = raw["actions"]
    return SyncReport(
        **{
            **raw,
            "actions": tuple(Action(**{**each, "fields": tuple(each["fields"])}) for each in actions),
            "findings": tuple(Finding(**each) for each in raw["findings"] if each["kind"] in get_args(FindingKind)),
        }
    )
