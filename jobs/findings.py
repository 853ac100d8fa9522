"""What a person should know of a customer, in words that may be counted, shown and searched for."""

from dataclasses import dataclass
from typing import Literal

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
    "put-back-again-and-again",
    "refused-by-stripe",
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
