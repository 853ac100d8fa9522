"""Run all tests repeatedly while other processes use the processor: `python -m tests.under_load`.

It prints a line for each run, and the command that repeats the run. The seed sets the order of the tests, the examples
of Hypothesis, and the requests of tests/e2e/abuse/test_fuzzed_port.py. Arguments go to pytest. RUNS is the number of
runs (10), BURNERS the number of processes that burn processor time (2). The exit code is 1 if a run failed. SIGTERM
and SIGHUP act like Ctrl-C: the tests stop the processes that they started.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from types import FrameType

from tests.servers import PARALLEL, ROOT, counts

BURN = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(1_000_000):
        pass
"""
"""A program that burns processor time until its parent process is gone."""
ENDED_WELL = {0, 5}
"""Exit codes of pytest if all tests passed, and if the options selected none."""


@dataclass
class Stop:
    """A request to end this process. It is passed to the tests as Ctrl-C, and they end first."""

    signal_number: int | None = None
    tests: subprocess.Popen[bytes] | None = None

    def listen(self) -> None:
        """Handle the signals that end a process."""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal_number = number
        if self.tests is not None:
            self.tests.send_signal(signal.SIGINT)

    def run(self, command: Sequence[str], more: Mapping[str, str]) -> int:
        """Run tests with `more` in their environment; return the exit code. Raises: SystemExit on a request to end."""
        # In its own session, because Ctrl-C would reach it twice.
        self.tests = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **more}, stdin=subprocess.DEVNULL, start_new_session=True
        )
        if self.signal_number is not None:
            self.tests.send_signal(signal.SIGINT)
        code = self.tests.wait()
        if self.signal_number is not None:
            sys.exit(128 + self.signal_number)
        return code


@contextmanager
def burning(processes: int) -> Iterator[None]:
    """Run so many processes that burn processor time during the block."""
    burners = [subprocess.Popen([sys.executable, "-c", BURN, str(os.getpid())]) for _ in range(processes)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def run(seed: int, options: Sequence[str], stop: Stop) -> bool:
    """Run all tests as `make test` does, print the result, and return whether all passed."""
    begin, results = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        for name, chosen in {
            "beside": (*PARALLEL, "-m", "not alone"),
            "alone": ("-m", "alone"),
        }.items():
            report = Path(folder, f"{name}.xml")
            command = [sys.executable, "-m", "pytest", "--quiet", *chosen, *seeds(seed), f"--junitxml={report}"]
            code = stop.run([*command, *options], {"FUZZ_SEED": str(seed)})
            passed, failed, skipped = counts(report) if report.exists() else (0, 0, 0)
            results.append((passed, max(failed, int(code not in ENDED_WELL)), skipped))
    passed, failed, skipped = (sum(column) for column in zip(*results, strict=True))
    seconds = time.monotonic() - begin
    print(f"seed {seed}: {passed} passed, {failed} failed, {skipped} skipped in {seconds:.0f} s")
    print(f"  FUZZ_SEED={seed} {sys.executable} -m pytest {' '.join(seeds(seed))}", flush=True)
    return passed > 0 and not failed


def seeds(seed: int) -> tuple[str, ...]:
    """Return the options of pytest that repeat a run. FUZZ_SEED is set beside them."""
    return (f"--randomly-seed={seed}", f"--hypothesis-seed={seed}")


def main() -> int:
    """Run the tests RUNS times."""
    stop = Stop()
    stop.listen()
    runs, burners = int(os.environ.get("RUNS", "10")), int(os.environ.get("BURNERS", "2"))
    with burning(burners):
        results = [run(SystemRandom().randrange(2**31), sys.argv[1:], stop) for _ in range(runs)]
    print(f"{sum(results)} of {runs} runs passed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
