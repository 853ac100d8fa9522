"""What a person should know of a customer, in words that may be counted, shown and searched for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

FindingKind = Literal[
    "unlinked",
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
"""What a sync leaves behind."""

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
"""What a scan finds: also what a sync would repair or never meets."""


@dataclass(frozen=True)
class Finding:
    """One thing to know. `text` names ids and fields, never a name, an address or another value of the customer."""

    kind: FindingKind
    text: str


_PATHS_NAMED: Final = 5
_PATH_MAX: Final = 100


def odd_details(paths: Sequence[str]) -> tuple[Finding, ...]:
    """Return the finding about details of Autumn's answer that do not follow its contract; nothing without `paths`."""
    if not paths:
        return ()
    more = len(paths) - _PATHS_NAMED
    named = ", ".join(path[:_PATH_MAX] for path in paths[:_PATHS_NAMED]) + (f" and {more} more" if more > 0 else "")
    return (Finding("unexpected-answer-detail", f"Autumn's answer does not follow its contract at {named}"),)
