"""How far a scan is: counted by the scan, shown by whoever watches. Plain values, no I/O."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar

Phase = Literal["listing", "comparing", "asking", "reporting"]
Kept = TypeVar("Kept", "Trouble", "ScanProgress")


@dataclass(eq=False)
class Trouble:
    """A call that fails and is tried again: the service, the code of the last error, and the tries so far.

    It is tried until `gives_up_after_tries`, or, if that is 0, for `gives_up_in_seconds` from the last failure on.
    """

    service: str = ""
    error: str = ""
    tries: int = 0
    gives_up_in_seconds: int = 0
    gives_up_after_tries: int = 0


@dataclass
class ScanProgress:
    """Counters of one run, so far. Times are in milliseconds since the epoch, on the clock of Redis.

    `expected` is how many customers both sides had in the run before, together; 0 where that is not known. `findings`
    are counted while comparing. `looked_up` are customers whose other side no list showed, `not_checked` those beyond
    the bound. `troubles` are the calls that fail now.
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
    troubles: list[Trouble] = field(default_factory=list)

    @property
    def listed(self) -> int:
        """Customers that were read, of both sides."""
        return self.autumn + self.stripe

    def as_json(self) -> str:
        """To be kept where others can read it."""
        return json.dumps(asdict(self))


def read_progress(kept: bytes | str) -> ScanProgress:
    """What `as_json` wrote, by whatever version."""
    progress = _read(ScanProgress, json.loads(kept))
    progress.troubles = [_read(Trouble, each) for each in json.loads(kept).get("troubles", [])]
    return progress


def _read(kind: type[Kept], said: Mapping[str, Any]) -> Kept:
    return kind(**{each.name: said[each.name] for each in fields(kind) if each.name in said})
