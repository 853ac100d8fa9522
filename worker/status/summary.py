"""What everything comes to, in words and rows: the operator's page and `customer-sync status` say the same. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobs.queue.dead_letters import DeadLetter, NewestLetters
from jobs.queue.status import Overview, Standing
from worker.status.breaker_text import breaker_text
from worker.status.customer_text import plural, verdict_of
from worker.status.health import why_a_person_should_look, why_redis_refuses_writes
from worker.status.shared_state import SharedState


@dataclass(frozen=True)
class Headline:
    """What a page says first: `kind` is `good`, `warn` or `bad`; `more` follows in smaller letters."""

    kind: str
    text: str
    more: str = ""


COMMAND = "`customer-sync"
BREAKER_ALERTS = {"CustomerSyncHalted", "CustomerSyncOutage"}
"""The alerts that are about an open circuit breaker themselves."""


@dataclass(frozen=True)
class Station:
    """A place that events come through, with how many there are."""

    name: str
    number: int
    note: str


def headline_of(state: SharedState | None) -> Headline:
    """Whether everything is all right, in one sentence; None is a state that Redis does not tell."""
    told = [*why_redis_refuses_writes(state), *why_a_person_should_look(state)]
    reasons = [_without_command(reason.text) for reason in told]
    breaker = None if state is None else state.overview.breaker
    outage = ""
    if breaker is not None and BREAKER_ALERTS.isdisjoint(reason.alert for reason in told):
        outage = breaker_text(breaker)
    if reasons or state is None:
        texts = [*reasons[1:], outage] if breaker is None else [breaker.message, *reasons[1:], outage]
        return Headline("bad", sentence(reasons[0]), " ".join(sentence(text) for text in texts if text))
    if outage:
        return Headline("warn", outage)
    overview = state.overview
    applied = overview.age_seconds(overview.last_success_ms)
    since = "" if applied is None else f" A change was last applied {age_text(applied)} ago."
    waiting = overview.waiting + overview.working
    return Headline("good", "Everything is all right.", f"{plural(waiting, 'customer')} being brought in sync.{since}")


def sentence(text: str) -> str:
    """The text with a capital letter at its begin and a full stop at its end."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def _without_command(reason: str) -> str:
    """A reason without the command that shows more: it stands above what that shows."""
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
        (each.customer, int(each.oldest_entry.split("-")[0]), verdict_of(each, NewestLetters()).text)
        for each in standings
        if each.oldest_entry is not None
    ]


def reasons_of(letters: Sequence[DeadLetter]) -> list[tuple[str, int]]:
    """How many letters there are of each reason, the most first."""
    return Counter(letter.reason for letter in letters).most_common()
