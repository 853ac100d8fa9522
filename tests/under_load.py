"""`python -m tests.under_load`: run all tests again and again while other processes take the processor.

It prints a line for each run, with the seed that its random order came from: `pytest --randomly-seed=SEED` repeats it.
Arguments go to pytest. RUNS is the number of runs (10), BURNERS that of the processes that compute for nothing (2). The
exit code is 1 if a run failed.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom

from tests.servers import PARALLEL, ROOT, counts

BURN = "while True: pass"
ENDED_WELL = {0, 5}
"""pytest's exit codes if all tests passed, and if the options left none."""


@contextmanager
def burning(processes: int) -> Iterator[None]:
    """Have so many processes compute for nothing for the length of the block."""
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(processes)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def run(seed: int, options: Sequence[str]) -> bool:
    """Run all tests as `make test` does, print the result, and return whether all passed."""
    begin, results = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        for name, chosen in {
            "beside": (*PARALLEL, "-m", "not alone"),
            "alone": ("-m", "alone"),
        }.items():
            report = Path(folder, f"{name}.xml")
            command = [sys.executable, "-m", "pytest", "--quiet", *chosen, f"--randomly-seed={seed}"]
            ended = subprocess.run([*command, f"--junitxml={report}", *options], cwd=ROOT, check=False)
            passed, failed, skipped = counts(report) if report.exists() else (0, 0, 0)
            results.append((passed, max(failed, int(ended.returncode not in ENDED_WELL)), skipped))
    passed, failed, skipped = (sum(column) for column in zip(*results, strict=True))
    seconds = time.monotonic() - begin
    print(f"seed {seed}: {passed} passed, {failed} failed, {skipped} skipped in {seconds:.0f} s", flush=True)
    return passed > 0 and not failed


def main() -> int:
    """Run the tests RUNS times."""
    runs, burners = int(os.environ.get("RUNS", "10")), int(os.environ.get("BURNERS", "2"))
    with burning(burners):
        results = [run(SystemRandom().randrange(2**31), sys.argv[1:]) for _ in range(runs)]
    print(f"{sum(results)} of {runs} runs passed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
