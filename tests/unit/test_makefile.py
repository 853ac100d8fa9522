"""The Makefile's set-up names what is missing."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OF_OUTSIDE = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHON", "PYTEST_OPTIONS", "REPORTS"}
"""Variables that may come from the `make test` that this test runs in."""


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in OF_OUTSIDE}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)  # noqa: S607


@pytest.mark.parametrize("python", ["", "no-such-python", "too-old"])
def test_python_that_does_not_fit_is_told_before_anything_is_made(python: str, tmp_path: Path) -> None:
    too_old = tmp_path / "too-old"
    too_old.write_text('#!/bin/sh\ntest "$1" != -c\n', encoding="utf-8")
    too_old.chmod(0o755)
    named = str(too_old) if python == "too-old" else python
    ended = make("setup", f"VENV={tmp_path / 'venv'}", f"PYTHON={named}")
    assert ended.returncode != 0
    assert ended.stdout.startswith("Python 3.11 or later with its module venv is missing"), ended.stdout
    assert "Set-up, 1 of 3" not in ended.stdout
