"""`python -m sandbox.demo`: the worker brings a lifelike set of customers in sync, and the demo checks that it did.

Starts Redis, both simulators and the worker, sends the traffic as an app would, waits until every event has ended, and
then compares every customer in both simulators itself: what the worker says of its own work is shown, never believed.
The last line is `in sync: <customers> customers, <events> events, <dead> dead letters`, where the events are all that
were sent less the dead letters; duplicates that were dropped count as events. Any difference, another dead letter than
the expected ones, or a worker that does not end in order makes it `NOT in sync: …` and the exit code 1.
"""

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from rich.console import Console

from sandbox.demo_comparison import Difference, differences, wrong_endings
from sandbox.demo_progress import INBOX, PREFIX, Progress
from sandbox.demo_traffic import Traffic, make_traffic
from sandbox.demo_view import RECENT, Calls, Ended, Endpoint, Moment, Report, View, final_table
from sandbox.demo_worker import WorkerProcess, worker_process
from sandbox.everything import Sandbox, sandbox
from sandbox.redis import RedisUnavailableError

SEED: Final = 42
TURN_SECONDS: Final = 0.1
TIME_OUT_SECONDS: Final = 90.0
DIFFERENCES_SHOWN: Final = 40
LOG_LINES_SHOWN: Final = 20
AUTUMNS_OWN_KEY: Final = "stripe-node-retry-"


def main() -> int:
    """Run the demo; the exit code: 0 in sync, 1 not, 128 and the signal's number if it was asked to end."""
    folder = Path(tempfile.mkdtemp(prefix="sandbox-demo-"))
    in_use = False
    try:
        code = asyncio.run(_until_asked_to_end(_demo(Console(), folder)))
        # Whoever was shown the log's path may want to read it.
        in_use = code == 1
        return code
    except RedisUnavailableError as error:
        print(error)
        return 1
    finally:
        if not in_use:
            shutil.rmtree(folder, ignore_errors=True)


