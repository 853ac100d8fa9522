"""What the operator's page says, made of what was read: sentences and rows for the templates. Pure.

The words about a customer are those of worker.story and worker.preview_story, so that page and terminal say the same.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobs.customer import AUTUMN_ID, SEND_EMAIL_RECEIPTS
from jobs.dead_letters import DeadLetter, NewestLetters
from jobs.overview import Overview, Standing
from jobs.preview import Preview
from worker.health import why_a_person_should_look
from worker.preview_story import LiveVerdict, live_verdict_of, step_text
from worker.rendering import Headline
from worker.shared_state import SharedState
from worker.story import Verdict, plural, tell, verdict_of

KINDS = {"in-sync": "good", "waiting": "warn", "out-of-sync": "warn", "not-known": "warn", "needs-a-person": "bad"}

TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)\+00:00")
COMMAND = "`customer-sync"
INDENT = 2


@dataclass(frozen=True)
class Station:
    """A place that events come through, with how many there are."""

    name: str
    number: int
    note: str


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


def headline_of(state: SharedState) -> Headline:
    """Whether everything is all right, in one sentence."""
    overview = state.overview
    reasons = [_on_a_page(reason.text) for reason in why_a_person_should_look(state)]
    if reasons:
        first, *others = [text[:1].upper() + text[1:] + "." for text in reasons]
        message = overview.line.message if overview.line is not None else ""
        return Headline("bad", first, " ".join(filter(None, [message, *others])))
    if overview.line is not None:
        return Headline("warn", f"{overview.line.service.capitalize()} fails, and is tried by itself until it is back.")
    applied = overview.age_seconds(overview.last_success_ms)
    since = "" if applied is None else f"A change was last applied {age_text(applied)} ago."
    waiting = overview.waiting + overview.working
    return Headline("good", "Everything is all right.", f"{plural(waiting, 'customer')} being brought in sync. {since}")


def _on_a_page(reason: str) -> str:
    """A reason without the command that shows more: the page shows it."""
    what, _, hint = reason.partition("; ")
    return what if COMMAND in hint else reason


def age_text(seconds: float) -> str:
    """A time in a unit of which there are some."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return plural(round(seconds), "second")


def stations_of(overview: Overview) -> list[Station]:
    """The way of the data, with live numbers."""
    oldest = overview.age_seconds(overview.oldest_sent_ms)
    totals = overview.totals
    return [
        Station("Inbox", overview.inbox, "events not yet taken in"),
        Station(
            "Waiting", overview.waiting, "customers" if oldest is None else f"oldest change {age_text(oldest)} old"
        ),
        Station("Being synced", overview.working, "customers"),
        Station("Applied", totals.get("applied", 0), f"events, {totals.get('merged', 0):,} merged into others"),
        Station("Given up", overview.dead, "dead letters"),
    ]


def waiting_rows(standings: Iterable[Standing]) -> list[tuple[str, int, str]]:
    """The customers that wait, each with when its oldest change was sent, in milliseconds, and why it waits."""
    return [
        (each.customer, int(each.oldest_entry.split("-")[0]), _readable(verdict_of(each, NewestLetters()).text))
        for each in standings
        if each.oldest_entry is not None
    ]


def reasons_of(letters: Sequence[DeadLetter]) -> list[tuple[str, int]]:
    """How many letters there are of each reason, the most first."""
    return Counter(letter.reason for letter in letters).most_common()


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
