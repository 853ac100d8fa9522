"""What the operator's page says of customers, made of what was read: sentences and rows for the templates. Pure.

The words are those of worker.status.summary, worker.status.customer_text and worker.status.live_text, so that page and
terminal say the same.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from jobs.plan.customer import AUTUMN_ID, SEND_EMAIL_RECEIPTS
from jobs.queue.dead_letters import NewestLetters
from jobs.queue.status import Standing
from jobs.sync.preview import Preview
from worker.formatting import utc
from worker.status.customer_text import Verdict, tell
from worker.status.live_text import LiveVerdict, live_verdict_of
from worker.status.summary import Headline, waiting_rows
from worker.status.trends import STEP_MINUTES, Trends
from worker.web.charts import Series, columns, lines, swatch

KINDS = {"in-sync": "good", "waiting": "warn", "out-of-sync": "warn", "not-known": "warn", "needs-a-person": "bad"}

TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\+00:00")
INDENT = 2


@dataclass(frozen=True)
class Line:
    """A line of a lines. `depth` is 0 for a fact or a heading, more for what is below it."""

    text: str
    depth: int


@dataclass(frozen=True)
class Compared:
    """A value on both sides; `agrees` is None where they are not to be the same."""

    name: str
    autumn: str | None
    stripe: str | None
    agrees: bool | None


def waiting_of(standings: Iterable[Standing]) -> list[tuple[str, int, str]]:
    """The rows of worker.status.summary.waiting_rows, as a page writes times."""
    return [(customer, sent_ms, _readable(why)) for customer, sent_ms, why in waiting_rows(standings)]


def customer_headline(verdict: Verdict | LiveVerdict) -> Headline:
    """Whether a customer is right."""
    return Headline(KINDS[verdict.kind], _readable(verdict.text[:1].upper() + verdict.text[1:] + "."))


def live_headline(preview: Preview) -> Headline:
    """Whether both sides agree now."""
    return customer_headline(live_verdict_of(preview))


def customer_lines(standing: Standing, letters: NewestLetters) -> list[Line]:
    """What was asked, what was done, and what can be done, without the first line, which is the headline."""
    lines = tell(standing, letters)[1:]
    return [Line(_readable(line.strip()), (len(line) - len(line.lstrip())) // INDENT) for line in lines]


def _readable(text: str) -> str:
    """The text with its times as the rest of the page writes them."""
    return TIME.sub(r"\1 \2 UTC", text)


def comparison_of(preview: Preview) -> list[Compared]:
    """Both sides now, value by value."""
    autumn, stripe = preview.autumn, preview.stripe.linked
    flag = "true" if autumn.send_email_receipts else "false"
    shown = {} if stripe is None else stripe.metadata
    metadata = {AUTUMN_ID: autumn.id, SEND_EMAIL_RECEIPTS: flag}
    metadata |= {key: str(autumn.metadata[key]) for key in preview.metadata_keys if key in autumn.metadata}
    rows = [("Stripe customer", autumn.stripe_id, None if stripe is None else stripe.id)]
    rows += [("name", autumn.name, stripe.name if stripe else None)]
    rows += [("e-mail", autumn.email, stripe.email if stripe else None)]
    rows += [(f"metadata.{key}", value, shown.get(key)) for key, value in metadata.items()]
    return [Compared(name, one, other, _agree(one, other)) for name, one, other in rows]


def _agree(autumn: str | None, stripe: str | None) -> bool | None:
    """An empty value of Autumn's is nothing that Stripe has to have."""
    return (autumn == stripe) if autumn else None


def steps_of(preview: Preview) -> list[str]:
    """What a sync would do now."""
    return [step.describe() for step in preview.plan.steps]


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
