"""What the demo shows while it runs: a live view in a terminal, lines elsewhere.

Draws what it is handed and knows nothing of Redis, the simulators or the worker.

The demo's last words: the numbers of what happened, as tables.

Draws what it is handed and knows nothing of Redis, the simulators or the worker.
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
"""The endings that are shown."""


@dataclass(frozen=True)
class Ended:
    """One entry's end: whose, what it was, and `APPLIED` or the reason of its dead letter."""

    customer_id: str
    about: str
    end: str


@dataclass(frozen=True)
class Calls:
    """Calls to one service: until now, and in the last second."""

    total: int
    last_second: int


@dataclass(frozen=True)
class Moment:
    """Everything there is to show at one moment."""

    seconds: float
    planned: int
    sent: int
    ended: int
    totals: Mapping[str, int]
    waiting: int
    working: int
    autumn: Calls
    stripe: Calls
    recent: Sequence[Ended]


class View:
    """Shows moments as they come: drawn in place where there is a terminal, else a line now and then."""

    def __init__(self, console: Console) -> None:
        """Nothing is drawn before the first moment."""
        self._console = console
        can_draw = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True) if can_draw else None
        self._next_line_seconds = 0.0

    def shown(self) -> AbstractContextManager[object]:
        """The block in which moments are shown; what was drawn is gone afterwards."""
        return self._live if self._live is not None else nullcontext()

    def show(self, moment: Moment) -> None:
        """Show a moment."""
        if self._live is not None:
            self._live.update(draw(moment), refresh=True)
        elif moment.seconds >= self._next_line_seconds:
            self._next_line_seconds = moment.seconds + LINE_EVERY_SECONDS
            self._console.print(line(moment), highlight=False, soft_wrap=True)


def line(moment: Moment) -> str:
    """A moment in one line."""
    totals = moment.totals
    return (
        f"{moment.seconds:5.1f} s  sent {moment.sent}/{moment.planned}  applied {totals.get('applied', 0)}  "
        f"dead {totals.get('dead', 0)}  "
        f"customers waiting {moment.waiting}, in work {moment.working}  "
        f"calls: Autumn {moment.autumn.total}, Stripe {moment.stripe.total}"
    )


def draw(moment: Moment) -> RenderableType:
    """A moment as a panel that is as high at the end as at the beginning."""
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(ratio=1)
    bar.add_column(justify="right")
    bar.add_row(ProgressBar(total=moment.planned, completed=moment.ended), f"{moment.ended} of {moment.planned} ended")
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
    table.add_row(
        Text("customers", style="dim"), f"{moment.waiting:>4} waiting", f"{moment.working:>4} being worked on"
    )
    for name, calls in (("Autumn", moment.autumn), ("Stripe", moment.stripe)):
        table.add_row(Text(name, style="dim"), f"{calls.total:>4} calls", f"{calls.last_second:>4} in the last second")
    return table


def _recent(recent: Sequence[Ended]) -> Table:
    table = Table.grid(padding=(0, 3))
    for ended in recent:
        style = "green" if ended.end == APPLIED else "yellow"
        table.add_row(ended.customer_id or "-", Text(ended.about, style="dim"), Text(ended.end, style=style))
    for _ in range(RECENT - len(recent)):
        table.add_row()
    return table


WIDTH: Final = 80


@dataclass(frozen=True)
class Links:
    """What became of the links that were not in order, in customers."""

    found_again: int
    created: int
    refused: int
    unlinked: int


@dataclass(frozen=True)
class Receipts:
    """What a mode made of the payments' receipt addresses."""

    mode: str
    payments: int
    set: int
    taken_back: int
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

    `dead` counts dead letters by reason and message, `writers` writes to Stripe by whom; `webhooks` are those that
    Autumn received from Stripe.
    """

    in_sync: int
    customers: int
    links: Links
    sent: int
    applied: int
    merged: int
    duplicates: int
    dead: Mapping[tuple[str, str], int]
    receipts: Sequence[Receipts]
    writers: Mapping[str, int]
    stray: int
    webhooks: int
    lost_to_echoes: int
    endpoints: Sequence[Endpoint]
    most_parallel: int
    seconds: float


def final_tables(report: Report) -> RenderableType:
    """The numbers at the end."""
    return Group(_what_happened(report), Text(), _receipts(report.receipts), Text(), _calls(report))


def _what_happened(report: Report) -> Table:
    table = _table(f"after {report.seconds:.0f} s", "what happened", "count")
    links = report.links
    table.add_row("customers in sync", f"{report.in_sync} of {report.customers}")
    table.add_row("  link healed, the Stripe customer found again", str(links.found_again))
    table.add_row("  link healed, a Stripe customer created", str(links.created))
    table.add_row("customers left alone, for a person to decide", str(links.refused))
    table.add_row("customers unlinked by a change", str(links.unlinked), end_section=True)
    table.add_row("events sent", str(report.sent))
    table.add_row("events applied", str(report.applied))
    table.add_row("  merged into the update of another event", str(report.merged))
    table.add_row("duplicates dropped", str(report.duplicates))
    table.add_row("dead letters", str(sum(report.dead.values())))
    for (reason, message), count in sorted(report.dead.items()):
        table.add_row(Text(f"  {reason}: {message}"), str(count))
    return table


def _receipts(by_mode: Sequence[Receipts]) -> Table:
    table = _table("", "receipts, by the deployment's mode", "payments", "set", "taken back", "mailed")
    for each in by_mode:
        numbers = (each.payments, each.set, each.taken_back, each.mailed)
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
    table.add_row("  touched what it should not", str(report.stray), end_section=True)
    table.add_row("webhooks delivered to Autumn", str(report.webhooks))
    table.add_row("  values lost to an echo", str(report.lost_to_echoes), end_section=True)
    table.add_row("most updates at a time for one customer", str(report.most_parallel))
    return table


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", show_edge=False, width=WIDTH)
    table.add_column(first, no_wrap=True, overflow="ellipsis", ratio=1)
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    return table
