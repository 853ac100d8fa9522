"""Checks that are run one after the other: what one is, what it finds, and which are skipped and why.

Knows nothing of Redis, Autumn or Stripe; what is checked is in the modules that hold the checks.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

Verdict = Literal["ok", "warning", "wrong", "skipped"]
Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Found:
    """What a check found: a verdict, a sentence, and what a person can do about it."""

    verdict: Verdict
    text: str
    fix: str = ""


@dataclass(frozen=True)
class Line:
    """What one check of the given name found."""

    check: str
    found: Found


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """One small check. It is pointless, and skipped, where one of those it `needs` did not come out well."""

    name: str
    look: Callable[[Subject], Awaitable[Found]]
    needs: tuple[str, ...] = ()


@dataclass
class Checkup:
    """What was found so far, in order."""

    lines: list[Line] = field(default_factory=list)

    @property
    def is_passed(self) -> bool:
        """Whether nothing is wrong; a warning is not."""
        return all(line.found.verdict != "wrong" for line in self.lines)

    def note(self, check: str, found: Found) -> Line:
        """Add what a check found."""
        self.lines.append(Line(check, found))
        return self.lines[-1]

    async def run(
        self, checks: Sequence[Check[Subject]], subject: Subject, in_words: Callable[[Exception], Found]
    ) -> AsyncIterator[Line]:
        """Look, check by check. `in_words` is what an error of a check means; it raises those that it does not know."""
        for check in checks:
            in_the_way = self._in_the_way(check)
            try:
                found = skipped_for(in_the_way) if in_the_way else await check.look(subject)
            except Exception as error:
                found = in_words(error)
            yield self.note(check.name, found)

    def skip(self, checks: Sequence[Check[Subject]], because_of: str) -> list[Line]:
        """All of them are pointless because of a check that did not come out well."""
        return [self.note(check.name, skipped_for(because_of)) for check in checks]

    def _in_the_way(self, check: Check[Subject]) -> str:
        bad = {line.check for line in self.lines if line.found.verdict in {"wrong", "skipped"}}
        return next((name for name in check.needs if name in bad), "")


def skipped_for(check: str) -> Found:
    """What is found where another check has to come out well first."""
    return Found("skipped", f"not checked: {check} has to come out well first")
