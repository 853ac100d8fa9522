"""The demo's output: a live view in a terminal or plain lines elsewhere, and tables of numbers at the end.

It only formats the values that it is given. It knows nothing of Redis, the simulators or the worker.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sandbox.demo.world import APPLIED

LINE_EVERY_SECONDS: Final = 2.0
WIDEST: Final = 100
RECENT: Final = 8
"""The number of outcomes that are shown."""


@dataclass(frozen=True)
class Outcome:
    """One entry's customer, description and outcome: `APPLIED` or the reason of its dead letter."""

    customer_id: str
    about: str
    outcome: str


@dataclass(frozen=True)
class Calls:
    """The number of calls to one service, in total and in the last second."""

    total: int
    last_second: int


@dataclass(frozen=True)
class Moment:
    """All numbers to show at one moment."""

    seconds: float
    planned: int
    sent: int
    ended: int
    totals: Mapping[str, int]
    waiting: int
    working: int
    autumn: Calls
    stripe: Calls
    recent: Sequence[Outcome]


class View:
    """Shows each moment: redrawn in place in a terminal, otherwise as a line every few seconds."""

    def __init__(self, console: Console) -> None:
        """Prepare the view; it draws nothing before the first moment."""
        self._console = console
        can_draw = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True) if can_draw else None
        self._next_line_seconds = 0.0

    def shown(self) -> AbstractContextManager[object]:
        """Return the block in which moments are shown; the live view is erased at its end."""
        return self._live if self._live is not None else nullcontext()

    def show(self, moment: Moment) -> None:
        """Show a moment."""
        if self._live is not None:
            self._live.update(draw(moment), refresh=True)
        elif moment.seconds >= self._next_line_seconds:
            self._next_line_seconds = moment.seconds + LINE_EVERY_SECONDS
            self._console.print(format_line(moment), highlight=False, soft_wrap=True)


def format_line(moment: Moment) -> str:
    """Return a moment as one line."""
    totals = moment.totals
    return (
        f"{moment.seconds:5.1f} s  sent {moment.sent}/{moment.planned}  applied {totals.get('applied', 0)}  "
        f"dead {totals.get('dead', 0)}  "
        f"customers waiting {moment.waiting}, syncing {moment.working}  "
        f"calls: Autumn {moment.autumn.total}, Stripe {moment.stripe.total}"
    )


def draw(moment: Moment) -> RenderableType:
    """Return a moment as a panel of constant height."""
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1)
    bar.add_column(justify="right")
    bar.add_row(ProgressBar(total=moment.planned, completed=moment.ended), f"{moment.ended} of {moment.planned} done")
    return Panel(
        Group(bar, Text(), _events(moment), Text(), _services(moment), Text(), _recent(moment.recent)),
        title="autumn-stripe-sync",
        subtitle=f"{moment.seconds:.0f} s",
        border_style="dim",
        padding=(1, 2),
        width=WIDEST,
    )


def _events(moment: Moment) -> Table:
    totals = moment.totals
    numbers = {
        "sent": moment.sent,
        "received": totals.get("received", 0),
        "applied": totals.get("applied", 0),
        "merged": totals.get("merged", 0),
        "duplicates": totals.get("duplicates", 0),
        "dead": totals.get("dead", 0),
    }
    table = Table.grid(expand=True)
    for _ in numbers:
        table.add_column(justify="right", ratio=1)
    table.add_row(*(Text(name, style="dim") for name in numbers))
    table.add_row(*(Text(str(number), style="bold") for number in numbers.values()))
    return table


def _services(moment: Moment) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_row(Text("customers", style="dim"), f"{moment.waiting:>4} waiting", f"{moment.working:>4} syncing")
    for name, calls in (("Autumn", moment.autumn), ("Stripe", moment.stripe)):
        table.add_row(Text(name, style="dim"), f"{calls.total:>4} calls", f"{calls.last_second:>4} in the last second")
    return table


