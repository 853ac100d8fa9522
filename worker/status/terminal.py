"""The snapshot as lines for a terminal of 80 columns, with the content of the operator's page.

Pure. No line may hold a name, an address or a quote of a service, so a dead letter is shown without its message.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.queue.dead_letters import DeadLetter
from jobs.scan.report import ScanRun
from worker.formatting import printable, time_text, utc
from worker.status.snapshot import WAITING_AT_MOST, Snapshot
from worker.status.summary import Headline, age_text, headline_of, reasons_of, stages_of, waiting_rows, watch_lines
from worker.status.trends import HOURS, Trends, Values, trends_of

COLOURS: Final = {"good": "bold green", "warn": "bold yellow", "bad": "bold red"}
MARK_MINUTES: Final = 10
"""The minutes of one mark. With 10, six hours fit on a line beside their name and numbers."""
MARKS: Final = "▁▂▃▄▅▆▇█"
PLAIN_MARKS: Final = "_1234567"
"""The marks for a terminal whose encoding lacks MARKS."""
LETTERS_SHOWN: Final = 5
RUNS_SHOWN: Final = 5
WATCH: Final = "watch:"
"""The beginning of the names of the watch's totals."""
HUNDRED_PERCENT: Final = 100.0


def snapshot_lines(snapshot: Snapshot, *, is_old: bool = False, is_plain: bool = False) -> Iterator[RenderableType]:
    """Yield the lines of the snapshot, the most important first.

    Set `is_old` if Redis does not answer any more. `is_plain` draws the marks in ASCII.
    """
    yield from _headline(headline_of(None if is_old else snapshot.state))
    if is_old:
        yield Text("Retrying. The last known state is below.")
    yield ""
    yield from _flow(snapshot)
    yield from (_below(Text(line)) for line in watch_lines(snapshot.state))
    yield ""
    trends = trends_of(snapshot.minutes, snapshot.rates, MARK_MINUTES)
    yield from _hours(trends, PLAIN_MARKS if is_plain else MARKS)
    yield ""
    yield from _waiting(snapshot)
    yield ""
    yield from _letters(snapshot)
    yield ""
    yield from _scans(snapshot.runs)
    yield ""
    yield from _totals(snapshot.overview.totals)
    mode = "" if snapshot.mode is None else f", {snapshot.mode} mode"
    yield Text(f"as of {time_text(snapshot.overview.now_ms)}{mode}", style="dim")


def _headline(headline: Headline) -> Iterator[RenderableType]:
    yield Text(printable(headline.text), style=COLOURS[headline.kind])
    if headline.more:
        yield Text(printable(headline.more))


def _flow(snapshot: Snapshot) -> Iterator[RenderableType]:
    table = _table("left", "right", "left")
    for stage in stages_of(snapshot.overview):
        table.add_row(stage.name.lower(), f"{stage.number:,}", stage.note)
    yield from (_title("flow of events"), _below(table))


def _hours(trends: Trends, marks: str) -> Iterator[RenderableType]:
    if not trends.begins_ms:
        yield _title(f"the last {HOURS} hours")
        yield _below(Text("No data yet. A worker adds some once a minute."))
        return
    first, last = (_clock(trends.begins_ms[end]) for end in (0, -1))
    table = _table("left", "left", "right", "right", headings=("", f"{first} to {last} UTC", "most", "last"))
    for name, values, top in (
        ("applied", trends.applied, None),
        ("dead-lettered", trends.dead_lettered, None),
        ("oldest, seconds", trends.oldest_seconds, None),
        ("Autumn, % of limit", trends.autumn_percent, HUNDRED_PERCENT),
        ("Stripe, % of limit", trends.stripe_percent, HUNDRED_PERCENT),
    ):
        known = [value for value in values if value is not None]
        if known:
            table.add_row(name, sparkline(values, marks, top), f"{max(known):,.0f}", f"{known[-1]:,.0f}")
        else:
            table.add_row(name, "not known without STRIPE_API_KEY", "-", "-")
    yield from (_title(f"the last {HOURS} hours, {MARK_MINUTES} minutes a mark"), _below(table))


def sparkline(values: Values, marks: str, top: float | None = None) -> str:
    """Return a mark for each value: the first mark for 0, the last for `top` or the maximum, a blank for None."""
    most = top or max((value or 0.0 for value in values), default=0.0)
    return "".join(" " if value is None else marks[_level(value, most, len(marks) - 1)] for value in values)


