"""What the operator's page says of customers, made of what was read: sentences and rows for the templates. Pure.

The words are those of worker.picture_words, worker.story and worker.preview_story, so that page and terminal say the
same.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from jobs.customer import AUTUMN_ID, SEND_EMAIL_RECEIPTS
from jobs.dead_letters import NewestLetters
from jobs.overview import Standing
from jobs.preview import Preview
from worker.picture_words import waiting_rows
from worker.preview_story import LiveVerdict, live_verdict_of, step_text
from worker.rendering import Headline
from worker.story import Verdict, tell

KINDS = {"in-sync": "good", "waiting": "warn", "out-of-sync": "warn", "not-known": "warn", "needs-a-person": "bad"}

TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\+00:00")
INDENT = 2


@dataclass(frozen=True)
class Line:
    """A line of a story. `depth` is 0 for a fact or a heading, more for what is below it."""

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
    """The rows of worker.picture_words.waiting_rows, as a page writes times."""
    return [(customer, sent_ms, _readable(why)) for customer, sent_ms, why in waiting_rows(standings)]


def customer_headline(verdict: Verdict | LiveVerdict) -> Headline:
    """Whether a customer is right."""
    return Headline(KINDS[verdict.kind], _readable(verdict.text[:1].upper() + verdict.text[1:] + "."))


def live_headline(preview: Preview) -> Headline:
    """Whether both sides agree now."""
    return customer_headline(live_verdict_of(preview))


def story_of(standing: Standing, letters: NewestLetters) -> list[Line]:
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
    return [step_text(step) for step in preview.plan.steps]
