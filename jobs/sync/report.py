"""What a sync found and did, in order: kept with the customer's record for whoever asks. Plain values, no I/O.

Holds ids and names of fields, never a name, an address or another value of a customer.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, get_args

from jobs.plan.findings import Finding, FindingKind

REPORTS_KEPT: Final = 3
"""Of a customer: enough for "what happened last", little enough for a million customers."""

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
    """One write: when (milliseconds since the epoch), what, to which id, and the names of the fields written."""

    at_ms: int
    kind: ActionKind
    id: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class SyncReport:
    """One sync of so many waiting `events`.

    `found` is the link as it was before, empty where a change named the new one at once; `link` as it was left, empty
    where it was not looked at. `given_up` counts the events that became dead letters, by reason. `error` is the code of
    a failed sync.
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
        """For JSON."""
        return asdict(self)


def add_report(kept: str, report: SyncReport) -> str:
    """The customer's reports as they are stored, with this one the newest.

    One that tells nothing new is left out. A failure that repeats takes the place of the one before it, so that what
    was done before is still told.
    """
    before = read_reports(kept)
    if not _tells_something(report, before):
        return kept
    if before and report.error and not report.actions and replace(before[0], at_ms=report.at_ms) == report:
        before = before[1:]
    reports = [report, *before][:REPORTS_KEPT]
    return json.dumps([each.as_dict() for each in reports], separators=(",", ":"))


def _tells_something(report: SyncReport, before: Sequence[SyncReport]) -> bool:
    if report.events or report.actions or report.error:
        return True
    return bool(report.link or report.findings) and report.findings != known_findings(before)


def known_findings(reports: Sequence[SyncReport]) -> tuple[Finding, ...]:
    """What is known of a customer by its reports, the newest first: back to the last sync that looked at the link."""
    found: list[Finding] = []
    for report in reports:
        found += report.findings
        if report.link:
            break
    return tuple(dict.fromkeys(found))


def read_reports(kept: str) -> list[SyncReport]:
    """The reports, the newest first; those that another version wrote in another form are left out."""
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
