"""What a sync found and did, in order: kept with the customer's record for whoever asks. Plain values, no I/O.

Holds ids and names of fields, never a name, an address or another value of a customer.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from jobs.findings import Finding, FindingKind

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
    """One sync. `found` is the link as it was before, `link` as it was left, `error` the code of a failed one."""

    at_ms: int
    events: int
    found: str
    link: str
    stripe_id: str
    actions: tuple[Action, ...] = ()
    findings: tuple[Finding, ...] = ()
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def add_report(kept: str, report: SyncReport) -> str:
    """The customer's reports as they are stored, with this one the newest."""
    reports = [report, *read_reports(kept)][:REPORTS_KEPT]
    return json.dumps([each.as_dict() for each in reports], separators=(",", ":"))


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
