"""The charts of the operator's page: the numbers of the last hours as drawings, and as tables beside them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from worker.charts import Series, columns, lines, swatch
from worker.moments import utc
from worker.trends import STEP_MINUTES, Trends


@dataclass(frozen=True)
class Chart:
    """One chart, and the same numbers as a table: a heading, and rows of the time with a value for each series."""

    id: str
    title: str
    drawing: Markup
    names: Sequence[tuple[Markup, str]]
    rows: Sequence[tuple[str, Sequence[str]]]


def charts_of(trends: Trends) -> list[Chart]:
    """The charts of the last hours."""
    labels = [utc(begin_ms).strftime("%H:%M") for begin_ms in trends.begins_ms]
    ends = [Series("applied", trends.applied), Series("given up", trends.given_up)]
    ages = [Series("seconds", trends.oldest_seconds)]
    calls = [Series("Autumn's updates", trends.autumn_percent), Series("Stripe's requests", trends.stripe_percent)]
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
