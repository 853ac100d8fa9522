"""The demo: one command, everything in sync at the end, no process left behind.

It must fail if somebody makes a forbidden change while it runs.
"""

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import psutil
from rich.console import Console

from sandbox.demo.app import SEED, run_demo
from sandbox.demo.deployments import Deployment, make_deployments
from sandbox.demo.view import Moment, View
from sandbox.demo.world import InStripe, Traffic

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "sandbox.demo"]
WORKERS = 3


def test_demo_ends_in_sync() -> None:
    demo = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=240, check=False)

    assert (demo.returncode, demo.stderr) == (0, ""), demo.stdout + demo.stderr
    assert re.fullmatch(r"in sync: \d+ customers, \d+ events, \d+ dead letters", demo.stdout.splitlines()[-1])
    shown = [line.split() for line in demo.stdout.splitlines()]
    for row in (
        "link repaired, existing Stripe customer found 1",
        "link repaired, Stripe customer created 4",
        "edits by people in Stripe, repaired 4",
        "customers not written, need review 3",
        "customers unlinked by an event 1",
        "RECEIPTS=mirror 13 0 0 0",
        "RECEIPTS=open 13 3 1 0",
        "RECEIPTS=recover 13 5 1 2",
        "writes that no event explains 0",
        "values reverted by an echo 0",
    ):
        assert row.split() in shown, demo.stdout
    assert re.search(r"webhooks delivered to Autumn +[1-9]", demo.stdout)


@contextmanager
def running_demo(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", list[psutil.Process]]]:
    """Run the demo; yield it and its processes after its first line of numbers. Its logs are in `folder`."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(
        COMMAND, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as demo:
        try:
            assert demo.stdout is not None
            next(line for line in demo.stdout if " sent " in line)
            yield demo, psutil.Process(demo.pid).children(recursive=True)
        finally:
            demo.terminate()


def test_ctrl_c_ends_the_demo_and_its_processes(tmp_path: Path) -> None:
    with running_demo(tmp_path) as (demo, started):
        assert demo.stderr is not None
        demo.send_signal(signal.SIGINT)

        assert demo.wait(60) == 130
        assert demo.stderr.read() == ""
    assert len(started) >= 1 + WORKERS, "Redis and the workers"
    assert psutil.wait_procs(started, timeout=10)[1] == []
    assert list(tmp_path.iterdir()) == []


def workers_of(started: list[psutil.Process]) -> list[psutil.Process]:
    alive = (process for process in started if process.status() != psutil.STATUS_ZOMBIE)
    return [process for process in alive if "STRIPE_API_BASE" in process.environ()]


def write_to_stripe(started: list[psutil.Process], path: str, **fields: str) -> None:
    """Write to the demo's Stripe as a writer that is no worker."""
    environment = workers_of(started)[0].environ()
    login = b64encode(f"{environment['STRIPE_API_KEY']}:".encode()).decode()
    request = Request(  # noqa: S310 - the simulator is at http://127.0.0.1
        environment["STRIPE_API_BASE"] + path, urlencode(fields).encode(), {"Authorization": f"Basic {login}"}
    )
    with urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
        assert answer.status == 200


class Begun(View):
    """A view that tells when the workers have started."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.begun = asyncio.Event()

    def show(self, moment: Moment) -> None:
        super().show(moment)
        self.begun.set()


def one_small_deployment() -> Deployment:
    """Return the deployment with receipts for open payments, at a higher rate, and an unrelated Stripe customer."""
    small = next(each for each in make_deployments(SEED) if each.receipts == "open")
    stranger = Traffic((), (), {}, strangers=(InStripe("cus_somebody_else"),))
    return replace(small, traffic=small.traffic + stranger, calls_per_second=20)


async def test_demo_fails_if_another_writer_wrote_to_stripe(tmp_path: Path) -> None:
    output = io.StringIO()
    console = Console(file=output, width=100)
    view = Begun(console)
    demo = asyncio.create_task(run_demo(console, view, tmp_path, [one_small_deployment()]))
    begun = asyncio.create_task(view.begun.wait())
    await asyncio.wait([demo, begun], return_when=asyncio.FIRST_COMPLETED)
    for path, fields in (
        ("/v1/customers/cus_somebody_else", {"description": "seen"}),
        ("/v1/payment_intents/pi_cus_open_goes_on_1", {"receipt_email": "another.address@example.com"}),
    ):
        await asyncio.to_thread(write_to_stripe, psutil.Process().children(), path, **fields)

    exit_code = await demo
    shown = output.getvalue()
    assert exit_code == 1, shown
    assert "cus_somebody_else: was written by somebody else, but no event is about it\n" in shown
    assert (
        "pi_cus_open_goes_on_1: open, with the app's own address, has the receipt address "
        "'another.address@example.com', should be 'apps.own.address@example.com'\n"
    ) in shown
    assert re.search(r"writes that no event explains +2\b", shown)
    # The address gives two findings: its final value, and the write that set it.
    assert "\nNOT in sync: 4 differences\n" in shown


def test_demo_fails_if_a_worker_was_killed(tmp_path: Path) -> None:
    with running_demo(tmp_path) as (demo, started):
        workers_of(started)[-1].kill()

        shown, errors = demo.communicate(timeout=60)
    assert (demo.returncode, errors) == (1, ""), shown
    assert re.search(r"^the worker of customer-sync-\w+: ended with exit code -9$", shown, re.MULTILINE)
    assert re.fullmatch(r"NOT in sync: \d+ differences", shown.splitlines()[-1])
