"""`make test-under-load` leaves no process behind, and prints the command that repeats a run."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
LONG = """
import time
from pathlib import Path

def test_that_takes_long():
    Path(__file__).with_name("began").touch()
    try:
        time.sleep(300)
    finally:
        Path(__file__).with_name("ended").touch()
"""
WAIT_SECONDS = 60


@contextmanager
def under_load(burners: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.under_load", "--numprocesses=0", "-p", "no:cacheprovider", *options]
    environment = {**os.environ, "RUNS": "1", "BURNERS": f"{burners}"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_terminated_run_leaves_no_process(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "test_long.py").write_text(LONG, encoding="utf-8")
    with under_load(1, str(tmp_path)) as process:
        while not (tmp_path / "began").exists():
            assert process.poll() is None
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) >= 2
        process.send_signal(number)
        assert process.wait(WAIT_SECONDS) == 128 + number
        assert not [each for each in started if each.is_running()]
    assert (tmp_path / "ended").exists()


def test_burner_ends_when_the_run_is_killed() -> None:
    with under_load(1, "--version") as process:
        while not (started := psutil.Process(process.pid).children()):
            assert process.poll() is None
        process.kill()
        _, alive = psutil.wait_procs(started, WAIT_SECONDS)
        assert not alive


def test_run_names_the_command_that_repeats_it(tmp_path: Path) -> None:
    (tmp_path / "test_short.py").write_text("def test_it():\n    pass\n", encoding="utf-8")
    with under_load(0, str(tmp_path)) as process:
        said, _ = process.communicate(timeout=WAIT_SECONDS)
    found = re.search(r"^seed (\d+): 1 passed, 0 failed, 0 skipped", said, re.MULTILINE)
    assert found, said
    seed = found[1]
    assert f"FUZZ_SEED={seed} {sys.executable} -m pytest --randomly-seed={seed} --hypothesis-seed={seed}\n" in said
