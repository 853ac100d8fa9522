"""The history of the last hours, added up in steps for charts. Pure."""

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
    """The last hours in steps, the oldest first: a value for each step, None if there is no data.

    `begins_ms` are the starts of the steps, in milliseconds since the epoch. `applied` and `dead_lettered` count
    events. `oldest_seconds` is the highest age of the oldest waiting change. `autumn_percent` and `stripe_percent` are
    the requests of the busiest minute in percent of the rate limit, None if that limit is not known.
    """

    begins_ms: Sequence[int]
    applied: Values
    dead_lettered: Values
    oldest_seconds: Values
    autumn_percent: Values
    stripe_percent: Values


def trends_of(minutes: Sequence[Minute], rates: Mapping[str, float | None], step_minutes: int = STEP_MINUTES) -> Trends:
    """Return the trends. `rates` are the rate limits in requests a second, by name, None if not known."""
    steps = _steps(minutes, step_minutes)
    return Trends(
        begins_ms=[step * step_minutes * MINUTE_MS for step in steps],
        applied=_each(steps, _grown("applied")),
        dead_lettered=_each(steps, _grown("dead")),
        oldest_seconds=_each(steps, lambda step: max(minute.oldest_seconds for minute in step)),
        autumn_percent=_each(steps, _used(AUTUMN_UPDATES, rates[AUTUMN_UPDATES])),
        stripe_percent=_each(steps, _used(STRIPE, rates[STRIPE])),
    )


def _steps(minutes: Sequence[Minute], step_minutes: int) -> dict[int, list[Minute]]:
    """Return the minutes by step. A step without data is empty."""
    if not minutes:
        return {}
    numbers = [minute.number // step_minutes for minute in minutes]
    steps: dict[int, list[Minute]] = {step: [] for step in range(numbers[0], numbers[-1] + 1)}
    for minute, step in zip(minutes, numbers, strict=True):
        steps[step].append(minute)
    return steps


def _each(steps: Mapping[int, list[Minute]], value: Callable[[list[Minute]], float | None]) -> Values:
    """Return the value of each step, computed from its minutes and the last minute of the step before."""
    values: list[float | None] = []
    before: list[Minute] = []
    for step in steps.values():
        values.append(value([*before, *step]) if step else None)
        before = step[-1:]
    return values


def _grown(name: str) -> Callable[[list[Minute]], float]:
    """Return a function for the growth of a counter in a step. A counter that Redis lost starts again at 0."""
    return lambda step: max(0, step[-1].totals[name] - step[0].totals[name])


def _used(limit: str, per_second: float | None) -> Callable[[list[Minute]], float | None]:
    """Return a function for the requests of the busiest minute of a step, in percent of the rate limit."""
    if per_second is None:
        return lambda _: None
    full = per_second * MINUTE_MS / 1000
    return lambda step: 100.0 * max(minute.calls.get(limit, 0) for minute in step) / full
