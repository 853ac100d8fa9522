"""The demo's last words: the numbers of what happened, as tables.

Draws what it is handed and knows nothing of Redis, the simulators or the worker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

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
