"""The report of a run, as a table for people and as JSON for machines."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.chaos.evidence import Finding, Verdict
from tests.chaos.measures import percentile
from tests.chaos.options import Options
from tests.chaos.runner import Result

FINDINGS_SHOWN = 40


def as_json(result: Result) -> dict[str, Any]:
    """Return the whole result, with the findings as lines."""
    recovery = result.recovery_seconds
    return {
        "clean": result.is_clean,
        "options": asdict(result.options),
        "counts": result.verdict.counts,
        "findings": [str(finding) for finding in result.verdict.findings],
        "events": {"sent": result.sent, "applied": result.applied, "dead letters": result.dead},
        "disturbances": {**result.signals, **result.done},
        "workers": {"starts": result.starts, "endings": result.exits, "logged": result.logged},
        "faults": result.faults,
        "calls": result.calls,
        "webhooks": result.webhooks,
        "receipts mailed": result.mailed,
        "updates without a fetch": result.unfetched,
        "watch": result.watch,
        "seconds to notice": {name: _spread(seconds) for name, seconds in result.notice_seconds.items()},
        "seconds to agreement": {name: _spread(seconds) for name, seconds in result.agreement_seconds.items()},
        "seconds": {
            "all": round(result.seconds, 1),
            "last disturbance to all settled": result.settled_seconds,
            "kill to next call, median": statistics.median(recovery) if recovery else None,
            "kill to next call, longest": max(recovery, default=None),
        },
    }


def _spread(ordered: Sequence[float]) -> dict[str, float]:
    """Return the number and the spread of some times."""
    shown = {"median": percentile(ordered, 0.5), "p99": percentile(ordered, 0.99), "longest": ordered[-1]}
    return {"number": len(ordered), **{name: round(seconds, 1) for name, seconds in shown.items()}}


def broken_off(options: Options, error: Exception) -> dict[str, Any]:
    """Return the report of a run that an error ended. The error is its only finding."""
    verdict = Verdict(tuple(Finding("broke off", "the run", text) for text in _reasons(error)))
    return {
        "clean": False,
        "options": asdict(options),
        "counts": verdict.counts,
        "findings": [str(finding) for finding in verdict.findings],
    }


def _reasons(error: Exception) -> list[str]:
    """Return the text of each error, with the errors of a group separated."""
    if isinstance(error, ExceptionGroup):
        return [reason for each in error.exceptions for reason in _reasons(each)]
    return [f"{type(error).__name__}: {error}"]


def write_json(report: dict[str, Any], path: Path) -> None:
    """Write the report to a file."""
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def show(result: Result, console: Console) -> None:
    """Print the table and the findings."""
    report = as_json(result)
    table = Table(title=f"chaos, seed {result.options.seed}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name in ("events", "disturbances"):
        for what, count in report[name].items():
            table.add_row(what if name == "disturbances" else f"events {what}", str(count))
    table.add_row("worker starts", f"{result.starts} ({_listed(result.exits)})")
    for service, fired in result.faults.items():
        table.add_row(f"faults of {service} ({result.calls[service]} calls)", _listed(fired))
    for what, count in result.webhooks.items():
        table.add_row(f"webhooks {what}", str(count))
    table.add_row("receipts mailed", str(result.mailed))
    table.add_row("updates without a fetch", str(result.unfetched))
    for what, count in result.watch.items():
        table.add_row(f"watch: {what}", str(count))
    table.add_section()
    for damage, count in result.verdict.counts.items():
        table.add_row(damage, f"[{'red' if count else 'green'}]{count}")
    table.add_section()
    _add_seconds(table, result, report)
    console.print(table)
    for finding in result.verdict.findings[:FINDINGS_SHOWN]:
        console.print(str(finding), markup=False, highlight=False, soft_wrap=True)
    if len(result.verdict.findings) > FINDINGS_SHOWN:
        console.print(f"and {len(result.verdict.findings) - FINDINGS_SHOWN} more")


def _add_seconds(table: Table, result: Result, report: dict[str, Any]) -> None:
    settled = result.settled_seconds
    table.add_row("last disturbance to all settled", f"{settled:.1f} s" if settled is not None else "[red]never")
    for until in ("notice", "agreement"):
        for name, found in report[f"seconds to {until}"].items():
            seconds = " / ".join(f"{found[each]:.1f} s" for each in ("median", "p99", "longest"))
            table.add_row(f"to {until}, {name} ({found['number']})", seconds)
    recovery = report["seconds"]
    if recovery["kill to next call, median"] is not None:
        between = f"{recovery['kill to next call, median']:.1f} s / {recovery['kill to next call, longest']:.1f} s"
        table.add_row(f"kill to next call ({len(result.recovery_seconds)}), median / longest", between)
    table.add_row("total", f"{result.seconds:.0f} s")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
