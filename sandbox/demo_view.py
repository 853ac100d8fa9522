"""What the demo shows while it runs: a live view in a terminal, lines elsewhere.

Draws what it is handed and knows nothing of Redis, the simulators or the worker.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sandbox.demo_world import APPLIED

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
