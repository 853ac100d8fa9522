"""The smallest run of the benchmark of events over HTTP. No test asserts a speed, because the machine may be busy."""

import json
import subprocess
import sys

import pytest

from tests.benchmarks.processes import ROOT


@pytest.mark.alone
@pytest.mark.timeout(120)
def test_lists_and_single_events_are_measured_and_printed_on_the_last_line() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.intake", "--form", "check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    kinds = ("http_events_per_processor_second", "bare_events_per_processor_second", "http_events_per_second")
    named = [*kinds, "bare_events_per_second", "ratio"]
    assert list(figures) == [*named, *(f"single_{name}" for name in named)]
    assert all(value > 0 for value in figures.values()), figures
