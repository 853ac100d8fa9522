"""A missing program of the tests is named, with how to install it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import CHROMIUM, PROMTOOL, REDIS_CLI, SYSTEMD_ANALYZE, NoToolError, Tool

ROOT = Path(__file__).parents[2]
NONE_THERE = dict.fromkeys(("CHROMIUM", "PROMTOOL", "SYSTEMD_ANALYZE", "REDIS_CLI", "DUMB_INIT", "TSC"), "missing")


@pytest.mark.parametrize(
    ("tool", "package"),
    [(CHROMIUM, "chromium"), (PROMTOOL, "prometheus"), (SYSTEMD_ANALYZE, "systemd"), (REDIS_CLI, "redis-tools")],
)
def test_missing_program_is_named_with_how_to_install_it(
    tool: Tool, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(tool.variable, str(tmp_path / "missing"))
    with pytest.raises(NoToolError, match=f"(?i)^{tool.names[0]} is missing, .*apt-get install {package}"):
        tool.find()


def test_program_named_by_a_variable_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "another"
    program.touch(mode=0o755)
    monkeypatch.setenv("PROMTOOL", str(program))
    assert PROMTOOL.find() == str(program)


def test_setup_without_apt_get_names_missing_programs(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.tools"],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path), **NONE_THERE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0
    named = [line.split(" is missing")[0] for line in ended.stderr.splitlines()]
    assert named == ["Chromium", "promtool", "systemd-analyze", "redis-cli", "dumb-init", "The TypeScript compiler"]


FAKE_APT_GET = """#!/bin/sh
echo "$DEBIAN_FRONTEND, $(/bin/cat | /usr/bin/wc -c) characters" >> "$0.log"
"""


def test_apt_get_runs_non_interactively(tmp_path: Path) -> None:
    apt_get = tmp_path / "apt-get"
    apt_get.write_text(FAKE_APT_GET, encoding="utf-8")
    apt_get.chmod(0o755)
    subprocess.run(
        [sys.executable, "-m", "tests.tools"],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path), **NONE_THERE},
        input="an answer",
        capture_output=True,
        text=True,
        check=True,
    )
    commands = (tmp_path / "apt-get.log").read_text(encoding="utf-8").splitlines()
    assert set(commands) == {"noninteractive, 0 characters"}


def test_installed_programs_are_printed(tmp_path: Path) -> None:
    apt_get, installed = tmp_path / "apt-get", tmp_path / "another-promtool"
    apt_get.write_text(f"#!/bin/sh\n: > {installed}\n/bin/chmod 755 {installed}\n", encoding="utf-8")
    apt_get.chmod(0o755)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.tools"],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path), **NONE_THERE, "PROMTOOL": installed.name},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"Installed {installed}\n" in ended.stdout


def test_chrome_is_preferred_to_ubuntus_snap_launcher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("chromium-browser", "google-chrome"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert CHROMIUM.find() == str(tmp_path / "google-chrome")
