"""A scan's report as a file for a program: JSON or CSV, written a finding at a time.

The file of a report: whole or not at all, and for its owner alone. What is in it is up to others.

Reports hold names and e-mail addresses: nobody but the user may read them.
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
    """A file to write text to, which takes the place of the one at `path` when the block ends well. Raises OSError.

    What is no file, such as a pipe or a terminal, is written to as it is.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    path = path.resolve()  # so that a link stays one
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
