"""A scan's report as a JSON or CSV file, written one finding at a time.

Reports contain names and e-mail addresses, so only the user may read the file. A failed write leaves no file.
"""

import csv
import json
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Final

from jobs.scan.report import ScanFinding, ScanReport


@contextmanager
def private_file(path: Path) -> Iterator[IO[str]]:
    """Open a text file that replaces the one at `path` if the block succeeds. Raises OSError.

    If `path` is not a regular file, such as a pipe or a terminal, write to it directly.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    path = path.resolve()  # so that a link stays a link
    with NamedTemporaryFile(
        "w", encoding="utf-8", newline="", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            yield file
            file.flush()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


_FORMULA: Final = ("=", "+", "-", "@", "\N{MINUS SIGN}")
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Me", "Mn"})
_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Characters that are blank: the fillers of Hangul, and Braille without a dot."""
_CONTROLS: Final = ("\t", "\r", "\n")
_SEPARATOR: Final = re.compile(r"([;\t\r\n])")
"""Characters that may begin a new cell, even within quotes: a spreadsheet's CSV separator depends on the country."""


def write_json(report: ScanReport, path: Path) -> None:
    """Write the scan, the scans before it, and all findings, as one JSON object. Raises OSError."""
    head = {"run": asdict(report.this_run), "before": [asdict(run) for run in report.before]}
    with private_file(path) as file:
        file.write(json.dumps(head, indent=1)[:-2] + ',\n "findings": [')
        for index, finding in enumerate(report.findings):
            file.write(("," if index else "") + "\n  " + json.dumps(asdict(finding)))
        file.write("\n ]\n}\n")


def write_csv(report: ScanReport, path: Path) -> None:
    """Write a header and one line for each finding. Raises OSError.

    A text that a spreadsheet may run as a formula gets an apostrophe, because customers choose their own names.
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
    """Return whether a spreadsheet may run it. Some ignore invisible characters or accept full-width signs."""
    first = next((each for each in text if not _shows_nothing(each)), "")
    return unicodedata.normalize("NFKC", first).startswith(_FORMULA)


def _shows_nothing(sign: str) -> bool:
    return sign.isspace() or sign in _BLANK or unicodedata.category(sign) in _INVISIBLE
