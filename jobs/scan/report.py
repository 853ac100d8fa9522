"""The result of a scan, for the terminal, a file or a page. Plain values, no I/O.

A finding holds the values of both sides, which are personal data: never log it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from jobs.plan.findings import DriftKind

RunState = Literal["running", "done", "refused", "failed"]
"""`refused`: too many customers would change, so no reconcile was requested."""
INFORMATION: Final[frozenset[DriftKind]] = frozenset({"billed-elsewhere"})
"""The kinds of findings that are no drift: they need neither a sync nor a person."""


@dataclass(frozen=True)
class ScanFinding:
    """One difference or problem of one customer.

    - `customer`: the id in Autumn; for an orphan, the `metadata.autumn_id` that Autumn does not know.
    - `field`: the field that differs, such as `email` or `metadata.plan`; it may be empty.
    - `autumn`, `stripe`: the two values; None if that side has none.
    - `would`: the writes of a sync, in words.
    - `is_repairable`: False if a sync would change nothing.
    """

    customer: str
    kind: DriftKind
    stripe_ids: tuple[str, ...]
    field: str
    autumn: str | None
    stripe: str | None
    reason: str
    would: str
    is_repairable: bool


@dataclass(frozen=True)
class Changed:
    """The difference from the run before: findings that are new, fixed, and still there."""

    new: int
    fixed: int
    still_there: int


@dataclass(frozen=True)
class ScanRun:
    """One run, as the history stores it. Times are in milliseconds since the epoch.

    - `totals`: findings by kind.
    - `scope`: the limits of the run in words; empty for all customers and all kinds.
    - `repairable`: customers that a sync would change.
    - `requested`: requested reconciles.
    - `left_out`: customers with findings that had events waiting or were synced during the run.
    - `looked_up`: customers that a list lacks and that were fetched one by one, such as those of test clocks.
    - `not_checked`: customers whose linked customer the list lacks and that were not looked up: there were too many.
    - `changed`: None if there is no run to compare with.
    - `error`: the code of a failed run.
    - `text`: a sentence about a failed or refused run.
    """

    run: str
    state: RunState
    started_ms: int
    ended_ms: int
    autumn_customers: int
    stripe_customers: int
    totals: Mapping[str, int] = field(default_factory=dict)
    scope: str = ""
    repairable: int = 0
    requested: int = 0
    left_out: int = 0
    looked_up: int = 0
    not_checked: int = 0
    changed: Changed | None = None
    error: str = ""
    text: str = ""

    @property
    def findings(self) -> int:
        """The number of all findings."""
        return sum(self.totals.values())

    @property
    def drift(self) -> int:
        """The number of findings that are not only information."""
        return sum(number for kind, number in self.totals.items() if kind not in INFORMATION)


@dataclass(frozen=True)
class ScanReport:
    """A finished run, its findings, and the runs before it, the newest first.

    `findings` are ordered by kind and customer. Each iteration reads them from the spool, because there may be very
    many. They exist until the block of `scanning` ends.
    """

    this_run: ScanRun
    findings: Iterable[ScanFinding]
    before: tuple[ScanRun, ...] = ()
