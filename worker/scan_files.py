"""A scan's report as a file for a program: JSON or CSV, written a finding at a time."""

import csv
import json
import re
import unicodedata
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final

from jobs.scan_report import ScanFinding, ScanReport
from worker.private_file import private_file

_FORMULA: Final = ("=", "+", "-", "@", "\N{MINUS SIGN}")
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Me", "Mn"})
_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and a pattern that show nothing: the fillers of Hangul, and Braille without a dot."""
_CONTROLS: Final = ("\t", "\r", "\n")
_SEPARATOR: Final = re.compile(r"([;\t\r\n])")
"""A spreadsheet may begin a new cell there, even within quotes: the separator of a CSV depends on the country."""


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
    parts = [f"'{part}" if _may_be_a_formula(part) else part for part in _SEPARATOR.split(text)]
    return ("'" if text.startswith(_CONTROLS) else "") + "".join(parts)


def _may_be_a_formula(text: str) -> bool:
    """Whether a spreadsheet may take it for one: some trim invisible characters, or read full-width signs as plain."""
    first = next((each for each in text if not _shows_nothing(each)), "")
    return unicodedata.normalize("NFKC", first).startswith(_FORMULA)


def _shows_nothing(sign: str) -> bool:
    return sign.isspace() or sign in _BLANK or unicodedata.category(sign) in _INVISIBLE
