"""The last hours as numbers: what the minutes that were noted come to, step by step, for whoever draws them. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobs.rate_limit import AUTUMN_UPDATES, STRIPE
from worker.status.history import MINUTE_MS, Minute

HOURS: Final = 6
STEP_MINUTES: Final = 5
Values = Sequence[float | None]


@dataclass(frozen=True)
class Trends:
    """The last hours in steps, the oldest first: a value for each step, None where nobody noted it.

    `begins_ms` is when each step begins, in milliseconds since the epoch. `applied` and `given_up` are events of a
    step, `oldest_seconds` the greatest age of the oldest change that waited. `autumn_percent` and `stripe_percent` are
    the calls of the busiest minute against what their limit lets through in one; None, too, where that is not known.
    """

    begins_ms: Sequence[int]
    applied: Values
    given_up: Values
    oldest_seconds: Values
    autumn_percent: Values
    stripe_percent: Values


def trends_of(minutes: Sequence[Minute], rates: Mapping[str, float | None], step_minutes: int = STEP_MINUTES) -> Trends:
    """What was noted; `rates` are the calls a second that each limit lets through, by its name, None if not known."""
    steps = _steps(minutes, step_minutes)
    return Trends(
        begins_ms=[step * step_minutes * MINUTE_MS for step in steps],
        applied=_each(steps, _grown("applied")),
        given_up=_each(steps, _grown("dead")),
        oldest_seconds=_each(steps, lambda step: max(minute.oldest_seconds for minute in step)),
        autumn_percent=_each(steps, _used(AUTUMN_UPDATES, rates[AUTUMN_UPDATES])),
        stripe_percent=_each(steps, _used(STRIPE, rates[STRIPE])),
    )


def _steps(minutes: Sequence[Minute], step_minutes: int) -> dict[int, list[Minute]]:
    """The minutes by steps; a step that nobody noted is empty."""
    if not minutes:
        return {}
    numbers = [minute.number // step_minutes for minute in minutes]
    steps: dict[int, list[Minute]] = {step: [] for step in range(numbers[0], numbers[-1] + 1)}
    for minute, step in zip(minutes, numbers, strict=True):
        steps[step].append(minute)
    return steps


def _each(steps: Mapping[int, list[Minute]], value: Callable[[list[Minute]], float | None]) -> Values:
    """The value of each step, which begins with the last minute of the one before."""
    values: list[float | None] = []
    before: list[Minute] = []
    for step in steps.values():
        values.append(value([*before, *step]) if step else None)
        before = step[-1:]
    return values


def _grown(name: str) -> Callable[[list[Minute]], float]:
    """By how much a counter grew; one that was lost with its Redis begins anew."""
    return lambda step: max(0, step[-1].totals[name] - step[0].totals[name])


def _used(limit: str, per_second: float | None) -> Callable[[list[Minute]], float | None]:
    """The busiest minute's calls, in percent of what the limit lets through in a minute."""
    if per_second is None:
        return lambda _: None
    full = per_second * MINUTE_MS / 1000
    return lambda step: 100.0 * max(minute.calls.get(limit, 0) for minute in step) / full
