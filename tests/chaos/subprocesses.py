"""Run chaos from the command line, as a person would, and read its report."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.chaos.fleet import ROOT

HANG_SECONDS: Final = 3600.0
"""A guard against a run that hangs; no run is judged by how long it takes."""


def chaos(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the report of `python -m tests.chaos`. Both must agree.

    If it is killed, everything that it started dies with it.
    """
    report = folder / "report.json"
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "tests.chaos", "--json", str(report), *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"the run hung for {HANG_SECONDS:.0f} s: {error.output!r} {error.stderr!r}") from None
    output = ended.stdout + ended.stderr
    assert report.exists(), output
    print(output)
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    assert found["clean"] is (not found["findings"]) is (ended.returncode == 0), output
    return ended.returncode, found
