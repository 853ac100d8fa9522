"""The output of a scan on a terminal: its progress, its report, and the list of scans."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from io import TextIOWrapper
from itertools import islice
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from jobs.scan.record import ScanProgress, Trouble
from jobs.scan.report import Changed, ScanFinding, ScanReport, ScanRun
from worker.formatting import printable, time_text

SHOWN_AT_MOST: Final = 50
REDRAW_SECONDS: Final = 0.2
REPORT_SECONDS: Final = 10.0
FILE_COLUMNS: Final = 200
"""The width of output that does not go to a terminal."""


@asynccontextmanager
async def watching(progress: ScanProgress, *, report_seconds: float = REPORT_SECONDS) -> AsyncIterator[None]:
    """Show the scan's progress on standard error while the block runs.

    A terminal gets a bar. Other output gets a line every `report_seconds`, and one as soon as a service fails.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        reporting = asyncio.create_task(_report_lines(progress, report_seconds))
        try:
            yield
        finally:
            reporting.cancel()
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[customers]:,} customers, {task.fields[rate]:,}/s, {task.fields[findings]:,} findings"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[trouble]}"),
    ]
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, customers=0, rate=0, findings=0, left="", trouble="")
        drawing = asyncio.create_task(_draw(bar, task, progress))
        try:
            yield
        finally:
            drawing.cancel()


async def _report_lines(progress: ScanProgress, report_seconds: float) -> None:
    reported_at, reported = time.monotonic(), set[tuple[str, str]]()
    while True:
        await asyncio.sleep(min(REDRAW_SECONDS, report_seconds))
        failing = {(trouble.service, trouble.error) for trouble in progress.troubles}
        if failing <= reported and time.monotonic() - reported_at < report_seconds:
            continue
        for text in (_progress_text(progress), *map(_trouble_text, progress.troubles)):
            sys.stderr.write(f"scan: {text}\n")
        reported_at, reported = time.monotonic(), failing


def _progress_text(progress: ScanProgress) -> str:
    more = {
        "payments read": progress.payments,
        "fetched one by one": progress.looked_up,
        "reconciles requested": progress.requested,
    }
    return (
        f"{progress.phase}, {progress.autumn:,} customers of Autumn and {progress.stripe:,} of Stripe read, "
        f"{progress.findings:,} findings so far"
        + "".join(f", {count:,} {what}" for what, count in more.items() if count)
    )


def _trouble_text(trouble: Trouble) -> str:
    lasts = f"trying for {trouble.gives_up_in_seconds} s more"
    if trouble.gives_up_after_tries:
        lasts = f"giving up after {trouble.gives_up_after_tries}"
    tries = "1 try" if trouble.tries == 1 else f"{trouble.tries} tries"
    return f"{trouble.service.capitalize()} fails ({trouble.error}), {tries}, {lasts}"


async def _draw(bar: Progress, task: TaskID, progress: ScanProgress) -> None:
    begun, at_first = time.monotonic(), None
    while True:
        if at_first is None and progress.run:
            begun, at_first = time.monotonic(), progress.listed
        is_listing = progress.phase == "listing"
        done = progress.listed if is_listing else progress.compared
        total = progress.expected if is_listing else progress.listed
        rate = (progress.listed - (at_first or 0)) / max(time.monotonic() - begun, REDRAW_SECONDS)
        bar.update(
            task,
            description=progress.phase,
            completed=min(done, total) if total else done,
            total=max(total, done) if total else None,
            customers=progress.listed,
            rate=int(rate),
            findings=progress.findings,
            left="left" if total else "",
            trouble="; ".join(map(_trouble_text, progress.troubles)),
        )
        await asyncio.sleep(REDRAW_SECONDS)


def show_report(report: ScanReport) -> None:
    """Print the first findings, the totals, and the difference from the last scan."""
    run = report.this_run
    console = _console()
    findings = list(islice(report.findings, SHOWN_AT_MOST))
    if findings:
        console.print(_table(findings))
        if run.findings > len(findings):
            console.print(f"... and {run.findings - len(findings):,} more: --json, --csv and --html write all of them")
    for line in summary(run):
        console.print(Text(printable(line)))


def show_history(runs: Sequence[ScanRun]) -> None:
    """Print one line for each scan, the newest first."""
    table = _plain_table(
        "began (UTC)", "took", "state", "customers", "findings", "new", "fixed", "still there", "requested"
    )
    table.add_column("scope")
    for run in runs:
        changed = run.changed
        differences = (f"{changed.new:,}", f"{changed.fixed:,}", f"{changed.still_there:,}") if changed else ("-",) * 3
        state = f"{run.state} ({run.error})" if run.error else run.state
        table.add_row(
            time_text(run.started_ms)[:16].replace("T", " "),
            _took(run),
            printable(state),
            f"{run.autumn_customers:,} / {run.stripe_customers:,}",
            f"{run.findings:,}",
            *differences,
            f"{run.requested:,}",
            printable(run.scope),
        )
    _console().print(table)


def running_text(progress: ScanProgress | None) -> str:
    """Return the progress of the scan that already runs, as a sentence."""
    if progress is None:
        return "another scan has just begun: wait until it ends, or see customer-sync scan history"
    so_far = (_progress_text(progress), *map(_trouble_text, progress.troubles))
    return f"another scan has been running since {time_text(progress.started_ms)}: " + ". ".join(so_far)


def summary(run: ScanRun) -> list[str]:
    """Return the summary of a scan, in a few lines."""
    by_kind = ", ".join(f"{kind} {count:,}" for kind, count in run.totals.items())
    lines = [
        f"compared: {_many(run.autumn_customers, 'customer')} of Autumn, {run.stripe_customers:,} of Stripe, in "
        + _took(run)
        + (f" ({run.scope})" if run.scope else ""),
        f"findings: {run.findings:,}" + (f" ({by_kind})" if by_kind else ""),
    ]
    if run.changed is not None:
        lines.append(f"since the last scan: {_changed(run.changed)}")
    if run.left_out:
        lines.append(f"left out: {_many(run.left_out, 'customer')} with events that wait, or that were just synced")
    if run.looked_up:
        lines.append(f"fetched one by one: {_many(run.looked_up, 'customer')} that a list lacks")
    if run.not_checked:
        lines.append(
            f"not checked: {_many(run.not_checked, 'customer')}, because Stripe's list lacks the linked customer"
        )
    if run.requested:
        lines.append(f"requested {_many(run.requested, 'reconcile')}")
    elif run.repairable and run.state == "done":
        lines.append(f"a sync would repair {_many(run.repairable, 'customer')}: pass --apply to request it")
    return lines


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _changed(changed: Changed) -> str:
    return f"{changed.new:,} new, {changed.fixed:,} fixed, {changed.still_there:,} still there"


def _table(findings: Iterable[ScanFinding]) -> Table:
    table = _plain_table("kind", "customer", "field", "Autumn", "Stripe", "a sync would")
    for each in findings:
        values = (each.autumn, each.stripe)
        cells = [
            each.kind,
            each.customer,
            each.field,
            *("-" if value is None else value for value in values),
            each.would,
        ]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _plain_table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _console() -> Console:
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # names may have letters that the terminal cannot show
    options: dict[str, Any] = {"highlight": False, "soft_wrap": False}
    console = Console(**options)
    if not console.is_terminal:
        console.width = FILE_COLUMNS
    return console


def _took(run: ScanRun) -> str:
    seconds = (run.ended_ms - run.started_ms) / 1000
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"  # noqa: PLR2004 - two minutes
