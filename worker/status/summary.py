"""The texts and rows that the operator's page and `customer-sync status` share. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from jobs.queue.dead_letters import DeadLetter, NewestLetters
from jobs.queue.status import Overview, Standing
from jobs.queue.watch.state import NO_PERMISSION, OFF_BY_SETTING
from worker.formatting import printable, short_time
from worker.status.breaker_text import breaker_text
from worker.status.customer_text import plural, verdict_of
from worker.status.health import why_not_ready, why_redis_refuses_writes
from worker.status.shared_state import SharedState


@dataclass(frozen=True)
class Headline:
    """The first line of a page: `kind` is `good`, `warn` or `bad`; `more` follows in smaller letters."""

    kind: str
    text: str
    more: str = ""


COMMAND = "`customer-sync"
BREAKER_ALERTS = {"CustomerSyncHalted", "CustomerSyncOutage"}
"""The alerts about an open circuit breaker."""
OFF: Final = {
    NO_PERMISSION: "STRIPE_API_KEY lacks the permission Events: read",
    OFF_BY_SETTING: "STRIPE_EVENTS_POLL_SECONDS is 0, so only webhooks are received",
}
"""Why the watch is off, by the reason that it noted. The sync goes on."""


@dataclass(frozen=True)
class Stage:
    """A stage of the flow of events, with the number of events or customers in it."""

    name: str
    number: int
    note: str


def headline_of(state: SharedState | None) -> Headline:
    """Return the verdict on the deployment in one sentence. `state` is None if Redis does not answer."""
    problems = [*why_redis_refuses_writes(state), *why_not_ready(state)]
    reasons = [_without_command(problem.text) for problem in problems]
    breaker = None if state is None else state.overview.breaker
    outage = ""
    if breaker is not None and BREAKER_ALERTS.isdisjoint(problem.alert for problem in problems):
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
    """Return a text with a capital letter at its start and a full stop at its end."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def _without_command(reason: str) -> str:
    """Return a reason without the command for details, because the same page shows the details."""
    what, _, hint = reason.partition("; ")
    return what if COMMAND in hint else reason


def age_text(seconds: float) -> str:
    """Return a duration in the largest unit of which it has at least two."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return plural(round(seconds), "second")


def stages_of(overview: Overview) -> list[Stage]:
    """Return the flow of events, with current numbers."""
    oldest = overview.age_seconds(overview.oldest_sent_ms)
    totals = overview.totals
    return [
        Stage("Inbox", overview.inbox, "events not yet in a mailbox"),
        Stage("Waiting", overview.waiting, "customers" if oldest is None else f"oldest event {age_text(oldest)} old"),
        Stage("Being synced", overview.working, "customers"),
        Stage("Applied", totals.get("applied", 0), f"events, {totals.get('merged', 0):,} merged into others"),
        Stage("Dead letters", overview.dead, "events"),
    ]


def waiting_rows(standings: Iterable[Standing]) -> list[tuple[str, int, str]]:
    """Return the waiting customers, each with the time of its oldest event in milliseconds, and why it waits."""
    return [
        (each.customer, int(each.oldest_entry.split("-")[0]), verdict_of(each, NewestLetters()).text)
        for each in standings
        if each.oldest_entry is not None
    ]


def reasons_of(letters: Sequence[DeadLetter]) -> list[tuple[str, int]]:
    """Return the number of dead letters for each reason, the most frequent first."""
    return Counter(letter.reason for letter in letters).most_common()


def watch_lines(state: SharedState) -> Iterator[str]:
    """Yield the state of the watch, its last error, and the number of deferred reconciles."""
    watch, now_ms = state.watch, state.overview.now_ms
    yield f"Stripe's events: {_reads_text(state)}"
    if watch.error and not watch.off:
        since = "" if watch.error_since_ms is None else f" since {short_time(watch.error_since_ms)}"
        polled = "" if watch.polled_ms is None else f", the last complete one {_age(now_ms, watch.polled_ms)} ago"
        yield printable(f"Polls have failed{since} ({watch.error}){polled}.")
    if watch.deferred:
        verb = "waits" if watch.deferred == 1 else "wait"
        yield f"{plural(watch.deferred, 'customer')} {verb} for a deferred reconcile, after an edit in Stripe."
    if watch.backlog:
        verb = "waits" if watch.backlog == 1 else "wait"
        yield f"{plural(watch.backlog, 'customer')} {verb} for a reconcile until fewer events wait."


def _reads_text(state: SharedState) -> str:
    watch, now_ms = state.watch, state.overview.now_ms
    if watch.off:
        return printable(f"off: {OFF.get(watch.off, watch.off)}")
    if watch.position_ms is None and not state.watch_behind_seconds:
        return "not read yet"
    if state.watch_behind_seconds or watch.position_ms is None:
        return f"behind by {age_text(state.watch_behind_seconds)}"
    return f"read up to {_age(now_ms, watch.position_ms)} ago"


def _age(now_ms: int, then_ms: int) -> str:
    return age_text(max(0, now_ms - then_ms) / 1000)
