"""No customer's value in the CSV of a scan becomes a formula in a spreadsheet."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.scan.report import ScanFinding, ScanReport, ScanRun
from worker.reports.files import write_csv

FULL_WIDTH, SMALL = "\uff1d\uff0b\uff0d\uff20", "\ufe66\ufe62\ufe63\ufe6b"
SHOW_NOTHING = ("\u3164", "\u115f", "\u1160", "\uffa0", "\u2800", "\u034f", "\ufe0f", "\u180b", "\u3164\u034f ")
FINDING = ScanFinding(
    customer="ann",
    kind="profile-drift",
    stripe_ids=("cus_1",),
    field="name",
    autumn=None,
    stripe=None,
    reason="",
    would="",
    is_repairable=True,
)


def written(value: str, tmp_path: Path) -> str:
    run = ScanRun("run", "done", 0, 0, 1, 1)
    path = tmp_path / "scan.csv"
    write_csv(ScanReport(this_run=run, before=(), findings=[replace(FINDING, autumn=value)]), path)
    with path.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    return row["autumn"]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\N{MINUS SIGN}", *FULL_WIDTH, *SMALL])
@pytest.mark.parametrize("before", ["", " ", "\u3000", "\u200b", "\ufeff", "\x00 ", *SHOW_NOTHING])
def test_cell_that_may_be_a_formula_starts_with_an_apostrophe(sign: str, before: str, tmp_path: Path) -> None:
    formula = f"{before}{sign}HYPERLINK(1)"
    assert written(formula, tmp_path) == f"'{formula}"


@pytest.mark.parametrize("text", ["\n1", "\t1", "\rAnn", "\nAnn"])
def test_cell_starting_with_control_character_gets_an_apostrophe(text: str, tmp_path: Path) -> None:
    assert written(text, tmp_path) == f"'{text}"


@pytest.mark.parametrize("separator", [";", "\t", "\r", "\n", "\r\n"])
@pytest.mark.parametrize("before", ["", " ", "\u3164"])
def test_separators_of_other_locales_start_no_formula(separator: str, before: str, tmp_path: Path) -> None:
    text = f"Ann{separator}{before}=1+1{separator}{before}-2{separator}Bob"
    assert written(text, tmp_path) == f"Ann{separator}'{before}=1+1{separator}'{before}-2{separator}Bob"


@pytest.mark.parametrize(
    "text",
    [
        "Ann",
        " Ann",
        "a=1",
        "",
        "'=1",
        "\N{FULLWIDTH LATIN CAPITAL LETTER A}nn",
        "ann@example.com",
        "1-2",
        "Ann; Bob",
        "a;b=1",
    ],
)
def test_every_other_cell_is_unchanged(text: str, tmp_path: Path) -> None:
    assert written(text, tmp_path) == text
