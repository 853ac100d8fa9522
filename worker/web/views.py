"""The texts and rows of the operator's page, made from the state that was read. Pure.

The texts come from worker.status.summary, worker.status.customer_text and worker.status.live_text, so that the page and
the terminal show the same.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from jobs.plan.customer import AUTUMN_ID, SEND_EMAIL_RECEIPTS
from jobs.plan.profile import metadata_text
from jobs.queue.dead_letters import NewestLetters
from jobs.queue.status import Standing
from jobs.sync.preview import Preview
from worker.formatting import utc
from worker.status.customer_text import Verdict, standing_lines
from worker.status.live_text import LiveVerdict, live_verdict_of
from worker.status.summary import Headline, sentence, waiting_rows
from worker.status.trends import STEP_MINUTES, Trends
from worker.web.charts import Series, columns, lines, swatch

KINDS = {"in-sync": "good", "waiting": "warn", "out-of-sync": "warn", "not-known": "warn", "needs-a-person": "bad"}

TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\+00:00")
INDENT = 2


@dataclass(frozen=True)
class Line:
    """A line of a customer's history. `depth` is 0 for a fact or a heading, and more for the lines below it."""

    text: str
    depth: int


@dataclass(frozen=True)
class Compared:
    """A value on both sides. `agrees` is None if they need not be equal."""

    name: str
    autumn: str | None
    stripe: str | None
    agrees: bool | None


def waiting_of(standings: Iterable[Standing]) -> list[tuple[str, int, str]]:
    """Return the rows of worker.status.summary.waiting_rows, with times in the page's format."""
    return [(customer, sent_ms, _readable(why)) for customer, sent_ms, why in waiting_rows(standings)]


def customer_headline(verdict: Verdict | LiveVerdict) -> Headline:
    """Return the headline of a customer's state."""
    return Headline(KINDS[verdict.kind], _readable(sentence(verdict.text)))


def live_headline(preview: Preview) -> Headline:
    """Return the headline of the comparison of both sides now."""
    return customer_headline(live_verdict_of(preview))


def customer_lines(standing: Standing, letters: NewestLetters) -> list[Line]:
    """Return the history of a customer and what to do, without the first line, which is the headline."""
    lines = standing_lines(standing, letters)[1:]
    return [Line(_readable(line.strip()), (len(line) - len(line.lstrip())) // INDENT) for line in lines]


def _readable(text: str) -> str:
    """Return the text with its times in the page's format."""
    return TIME.sub(r"\1 \2 UTC", text)


def comparison_of(preview: Preview) -> list[Compared]:
    """Return the values of both sides now."""
    autumn, stripe = preview.autumn, preview.stripe.linked
    flag = "true" if autumn.send_email_receipts else "false"
    shown = {} if stripe is None else stripe.metadata
    metadata = {AUTUMN_ID: autumn.id, SEND_EMAIL_RECEIPTS: flag}
    metadata |= {key: metadata_text(autumn.metadata[key]) for key in preview.metadata_keys if key in autumn.metadata}
    rows = [("Stripe customer", autumn.stripe_id, None if stripe is None else stripe.id)]
    rows += [("name", autumn.name, stripe.name if stripe else None)]
    rows += [("e-mail", autumn.email, stripe.email if stripe else None)]
    rows += [(f"metadata.{key}", value, shown.get(key)) for key, value in metadata.items()]
    return [Compared(name, one, other, _agree(one, other)) for name, one, other in rows]


def _agree(autumn: str | None, stripe: str | None) -> bool | None:
    """Return whether both values are equal, or None if Autumn's is empty, because Stripe may then have any value."""
    return (autumn == stripe) if autumn else None


def steps_of(preview: Preview) -> list[str]:
    """Return the steps that a sync would take now."""
    return [step.describe() for step in preview.plan.steps]


@dataclass(frozen=True)
class Chart:
    """A chart, and the same numbers as a table: the names of the series, and rows of a time and values."""

    id: str
    title: str
    drawing: Markup
    names: Sequence[tuple[Markup, str]]
    rows: Sequence[tuple[str, Sequence[str]]]


def charts_of(trends: Trends) -> list[Chart]:
    """Return the charts of the last hours."""
    labels = [utc(begin_ms).strftime("%H:%M") for begin_ms in trends.begins_ms]
    ends = [Series("applied", trends.applied), Series("dead-lettered", trends.dead_lettered)]
    ages = [Series("seconds", trends.oldest_seconds)]
    calls = [Series("Autumn updates", trends.autumn_percent), Series("Stripe requests", trends.stripe_percent)]
    return [
        _chart("events", f"Events per {STEP_MINUTES} minutes", columns(labels, ends), labels, ends),
        _chart("oldest", "Age of the oldest waiting event, in seconds", lines(labels, ages), labels, ages),
        _chart("calls", "Calls in percent of their limit", lines(labels, calls, top=100.0), labels, calls),
    ]


def _chart(chart_id: str, title: str, drawing: Markup, labels: Sequence[str], series: Sequence[Series]) -> Chart:
    names = [(swatch(number), each.name) for number, each in enumerate(series)]
    rows = [(label, [_text(each.values[place]) for each in series]) for place, label in enumerate(labels)]
    return Chart(chart_id, title, drawing, names, rows[::-1])


def _text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"