def _recent(recent: Sequence[Outcome]) -> Table:
    table = Table.grid(padding=(0, 3))
    for each in recent:
        style = "green" if each.outcome == APPLIED else "yellow"
        table.add_row(each.customer_id or "-", Text(each.about, style="dim"), Text(each.outcome, style=style))
    for _ in range(RECENT - len(recent)):
        table.add_row()
    return table


WIDTH: Final = 80


@dataclass(frozen=True)
class Links:
    """The number of customers for each result of a broken link."""

    found: int
    created: int
    refused: int
    unlinked: int


@dataclass(frozen=True)
class Receipts:
    """The number of payments whose receipt address one mode has set, cleared or used."""

    mode: str
    payments: int
    set: int
    cleared: int
    mailed: int


@dataclass(frozen=True)
class Endpoint:
    """One endpoint's calls, and how many of them were answered with 429."""

    service: str
    name: str
    calls: int
    too_many: int


@dataclass(frozen=True)
class Report:
    """The numbers at the end.

    `dead` counts dead letters by reason and message, and `writers` counts writes to Stripe by writer. `webhooks` is the
    number that Autumn received from Stripe.
    """

    in_sync: int
    customers: int
    links: Links
    edits_repaired: int
    sent: int
    applied: int
    merged: int
    duplicates: int
    dead: Mapping[tuple[str, str], int]
    receipts: Sequence[Receipts]
    writers: Mapping[str, int]
    stray: int
    webhooks: int
    reverted_by_echoes: int
    endpoints: Sequence[Endpoint]
    most_parallel: int
    seconds: float


def final_tables(report: Report) -> RenderableType:
    """Return the numbers as tables."""
    return Group(_what_happened(report), Text(), _receipts(report.receipts), Text(), _calls(report))


def _what_happened(report: Report) -> Table:
    table = _table(f"after {report.seconds:.0f} s", "what happened", "count")
    links = report.links
    table.add_row("customers in sync", f"{report.in_sync} of {report.customers}")
    table.add_row("  link repaired, existing Stripe customer found", str(links.found))
    table.add_row("  link repaired, Stripe customer created", str(links.created))
    table.add_row("edits by people in Stripe, repaired", str(report.edits_repaired))
    table.add_row("customers not written, need review", str(links.refused))
    table.add_row("customers unlinked by an event", str(links.unlinked), end_section=True)
    table.add_row("events sent", str(report.sent))
    table.add_row("events applied", str(report.applied))
    table.add_row("  merged into the update of another event", str(report.merged))
    table.add_row("duplicates dropped", str(report.duplicates))
    table.add_row("dead letters", str(sum(report.dead.values())))
    for (reason, message), count in sorted(report.dead.items()):
        table.add_row(Text(f"  {reason}: {message}"), str(count))
    return table


def _receipts(by_mode: Sequence[Receipts]) -> Table:
    table = _table("", "receipts, by the deployment's mode", "payments", "set", "cleared", "mailed")
    for each in by_mode:
        numbers = (each.payments, each.set, each.cleared, each.mailed)
        table.add_row(f"RECEIPTS={each.mode}", *(str(number) for number in numbers))
    return table


def _calls(report: Report) -> Table:
    table = _table("", "calls", "count", "429")
    for endpoint in report.endpoints:
        table.add_row(f"{endpoint.service} {endpoint.name}", str(endpoint.calls), str(endpoint.too_many))
    table.add_section()
    table.add_row("writes to Stripe")
    for writer, count in sorted(report.writers.items()):
        table.add_row(f"  {writer}", str(count))
    table.add_row("  writes that no event explains", str(report.stray), end_section=True)
    table.add_row("webhooks delivered to Autumn", str(report.webhooks))
    table.add_row("  values reverted by an echo", str(report.reverted_by_echoes), end_section=True)
    table.add_row("most parallel updates of one customer", str(report.most_parallel))
    return table


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", show_edge=False, width=WIDTH)
    table.add_column(first, no_wrap=True, overflow="ellipsis", ratio=1)
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    return table
