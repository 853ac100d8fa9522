"""`python -m sandbox.demo`: run the demo, in which workers bring a realistic set of customers in sync.

The demo starts Redis, both simulators and one worker for each receipts mode. It sends the traffic as an app does and
waits until every event has an outcome. Then it compares every customer and payment in both simulators, and checks each
write that Stripe executed. It shows the worker's own numbers, but it does not rely on them.

The last line is `in sync: <customers> customers, <events> events, <dead> dead letters`. `<events>` counts all events
that were sent, dropped duplicates included, except the dead letters. The last line is `NOT in sync: …` and the exit
code is 1 after any difference, an unexpected dead letter, a write that no event explains, or a worker that fails.
"""

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from rich.console import Console

from sandbox.autumn.server import AutumnSimulator
from sandbox.demo.comparison import Difference
from sandbox.demo.deployments import Deployment, all_traffic, make_deployments
from sandbox.demo.judge import Verdict
from sandbox.demo.run import Deployed, deployed, seed, send_and_wait, stop
from sandbox.demo.view import View, final_tables
from sandbox.everything import Sandbox, sandbox
from sandbox.redis import RedisUnavailableError
from sandbox.stripe.server import StripeSimulator

SEED: Final = 42
DIFFERENCES_SHOWN: Final = 40
LOG_LINES_SHOWN: Final = 20


def main() -> int:
    """Run the demo and return its exit code: 0 in sync, 1 not in sync, 128 plus the signal's number after a signal."""
    folder = Path(tempfile.mkdtemp(prefix="sandbox-demo-"))
    in_use = False
    try:
        console = Console()
        code = asyncio.run(_until_signalled(run_demo(console, View(console), folder, make_deployments(SEED))))
        # Keep the logs: their path was printed.
        in_use = code == 1
        return code
    except RedisUnavailableError as error:
        print(error)
        return 1
    finally:
        if not in_use:
            shutil.rmtree(folder, ignore_errors=True)


async def _until_signalled(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.create_task(work)
    signals: list[int] = []

    def end(number: int) -> None:
        # Ignore later signals: a second cancellation would interrupt the clean-up that the first one started.
        if not signals:
            signals.append(number)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not signals:
            raise
        return 128 + signals[0]


async def run_demo(console: Console, view: View, folder: Path, deployments: Sequence[Deployment]) -> int:
    """Run the demo and return its exit code. `view` shows the progress; `folder` receives the workers' logs."""
    started = time.monotonic()
    traffic = all_traffic(deployments)
    console.print(
        f"{len(traffic.customers)} customers, {len(traffic.payments)} payments and {len(traffic.entries)} events: "
        f"starting Redis, Autumn, Stripe and {len(deployments)} workers",
        highlight=False,
        soft_wrap=True,
    )
    async with _live_sandbox() as running, AsyncExitStack() as stack:
        seed(running, traffic)
        redis = await stack.enter_async_context(Redis.from_url(running.environment["REDIS_URL"], decode_responses=True))
        fleet = [await stack.enter_async_context(deployed(each, running, redis, folder)) for each in deployments]
        await send_and_wait(view, running, fleet, traffic)
        console.print("stopping the workers, then comparing both services", highlight=False, soft_wrap=True)
        verdict = Verdict(running, fleet, await stop(running, fleet))
        console.print()
        console.print(final_tables(verdict.report(time.monotonic() - started)))
    _explain(console, verdict.differences, fleet)
    if verdict.differences:
        console.print(f"NOT in sync: {len(verdict.differences)} differences", highlight=False, soft_wrap=True)
        return 1
    events = f"{verdict.sent - verdict.dead} events, {verdict.dead} dead letters"
    console.print(f"in sync: {traffic.in_sync} customers, {events}", highlight=False, soft_wrap=True)
    return 0


def _live_sandbox() -> AbstractAsyncContextManager[Sandbox]:
    """Both services in live mode, in which Stripe allows more requests and mails receipts."""
    stripe = StripeSimulator(key="sk_live_sandbox", livemode=True, requests_per_second=100)
    return sandbox(stripe=stripe, autumn=partial(AutumnSimulator, key="am_sk_live_sandbox", env="live"))


def _explain(console: Console, found: Sequence[Difference], fleet: Sequence[Deployed]) -> None:
    if not found:
        return
    for difference in found[:DIFFERENCES_SHOWN]:
        console.print(str(difference), markup=False, highlight=False, soft_wrap=True)
    if len(found) > DIFFERENCES_SHOWN:
        console.print(f"and {len(found) - DIFFERENCES_SHOWN} more")
    for each in fleet:
        console.print(f"\nThe last lines of a worker's log (complete log: {each.worker.log}):", soft_wrap=True)
        console.print(each.worker.log_tail(LOG_LINES_SHOWN), markup=False, highlight=False, soft_wrap=True)