async def _until_asked_to_end(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.create_task(work)
    asked: list[int] = []

    def end(number: int) -> None:
        # Once only: what the first signal started is the orderly end, and a second one would cut it short.
        if not asked:
            asked.append(number)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not asked:
            raise
        return 128 + asked[0]


async def _demo(console: Console, folder: Path) -> int:
    started = time.monotonic()
    traffic = make_traffic(SEED)
    console.print(
        f"{len(traffic.customers)} customers and {len(traffic.entries)} events: "
        "starting Redis, Autumn, Stripe and the worker",
        highlight=False,
        soft_wrap=True,
    )
    async with sandbox() as running:
        plant(running, traffic)
        environment = {
            **running.environment,
            "INBOX_STREAM": INBOX,
            "KEY_PREFIX": PREFIX,
            "LOG_FORMAT": "json",
            "LOG_LEVEL": "INFO",
        }
        async with (
            Redis.from_url(running.environment["REDIS_URL"], decode_responses=True) as redis,
            worker_process(environment, folder) as worker,
        ):
            progress = Progress(redis)
            await _send_and_wait(View(console), running, traffic, progress, worker)
            exit_code = await worker.stop()
        unequal = differences(traffic.expected, running.autumn.customers, running.stripe.customers, traffic.untouched)
        found = _judge(running, traffic, progress, exit_code, unequal)
        console.print()
        console.print(final_table(_report(running, traffic, progress, unequal, time.monotonic() - started)))
    _explain(console, found, worker)
    dead = len(progress.dead)
    if found:
        print(f"NOT in sync: {len(found)} differences")
        return 1
    print(f"in sync: {len(traffic.customers)} customers, {len(progress.sent) - dead} events, {dead} dead letters")
    return 0


def plant(running: Sandbox, traffic: Traffic) -> None:
    """Put the traffic's customers into both simulators."""
    for planted in traffic.customers:
        stripe_id = planted.stripe.id if planted.stripe and planted.linked else None
        profile = planted.profile
        running.autumn.seed(
            planted.customer_id,
            name=profile.name,
            email=profile.email,
            send_email_receipts=profile.send_email_receipts,
            metadata=dict(profile.metadata),
            stripe_id=stripe_id,
        )
    linked = [planted.stripe for planted in traffic.customers if planted.stripe]
    for customer in [*linked, *traffic.strangers]:
        running.stripe.seed_customer(
            id=customer.id, name=customer.name, email=customer.email, metadata=dict(customer.metadata)
        )


async def _send_and_wait(
    view: View, running: Sandbox, traffic: Traffic, progress: Progress, worker: WorkerProcess
) -> None:
    """Send each entry at its time, until all have ended, the time is over or the worker is gone."""
    started = time.monotonic()
    time_out = traffic.entries[-1].at_seconds + TIME_OUT_SECONDS
    with view.shown():
        while worker.exit_code is None:
            seconds = time.monotonic() - started
            left = traffic.entries[len(progress.sent) :]
            await progress.send([entry for entry in left if entry.at_seconds <= seconds])
            await progress.read()
            view.show(_moment(running, traffic, progress, seconds))
            if (not left and progress.all_ended) or seconds > time_out:
                return
            await asyncio.sleep(TURN_SECONDS)


def _moment(running: Sandbox, traffic: Traffic, progress: Progress, seconds: float) -> Moment:
    a_second_ago = time.time() - 1.0
    autumn, stripe = running.autumn.calls, running.stripe.calls
    return Moment(
        seconds=seconds,
        planned=len(traffic.entries),
        sent=len(progress.sent),
        ended=progress.ended,
        totals=progress.totals,
        waiting=progress.waiting,
        working=progress.working,
        autumn=Calls(len(autumn), sum(call.started > a_second_ago for call in autumn)),
        stripe=Calls(len(stripe), sum(call.at > a_second_ago for call in stripe)),
        recent=[
            Ended(progress.sent[entry].customer_id, progress.sent[entry].about, end)
            for entry, end in list(progress.endings.items())[-RECENT:]
            if entry in progress.sent
        ],
    )


def _judge(
    running: Sandbox, traffic: Traffic, progress: Progress, exit_code: int, unequal: Sequence[Difference]
) -> list[Difference]:
    """All that is wrong; `unequal` is what the comparison of both sides found."""
    found = [Difference("the worker", f"ended with exit code {exit_code}")] if exit_code else []
    found += progress.missing()
    if not progress.all_ended or len(progress.sent) < len(traffic.entries):
        # What is still on its way would only hide in a list of everything that is not yet equal.
        return found or [Difference("the events", "have not all come to an end")]
    found += wrong_endings({entry: sent.end for entry, sent in progress.sent.items()}, progress.endings)
    return [*found, *unequal] + [
        Difference(customer_id, f"had {most} updates at a time")
        for customer_id, most in running.autumn.max_parallel_updates.items()
        if most > 1
    ]


def _report(
    running: Sandbox, traffic: Traffic, progress: Progress, unequal: Sequence[Difference], seconds: float
) -> Report:
    return Report(
        in_sync=len(traffic.expected.keys() - {difference.about for difference in unequal}),
        customers=len(traffic.customers),
        sent=len(progress.sent),
        applied=progress.applied,
        merged=progress.totals.get("merged", 0),
        duplicates=progress.totals.get("duplicates", 0),
        dead=progress.dead_by_reason(),
        endpoints=_endpoints(running),
        most_parallel=max(running.autumn.max_parallel_updates.values(), default=0),
        seconds=seconds,
    )


def _endpoints(running: Sandbox) -> list[Endpoint]:
    calls: Counter[tuple[str, str]] = Counter()
    too_many: Counter[tuple[str, str]] = Counter()
    for at_autumn in running.autumn.calls:
        name = ("Autumn", at_autumn.path.removeprefix("/v1/"))
        calls[name] += 1
        too_many[name] += at_autumn.status == 429
    for at_stripe in running.stripe.calls:
        own = (at_stripe.idempotency_key or "").startswith(AUTUMNS_OWN_KEY)
        name = ("Stripe", at_stripe.endpoint + (" (by Autumn itself)" if own else ""))
        calls[name] += 1
        too_many[name] += at_stripe.status == 429
    return [Endpoint(*name, count, too_many[name]) for name, count in sorted(calls.items())]


def _explain(console: Console, found: Sequence[Difference], worker: WorkerProcess) -> None:
    if not found:
        return
    for difference in found[:DIFFERENCES_SHOWN]:
        console.print(str(difference), markup=False, highlight=False, soft_wrap=True)
    if len(found) > DIFFERENCES_SHOWN:
        console.print(f"and {len(found) - DIFFERENCES_SHOWN} more")
    console.print(f"\nThe end of the worker's log, all of which is in {worker.log}:", soft_wrap=True)
    console.print(worker.log_tail(LOG_LINES_SHOWN), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
