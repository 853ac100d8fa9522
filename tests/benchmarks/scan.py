"""`python -m tests.benchmarks.scan`: a scan beside the bare lists, its memory, and the drift after --apply.

Scan and bare lists run alternately against the same simulated services, on the same machine. Prints a table. The exit
code is 1 if a scan made a wrong call, missed or invented drift, took more than 1.25 times as long as the bare lists, or
left drift.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.request import urlopen

import redis
import typer

from sandbox.redis import embedded_redis

ROOT: Final = Path(__file__).parents[2]
CLEAN, DRIFT = 0, 2
LONGEST_RATIO: Final = 1.25
LARGEST_MB: Final = 200
SYNCED_WITHIN_SECONDS: Final = 1800
FAST: Final = {
    "AUTUMN_SECRET_KEY": "am_sk_test_bench",
    "STRIPE_API_KEY": "sk_test_bench",
    "AUTUMN_UPDATES_PER_SECOND": "1000",
    "STRIPE_REQUESTS_PER_SECOND": "10000",
    "STRIPE_ENDPOINT_REQUESTS_PER_SECOND": "10000",
    "SCAN_SHARE": "1",
    "ECHO_CHECK_SECONDS": "0",
    "LOG_LEVEL": "ERROR",
}
"""No rate limits, so only the cost of the scan itself remains."""

FULL: Final = [(100_000, 20.0, 3, True), (100_000, 0.0, 3, False), (10_000, 0.0, 3, False), (1_000_000, 0.0, 1, False)]
"""Customers, milliseconds that a page takes, repetitions, and whether the findings are repaired."""


@dataclass(frozen=True)
class Ran:
    """An ended process: its seconds from start to end, and its most resident memory in megabytes."""

    code: int
    seconds: float
    most_mb: float


def run(command: list[str], environment: Mapping[str, str]) -> Ran:
    """Run a command to its end, without its output."""
    begun = time.perf_counter()
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
    return Ran(process.returncode, seconds, usage.ru_maxrss / 1024)


@contextmanager
def service(name: str, customers: int, page_seconds: float, environment: Mapping[str, str]) -> Iterator[str]:
    """Start one of the simulated services. Return its address."""
    command = [sys.executable, "-m", "tests.benchmarks.scan_services", name, str(customers), str(page_seconds)]
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


class Bench:
    """Both services, a Redis, and the commands that run against them."""

    def __init__(self, running: ExitStack, customers: int, page_seconds: float, folder: Path) -> None:
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        self.customers = customers
        self.autumn = running.enter_context(service("autumn", customers, page_seconds, base))
        self.stripe = running.enter_context(service("stripe", customers, page_seconds, base))
        self.redis_url = running.enter_context(embedded_redis(aof=False)).url
        self.report = folder / "report.json"
        urls = {"REDIS_URL": self.redis_url, "AUTUMN_API_URL": self.autumn, "STRIPE_API_BASE": self.stripe}
        self.environment = base | FAST | urls | {"SCAN_SPOOL": str(folder / "spool")}

    def bare(self) -> Ran:
        """List both sides without any processing."""
        return run([sys.executable, "-m", "tests.benchmarks.scan_bare", self.autumn, self.stripe], self.environment)

    def scan(self, *words: str) -> tuple[Ran, dict[str, Any]]:
        """Run a scan. Return how the process ended, and the totals of its report."""
        command = [sys.executable, "-m", "worker", "scan", "--json", str(self.report), *words]
        ran = run(command, self.environment)
        return ran, json.loads(self.report.read_text())["run"]

    def pages(self) -> int:
        """Return the number of pages requested so far, of both sides."""
        autumn, stripe = (self._counts(url) for url in (self.autumn, self.stripe))
        return int(autumn.get("POST /v1/customers.list", 0)) + int(stripe.get("GET list", 0))

    def sync_all(self) -> float:
        """Let a worker do the requested syncs. Return the seconds until no work is left."""
        begun = time.perf_counter()
        command = [str(Path(sys.executable).parent / "arq"), "worker.main.WorkerSettings"]
        with (
            redis.Redis.from_url(self.redis_url) as client,
            subprocess.Popen(command, env=self.environment, cwd=ROOT) as process,
        ):
            while any(self._waiting(client)):
                if process.poll() is not None or time.perf_counter() - begun > SYNCED_WITHIN_SECONDS:
                    raise SystemExit("the worker did not finish")
                time.sleep(0.2)
            process.terminate()
        return time.perf_counter() - begun

    def _waiting(self, client: "redis.Redis") -> tuple[Any, ...]:
        prefix = "customer-sync"
        return client.xlen("customer-updates"), client.zcard(f"{prefix}:waiting"), client.zcard(f"{prefix}:dispatched")

    def _counts(self, url: str) -> dict[str, int]:
        with urlopen(f"{url}/counts") as answer:  # noqa: S310 - our own service on the loopback interface
            counts: dict[str, int] = json.load(answer)
        return counts


def measure(customers: int, page_ms: float, rounds: int, *, apply: bool) -> list[str]:
    """Measure one size and print its line. Return the faults."""
    faults = []
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="scan-bench-")))
        bench = Bench(running, customers, page_ms / 1000, folder)
        bares, scans = [], []
        for _ in range(rounds):
            bares.append(bench.bare())
            before = bench.pages()
            ran, found = bench.scan()
            scans.append(ran)
            expected = math.ceil(customers / 1000) + math.ceil(customers / 100)
            if bench.pages() - before != expected:
                faults.append(f"{bench.pages() - before} calls instead of {expected}")
            if ran.code != DRIFT or sum(found["totals"].values()) != customers // 100:
                faults.append(f"found {found['totals']} instead of {customers // 100}")
        bare = statistics.median(each.seconds for each in bares)
        scan = statistics.median(each.seconds for each in scans)
        most_mb = max(each.most_mb for each in scans)
        applied = _apply(bench, faults) if apply else "-"
    print(
        f"| {customers:,} | {page_ms:g} ms | {expected:,} | {bare:.1f} s | {scan:.1f} s | {scan / bare:.2f} "
        f"| {most_mb:.0f} MB | {applied} |",
        flush=True,
    )
    if page_ms and scan / bare > LONGEST_RATIO:
        faults.append(f"{customers:,} customers took {scan / bare:.2f} times as long as the bare lists")
    if most_mb > LARGEST_MB:
        faults.append(f"{most_mb:.0f} MB resident")
    return faults


def _apply(bench: Bench, faults: list[str]) -> str:
    """Request the syncs, wait for them, and scan again."""
    _, first = bench.scan("--apply")
    seconds = bench.sync_all()
    ran, second = bench.scan()
    if ran.code != CLEAN or first["requested"] != bench.customers // 100:
        faults.append(f"asked for {first['requested']}, and left {second['totals']}")
    return f"{first['requested']:,} requested, {seconds:.0f} s, then {sum(second['totals'].values())}"


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, half a minute.")] = False,
) -> None:
    """Measure a scan beside the bare lists."""
    sizes = [(3_000, 20.0, 1, True)] if quick else FULL
    print("| customers | a page takes | calls | bare lists | scan | ratio | most memory | --apply, sync, second scan |")
    print("|---|---|---|---|---|---|---|---|")
    faults = [fault for size in sizes for fault in measure(*size[:3], apply=size[3])]
    for fault in faults:
        print(f"FAULT: {fault}")
    raise typer.Exit(bool(faults))


if __name__ == "__main__":
    typer.run(main)
