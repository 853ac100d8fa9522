"""Findings: observations about a customer for a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

FindingKind = Literal[
    "unlinked",
    "billed-elsewhere",
    "gone",
    "foreign",
    "ambiguous",
    "name-cut",
    "email-left-out",
    "metadata-cut",
    "metadata-left-out",
    "receipts-cannot-be-sent",
    "receipt-not-set",
    "payments-not-all-seen",
    "reapply-given-up",
    "refused-by-stripe",
    "unexpected-answer-detail",
]
"""The kinds of findings of a sync."""

DriftKind = Literal[
    FindingKind,
    "unclaimed",
    "shared",
    "orphan",
    "wrong-mode",
    "profile-drift",
    "receipts-flag-drift",
    "receipt-email-drift",
]
"""The kinds of findings of a scan, which also reports what a sync repairs or cannot see."""


@dataclass(frozen=True)
class Finding:
    """One observation. `text` names ids and fields, never a value of the customer such as a name or an address."""

    kind: FindingKind
    text: str


_PATHS_NAMED: Final = 5
_PATH_MAX: Final = 100


def odd_details(paths: Sequence[str]) -> tuple[Finding, ...]:
    """Return the finding about parts of Autumn's answer that break its contract; none if `paths` is empty."""
    if not paths:
        return ()
    more = len(paths) - _PATHS_NAMED
    named = ", ".join(path[:_PATH_MAX] for path in paths[:_PATHS_NAMED]) + (f" and {more} more" if more > 0 else "")
    return (Finding("unexpected-answer-detail", f"Autumn's answer does not follow its contract at {named}"),)
