"""Run the tests that touch Redis on each server, and print all results: `python -m tests.servers`.

REDIS_SERVERS names the servers. The default is the bundled one and those on the PATH. Arguments go to pytest, for
example to select a folder: `python -m tests.servers tests/integration`. The exit code is 1 if a test fails, if a
server cannot be run, or if a server ran no test.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sandbox.redis import RedisUnavailableError, describe_server, find_redis_server

ROOT = Path(__file__).parents[1]
PARALLEL = ("--numprocesses", "7", "--dist", "worksteal")
"""As in the Makefile."""
CHECKER = "--deselect=tests/chaos/test_broken_workers.py"
"""These tests check the checker of chaos runs, which does not depend on the server, and they take minutes."""
PACKAGES = "--deselect=tests/e2e/clients"
"""These tests build and install the clients' packages. `tests/integration/clients` runs their commands."""
PASSES = (
    (("-m", "redis and not alone", CHECKER, PACKAGES, *PARALLEL), ()),
    (("-m", "redis and alone"), ("--numprocesses", "0")),
)
"""Options of pytest before and after the given ones: first for the parallel run, then for tests that run alone."""


@dataclass(frozen=True)
class Result:
    """The outcome on one server."""

    server: str
    path: Path
    passed: int
    failed: int
    skipped: int
    seconds: float

    @property
    def is_good(self) -> bool:
        """Return whether tests ran and none failed."""
        return self.passed > 0 and not self.failed

    def __str__(self) -> str:
        """Return the counts as a line."""
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
        return f"{self.server}: {counts} in {self.seconds:.0f} s ({self.path})"


def servers() -> list[Path]:
    """Return the servers to test, each once. Raises: RedisUnavailableError when there is none."""
    return list({path.resolve(): path for path in _servers()}.values())


def _servers() -> Iterator[Path]:
    named = os.environ.get("REDIS_SERVERS")
    if named:
        try:
            names = shlex.split(named)
        except ValueError as error:
            raise RedisUnavailableError(f"REDIS_SERVERS cannot be read as paths: {error}") from error
        if not names:
            raise RedisUnavailableError("REDIS_SERVERS names no server: give paths, or leave it out")
        yield from (Path(name).absolute() for name in names)
        return
    yield find_redis_server()
    yield from (Path(found) for found in map(shutil.which, ("redis-server", "valkey-server")) if found)


def run(server: str, path: Path, options: Sequence[str]) -> Result:
    """Run the tests on one server."""
    print(f"\n{server}: {path}", flush=True)
    begin = time.monotonic()
    outcomes = [_run_pass(path, [*before, *options, *after]) for before, after in PASSES]
    passed, failed, skipped = (sum(each) for each in zip(*outcomes, strict=True))
    return Result(server, path, passed, failed, skipped, time.monotonic() - begin)


def _run_pass(path: Path, options: Sequence[str]) -> tuple[int, int, int]:
    """Return how many tests passed, failed and were skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", *options, f"--junitxml={report}"]
        ended = subprocess.run(command, cwd=ROOT, env={**os.environ, "REDIS_SERVER": str(path)}, check=False)
        passed, failed, skipped = counts(report) if report.exists() else (0, 0, 0)
    # pytest may fail although no test failed, for example after an internal error.
    is_bad = ended.returncode not in {0, pytest.ExitCode.NO_TESTS_COLLECTED}
    return passed, max(failed, int(is_bad)), skipped


def counts(report: Path) -> tuple[int, int, int]:
    """Return how many tests passed, failed and were skipped."""
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - pytest has just written it
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    skipped = sum(case.find("skipped") is not None for case in cases)
    return len(cases) - failed - skipped, failed, skipped


def main(options: Sequence[str]) -> int:
    """Run the tests on each server, and return the exit code."""
    try:
        # Before the first run, so that an unusable server does not cost the results of another.
        named = {path: describe_server(path) for path in servers()}
    except RedisUnavailableError as error:
        print(error)
        return 1
    results: list[Result] = []
    try:
        for path, server in named.items():
            results.append(run(server, path, options))
    finally:
        print("", *results, sep="\n")
    return 0 if all(result.is_good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
