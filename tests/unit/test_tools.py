"""A program that the tests need and do not find is named, with how to install it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import CHROMIUM, PROMTOOL, NoToolError, Tool

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("tool", "package"), [(CHROMIUM, "chromium"), (PROMTOOL, "prometheus")])
def test_missing_program_is_named_with_how_to_install_it(
    tool: Tool, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(tool.variable, str(tmp_path / "missing"))
    with pytest.raises(NoToolError, match=f"(?i)^{tool.names[0]} is missing, .*apt-get install {package}"):
        tool.find()


def test_program_that_a_variable_names_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "another"
    program.touch(mode=0o755)
    monkeypatch.setenv("PROMTOOL", str(program))
    assert PROMTOOL.find() == str(program)


def test_set_up_without_apt_get_says_what_is_missing(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.tools"],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path), "CHROMIUM": "missing", "PROMTOOL": "missing"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0
    assert [line.split(" is missing")[0] for line in ended.stderr.splitlines()] == ["Chromium", "promtool"]
