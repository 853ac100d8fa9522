"""The demo as a newcomer runs it: one command, everything in sync at the end, nothing left behind."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "sandbox.demo"]


def test_the_demo_ends_in_sync_within_a_minute() -> None:
    demo = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=False)

    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout + demo.stderr
    assert re.fullmatch(r"in sync: \d+ customers, \d+ events, \d+ dead letters", demo.stdout.splitlines()[-1])


def test_ctrl_c_ends_the_demo_and_everything_it_started() -> None:
    with subprocess.Popen(COMMAND, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        next(line for line in demo.stdout if " sent " in line)
        started = psutil.Process(demo.pid).children(recursive=True)

        demo.send_signal(signal.SIGINT)

        assert demo.wait(20) == 130
        assert demo.stderr.read() == ""
    assert len(started) >= 2, "Redis and the worker"
    assert psutil.wait_procs(started, timeout=10)[1] == []
