"""Running a chaos run as a person would, from the command line, and reading what it wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.chaos.fleet import ROOT


def chaos(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the report of `python -m tests.chaos`; should it be killed, what it started dies with it."""
    report = folder / "report.json"
    ended = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--json", str(report), *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), ended.stdout + ended.stderr
    print(ended.stdout)
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return ended.returncode, found
