"""The Makefile's set-up names a missing Python, and `make test` passes its options to both runs of pytest."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OF_OUTSIDE = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHON", "PYTEST_OPTIONS", "REPORTS"}
"""Variables that the `make test` around this test may set."""


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in OF_OUTSIDE}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)  # noqa: S607


@pytest.mark.parametrize("python", ["", "no-such-python", "too-old", "true"])
def test_unsuitable_python_is_reported_before_anything_is_created(python: str, tmp_path: Path) -> None:
    too_old = tmp_path / "too-old"
    too_old.write_text('#!/bin/sh\ntest "$1" != -c\n', encoding="utf-8")
    too_old.chmod(0o755)
    named = str(too_old) if python == "too-old" else python
    ended = make("setup", f"VENV={tmp_path / 'venv'}", f"PYTHON={named}")
    assert ended.returncode != 0
    blame = f"PYTHON={named} cannot be used. " if named else ""
    assert ended.stdout.startswith(f"{blame}Python 3.11 or later with its module venv is missing"), ended.stdout
    assert "Set-up, 1 of 3" not in ended.stdout


def test_python_is_searched_only_by_setup_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python, tries = tmp_path / "python3", tmp_path / "tries"
    python.write_text(f'#!/bin/sh\necho "$1" >> "{tries}"\ntest "$1" = -c && echo fits\n', encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert make("help").returncode == 0
    assert not tries.exists()
    assert make("setup", f"VENV={tmp_path / 'venv'}").returncode != 0
    # The set-up checks the found one again, as it checks a given one.
    assert tries.read_text(encoding="utf-8").split() == ["-c", "-c", "-m"]


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """Create a virtual environment whose programs do nothing."""
    (tmp_path / "bin").mkdir()
    for name in ("python", "ruff", "mypy", "lint-imports"):
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / ".ready").touch()
    return tmp_path


def pytest_ends(venv: Path, *, beside: int = 0, alone: int = 0) -> None:
    """Make both runs of pytest end with these exit codes."""
    python = f"""#!/bin/sh
test "$2" = pytest || exit 0
case "$*" in
  *"not alone"*) exit {beside} ;;
  *) exit {alone} ;;
esac
"""
    (venv / "bin" / "python").write_text(python, encoding="utf-8")


def test_options_go_to_both_runs_with_separate_reports(venv: Path) -> None:
    output = make("test", f"VENV={venv}", "PYTEST_OPTIONS=-k redis", "REPORTS=/reports").stdout
    runs = [line for line in output.splitlines() if " -m pytest " in line]
    assert len(runs) == 2
    assert all("-k redis" in line for line in runs)
    assert ["--junitxml=/reports/beside.xml" in line for line in runs] == [False, True]
    assert ["--junitxml=/reports/alone.xml" in line for line in runs] == [True, False]


def test_run_without_tests_passes_only_with_options(venv: Path) -> None:
    for beside, alone in ((5, 0), (0, 5)):
        pytest_ends(venv, beside=beside, alone=alone)
        assert make("test", f"VENV={venv}").returncode != 0
        assert make("test", f"VENV={venv}", "PYTEST_OPTIONS=-k redis").returncode == 0


def test_failed_test_of_either_run_fails_the_target(venv: Path) -> None:
    for beside, alone in ((1, 0), (0, 1)):
        pytest_ends(venv, beside=beside, alone=alone)
        for options in ("", "-k redis"):
            assert make("test", f"VENV={venv}", f"PYTEST_OPTIONS={options}").returncode != 0


def test_options_go_to_the_sandbox(venv: Path) -> None:
    (venv / "bin" / "python").write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
    ended = make("sandbox", f"VENV={venv}", "SANDBOX_OPTIONS=--autumn-newest-version 2.5")
    assert ended.stdout == "-m sandbox --autumn-newest-version 2.5\n"
