"""The charts of the operator's page: the minutes of the last hours as numbers, and the numbers as drawings. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup

from jobs.history import MINUTE_MS, Minute
from worker.charts import Series, columns, lines, swatch

HOURS: Final = 6
STEP_MINUTES: Final = 5
MINUTE_SECONDS: Final = 60
AUTUMN, STRIPE = "autumn-updates", "stripe"


@dataclass(frozen=True)
class Chart:
    """One chart, and the same numbers as a table: a heading, and rows of the time with a value for each series."""

    id: str
    title: str
    drawing: Markup
    names: Sequence[tuple[Markup, str]]
    rows: Sequence[tuple[str, Sequence[str]]]


def charts_of(minutes: Sequence[Minute], rates: Mapping[str, float]) -> list[Chart]:
    """The charts of what was noted; `rates` are the calls a second that each limit lets through, by its name."""
    steps = _steps(minutes)
    labels = [datetime.fromtimestamp(step * STEP_MINUTES * 60, UTC).strftime("%H:%M") for step in steps]
    ends = [
        Series("applied", _each(steps, _grown("applied"))),
        Series("given up", _each(steps, _grown("dead"))),
    ]
    ages = [Series("seconds", _each(steps, lambda step: max(minute.oldest_seconds for minute in step)))]
    calls = [
        Series("Autumn's updates", _each(steps, _used(AUTUMN, rates[AUTUMN]))),
        Series("Stripe's requests", _each(steps, _used(STRIPE, rates[STRIPE]))),
    ]
    return [
        _chart("events", f"Events in {STEP_MINUTES} minutes", columns(labels, ends), labels, ends),
        _chart("oldest", "Age of the oldest change that waits, in seconds", lines(labels, ages), labels, ages),
        _chart("calls", "Calls in percent of their limit", lines(labels, calls, top=100.0), labels, calls),
    ]


def _chart(chart_id: str, title: str, drawing: Markup, labels: Sequence[str], series: Sequence[Series]) -> Chart:
    names = [(swatch(number), each.name) for number, each in enumerate(series)]
    rows = [(label, [_text(each.values[place]) for each in series]) for place, label in enumerate(labels)]
    return Chart(chart_id, title, drawing, names, rows[::-1])


def _text(value: float | None) -> str:
    return "not known" if value is None else f"{value:,.0f}"


def _steps(minutes: Sequence[Minute]) -> dict[int, list[Minute]]:
    """The minutes by steps; a step that nobody noted is empty. Each begins with the last minute of the one before."""
    if not minutes:
        return {}
    numbers = [minute.number // STEP_MINUTES for minute in minutes]
    steps: dict[int, list[Minute]] = {step: [] for step in range(numbers[0], numbers[-1] + 1)}
    for minute, step in zip(minutes, numbers, strict=True):
        steps[step].append(minute)
    return steps


def _each(steps: Mapping[int, list[Minute]], value: Callable[[list[Minute]], float]) -> list[float | None]:
    values: list[float | None] = []
    before: list[Minute] = []
    for step in steps.values():
        values.append(value([*before, *step]) if step else None)
        before = step[-1:]
    return values


def _grown(name: str) -> Callable[[list[Minute]], float]:
    """By how much a counter grew; one that was lost with its Redis begins anew."""
    return lambda step: max(0, step[-1].totals[name] - step[0].totals[name])


def _used(limit: str, per_second: float) -> Callable[[list[Minute]], float]:
    """The busiest minute's calls, in percent of what the limit lets through in a minute."""
    full = per_second * MINUTE_MS / 1000
    return lambda step: 100.0 * max(minute.calls.get(limit, 0) for minute in step) / full