def _level(value: float, most: float, levels: int) -> int:
    return min(levels, ceil(levels * value / most)) if most else 0


def _waiting(snapshot: Snapshot) -> Iterator[RenderableType]:
    """Yield the waiting customers, grouped by reason: in an outage, all have the same."""
    together: dict[str, list[str]] = {}
    for customer, sent_ms, why in waiting_rows(snapshot.waiting):
        age = age_text(snapshot.overview.age_seconds(sent_ms) or 0.0)
        together.setdefault(why, []).append(f"{customer} ({age})")
    is_part = len(snapshot.waiting) == WAITING_AT_MOST
    yield _title("waiting customers" + (f": the {WAITING_AT_MOST} that have waited longest" if is_part else ""))
    if not together:
        yield _below(Text("None."))
    for why, customers in together.items():
        yield _below(Text(printable(", ".join(customers))))
        yield _below(Text(printable(why)), by=4)


def _letters(snapshot: Snapshot) -> Iterator[RenderableType]:
    letters, number = snapshot.letters, snapshot.overview.dead
    reasons = ", ".join(f"{printable(reason)} {count:,}" for reason, count in reasons_of(letters))
    newest = f"of the newest {len(letters):,}: " if len(letters) < number else ""
    yield _title(f"dead letters: {number:,}" + (f" ({newest}{reasons})" if letters else ""))
    if not letters:
        return
    table = _table("left", "left", "left", "left", "right", headings=("id", "at (UTC)", "customer", "reason", "tries"))
    for letter in letters[:LETTERS_SHOWN]:
        table.add_row(*_letter_cells(letter))
    yield _below(table)
    yield _below(Text("all: customer-sync dead list; one with its message: customer-sync dead show ID", style="dim"))


def _letter_cells(letter: DeadLetter) -> list[Text]:
    texts = [
        letter.id,
        _minute(letter.dead_lettered_at_ms),
        letter.customer or "-",
        letter.reason,
        str(letter.attempts),
    ]
    return [Text(printable(text)) for text in texts]


def _scans(runs: Sequence[ScanRun]) -> Iterator[RenderableType]:
    yield _title("last scans")
    if not runs:
        yield _below(Text("None yet."))
        return
    headings = ("began (UTC)", "state", "customers", "findings", "new", "fixed", "requested")
    table = _table("left", "left", *["right"] * 5, headings=headings)
    for run in runs[:RUNS_SHOWN]:
        state = run.state + (f" ({run.error})" if run.error else "") + (f", only {run.scope}" if run.scope else "")
        changed = ("-", "-") if run.changed is None else (f"{run.changed.new:,}", f"{run.changed.fixed:,}")
        counted = (f"{run.autumn_customers:,}", f"{run.findings:,}", *changed, f"{run.requested:,}")
        table.add_row(_minute(run.started_ms), Text(printable(state)), *counted)
    yield _below(table)
    yield _below(Text("all: customer-sync scan history", style="dim"))


def _totals(totals: Mapping[str, int]) -> Iterator[RenderableType]:
    """Yield the counters. Those of the watch are added up over the types of events, which the JSON and metrics have."""
    shown = {name: value for name, value in totals.items() if not name.startswith(WATCH)}
    led_to = Counter[str]()
    for name in totals.keys() - shown.keys():
        led_to[name.rpartition(":")[2]] += totals[name]
    for heading, counted in (("totals since the beginning", shown), ("events of Stripe, by what they led to", led_to)):
        if counted:
            values = ", ".join(f"{name} {value:,}" for name, value in sorted(counted.items()))
            yield Text(f"{heading}: {values}", style="dim")


def _title(text: str) -> Text:
    return Text(text, style="bold")


def _below(what: RenderableType, *, by: int = 2) -> Padding:
    return Padding(what, (0, 0, 0, by), expand=False)


def _table(*sides: str, headings: Sequence[str] = ()) -> Table:
    table = Table(box=None, show_header=bool(headings), pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place, side in enumerate(sides):
        justify = "right" if side == "right" else "left"
        table.add_column(headings[place] if headings else "", justify=justify, overflow="fold")  # type: ignore[arg-type]
    return table


def _clock(milliseconds: int) -> str:
    return utc(milliseconds).strftime("%H:%M")


def _minute(milliseconds: int) -> str:
    return time_text(milliseconds)[:16].replace("T", " ")
