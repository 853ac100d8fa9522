"""The smallest benchmark runs. No test asserts a speed, because the machine may be busy."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.figures import FIGURES, Measured
from tests.benchmarks.processes import ROOT
from tests.benchmarks.report import BEGIN, END, as_line, as_markdown, write_document

HANG_SECONDS = 540
"""The time after which it is certain that the run hangs, also on a busy machine. It takes half a minute alone."""


@pytest.mark.alone
@pytest.mark.timeout(HANG_SECONDS + 60)
def test_every_figure_is_measured_and_printed_on_the_last_line(tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tests.benchmarks", "--form", "check", "--json", str(report)]
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=HANG_SECONDS)
    except subprocess.TimeoutExpired as hung:
        pytest.fail(f"It did not end: {hung.stdout!r} {hung.stderr!r}")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    line = ended.stdout.splitlines()[-1]
    print(line)
    figures = json.loads(line)
    assert list(figures) == [figure.key for figure in FIGURES]
    # A machine that stalls may send calls in a burst. Then one is refused and saturation is 0. The start-up is measured
    # beyond imports; if another process slowed those down, it is negative. An idle worker may use no processor time.
    assert all(value > 0 or key.startswith(("saturation_", "startup_", "idle_")) for key, value in figures.items()), (
        figures
    )
    assert json.loads(report.read_text())["figures"].keys() == figures.keys()


def measured() -> Measured:
    """Return figures that all equal their targets."""
    return Measured({figure.key: figure.target for figure in FIGURES}, {"seen": 1.5})


def test_figure_is_met_on_its_target_and_missed_beyond() -> None:
    assert "missed" not in as_markdown(measured(), "make bench")
    for figure in FIGURES:
        beyond = figure.target * (0.9 if figure.bound == "at least" else 1.1)
        table = as_markdown(Measured({**measured().figures, figure.key: beyond}), "make bench")
        assert [line for line in table.splitlines() if line.endswith("| missed |")] == [
            line for line in table.splitlines() if f"`{figure.key}`" in line
        ]


def test_document_gets_the_table_between_its_marks(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_document("new", document)
    assert document.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    document.write_text("no marks\n")
    with pytest.raises(ValueError, match="no place for the table"):
        write_document("new", document)


def test_missing_figure_is_an_error() -> None:
    with pytest.raises(KeyError):
        as_line(Measured({}))
