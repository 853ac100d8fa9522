"""What a scan found, as it is shown on a terminal, in a file or on a page. Plain values, no I/O.

Findings hold both sides' values, which are personal data: for people of the team, never for a log.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from jobs.plan.findings import DriftKind

RunState = Literal["running", "done", "refused", "failed"]
"""`refused`: it would have changed too many customers, so that none was asked for."""


@dataclass(frozen=True)
class ScanFinding:
    """One thing that is not as it should be.

    `customer` is the id in Autumn; for an orphan, the `metadata.autumn_id` that Autumn does not know. `field` is the
    one that differs, as `email` or `metadata.plan`, or empty. `autumn` and `stripe` are the two values, None where
    that side has none. `would` says what a sync would do; where a sync would change nothing, `is_repairable` is False.
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
    """The difference to the run before it: findings that are new, fixed, and still there."""

    new: int
    fixed: int
    still_there: int


@dataclass(frozen=True)
class ScanRun:
    """One run as it is kept: when (milliseconds since the epoch), over how many customers, and what it came to.

    `scope` says what it was bounded to, empty for all customers and all kinds. `totals` are findings by kind.
    `repairable` customers would be changed by a sync. `requested` is how many syncs were requested. `left_out` had
    changes waiting or were synced meanwhile. `looked_up` are customers that a list lacks, such as linked ones of test
    clocks. `not_checked` customers have such a link, and there were too many to look all up. `changed` is None if
    there is no run to compare with. `error` is the code of a failed run, `text` a sentence about a failed or refused
    one.
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
        """How many there are altogether."""
        return sum(self.totals.values())


@dataclass(frozen=True)
class ScanReport:
    """A run that came to its end, its findings, and the runs before it, the newest first.

    `findings` are ordered by kind and customer, may be gone through several times, and are read from disk each time:
    there may be very many. They are gone when the scan is over.
    """

    this_run: ScanRun
    findings: Iterable[ScanFinding]
    before: tuple[ScanRun, ...] = ()
