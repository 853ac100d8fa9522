"""`python -m tests.servers` checks all servers before the first run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def servers(named: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.servers", "--collect-only"],
        cwd=ROOT,
        env={**os.environ, "REDIS_SERVERS": named},
        capture_output=True,
        text=True,
        check=False,
    )


def test_unusable_server_is_reported_before_the_first_run(tmp_path: Path) -> None:
    first = program(tmp_path / "first", "echo Redis server v=7.0.15 sha=0")
    ended = servers(f"{first} {tmp_path / 'missing'}")
    assert ended.returncode == 1
    assert "missing --version failed" in ended.stdout
    assert "collected" not in ended.stdout


@pytest.mark.parametrize(("named", "says"), [(" ", "names no server"), ("'/a b", "No closing quotation")])
def test_unknown_server_names_end_with_an_error(named: str, says: str) -> None:
    ended = servers(named)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert says in ended.stdout
