"""A scan's report as a file for a program: JSON or CSV, written a finding at a time."""

import csv
import json
import unicodedata
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final

from jobs.scan_report import ScanFinding, ScanReport
from worker.private_file import private_file

_FORMULA: Final = ("=", "+", "-", "@", "\N{MINUS SIGN}")
_INVISIBLE: Final = frozenset({"Cc", "Cf"})
_CONTROLS: Final = ("\t", "\r", "\n")


def write_json(report: ScanReport, path: Path) -> None:
    """The run, the runs before it, and all findings, as one object. Raises OSError."""
    head = {"run": asdict(report.this_run), "before": [asdict(run) for run in report.before]}
    with private_file(path) as file:
        file.write(json.dumps(head, indent=1)[:-2] + ',\n "findings": [')
        for index, finding in enumerate(report.findings):
            file.write(("," if index else "") + "\n  " + json.dumps(asdict(finding)))
        file.write("\n ]\n}\n")


def write_csv(report: ScanReport, path: Path) -> None:
    """A line for each finding, below one with the names. Raises OSError.

    What a spreadsheet would take for a formula has an apostrophe before it: names are anybody's to choose.
    """
    with private_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(each.name for each in fields(ScanFinding))
        for finding in report.findings:
            values = {**asdict(finding), "stripe_ids": " ".join(finding.stripe_ids)}
            writer.writerow(_cell(values[each.name]) for each in fields(ScanFinding))


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if _may_be_a_formula(text) else text


def _may_be_a_formula(text: str) -> bool:
    """Whether a spreadsheet may take it for one: some trim invisible characters, or read full-width signs as plain."""
    if text.startswith(_CONTROLS):
        return True
    first = next((each for each in text if not each.isspace() and unicodedata.category(each) not in _INVISIBLE), "")
    return unicodedata.normalize("NFKC", first).startswith(_FORMULA)
