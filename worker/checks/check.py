"""A check, its result, and the loop that runs checks in order and skips those that cannot work.

Nothing in here knows Redis, Autumn or Stripe. The checks themselves are in the other modules.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

Verdict = Literal["ok", "warning", "wrong", "skipped"]
Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Found:
    """The result of a check: a verdict, a sentence, and what a person can do."""

    verdict: Verdict
    text: str
    fix: str = ""


@dataclass(frozen=True)
class Line:
    """The name of a check and its result."""

    check: str
    found: Found


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """One small check. It is skipped if a check that it `needs` failed or was skipped."""

    name: str
    run: Callable[[Subject], Awaitable[Found]]
    needs: tuple[str, ...] = ()


@dataclass
class Checkup:
    """The results so far, in order."""

    lines: list[Line] = field(default_factory=list)

    @property
    def is_passed(self) -> bool:
        """Whether no check failed. A warning is not a failure."""
        return all(line.found.verdict != "wrong" for line in self.lines)

    def note(self, check: str, found: Found) -> Line:
        """Add a result, and return its line."""
        self.lines.append(Line(check, found))
        return self.lines[-1]

    async def run(
        self, checks: Sequence[Check[Subject]], subject: Subject, in_words: Callable[[Exception], Found]
    ) -> AsyncIterator[Line]:
        """Run the checks in order. `in_words` makes a result of a check's error, or raises an unknown error."""
        for check in checks:
            in_the_way = self._in_the_way(check)
            try:
                found = skipped_for(in_the_way) if in_the_way else await check.run(subject)
            except Exception as error:
                found = in_words(error)
            yield self.note(check.name, found)

    def skip(self, checks: Sequence[Check[Subject]], because_of: str) -> list[Line]:
        """Note all of these checks as skipped because of another check."""
        return [self.note(check.name, skipped_for(because_of)) for check in checks]

    def _in_the_way(self, check: Check[Subject]) -> str:
        bad = {line.check for line in self.lines if line.found.verdict in {"wrong", "skipped"}}
        return next((name for name in check.needs if name in bad), "")


def skipped_for(check: str) -> Found:
    """Return the result of a check that is skipped because another one must pass first."""
    return Found("skipped", f"not checked, because {check} must pass first")
