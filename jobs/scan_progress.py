"""How far a scan is: counted by the scan, shown by whoever watches. Plain values, no I/O."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Literal

Phase = Literal["listing", "comparing", "asking", "reporting"]


@dataclass
class ScanProgress:
    """Counters of one run, so far. Times are in milliseconds since the epoch, on the clock of Redis.

    `looked_up` are linked customers that Stripe's list lacks, `not_checked` those beyond the bound. `expected` is how
    many customers both sides had in the run before, together; 0 where that is not known. `findings` are counted while
    comparing. `trouble` is the code of what a page is being asked for again.
    """

    run: str = ""
    scope: str = ""
    started_ms: int = 0
    phase: Phase = "listing"
    autumn: int = 0
    stripe: int = 0
    payments: int = 0
    looked_up: int = 0
    not_checked: int = 0
    compared: int = 0
    findings: int = 0
    asked: int = 0
    expected: int = 0
    trouble: str = ""

    @property
    def listed(self) -> int:
        """Customers that were read, of both sides."""
        return self.autumn + self.stripe

    def as_json(self) -> str:
        """To be kept where others can read it."""
        return json.dumps(asdict(self))


def read_progress(kept: bytes | str) -> ScanProgress:
    """What `as_json` wrote, by whatever version."""
    said = json.loads(kept)
    return ScanProgress(**{each.name: said[each.name] for each in fields(ScanProgress) if each.name in said})
