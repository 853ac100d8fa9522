"""The demo's deployments while they run: everything is planted, each gets its worker and its events, until all ended.

Whether what came of it is right is not decided here.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from redis.asyncio import Redis

from sandbox.demo_deployments import Deployment
from sandbox.demo_progress import Progress
from sandbox.demo_view import RECENT, Calls, Ended, Moment, View
from sandbox.demo_worker import WorkerProcess, worker_process
from sandbox.demo_world import Traffic
from sandbox.everything import Sandbox

TURN_SECONDS: Final = 0.1
TIME_OUT_SECONDS: Final = 90.0


@dataclass(frozen=True)
class Deployed:
    """A deployment that runs."""

    deployment: Deployment
    progress: Progress
    worker: WorkerProcess


def plant(running: Sandbox, traffic: Traffic) -> None:
    """Put the traffic's customers and payments into both simulators."""
    for planted in traffic.customers:
        profile = planted.profile
        running.autumn.seed(
            planted.customer_id,
            name=profile.name,
            email=profile.email,
            send_email_receipts=profile.send_email_receipts,
            metadata=dict(profile.metadata),
            stripe_id=planted.stripe_id,
        )
    for customer in [*(each for planted in traffic.customers for each in planted.stripe), *traffic.strangers]:
        if customer.deleted:
            running.stripe.seed_customer(id=customer.id, deleted=True)
        else:
            running.stripe.seed_customer(
                id=customer.id, name=customer.name, email=customer.email, metadata=dict(customer.metadata)
            )
    now = time.time()
    for payment in traffic.payments:
        fields = {"id": payment.id, "customer": payment.stripe_id, "receipt_email": payment.receipt_email}
        if payment.succeeded_hours_ago is None:
            running.stripe.seed_payment_intent(**fields)
        else:
            succeeded_at = now - 3600 * payment.succeeded_hours_ago
            running.stripe.seed_payment_intent(**fields, status="succeeded", succeeded_at=succeeded_at)


@asynccontextmanager
async def deployed(deployment: Deployment, running: Sandbox, redis: Redis, folder: Path) -> AsyncIterator[Deployed]:
    """Run a worker of the deployment for the length of the block; it lives in a folder of its own inside `folder`."""
    own = folder / deployment.receipts
    own.mkdir()
    async with worker_process({**running.environment, **deployment.environment}, own) as worker:
        entries = deployment.traffic.entries
        progress = Progress(redis, entries, inbox=deployment.inbox, prefix=deployment.prefix)
        yield Deployed(deployment, progress, worker)


async def send_and_wait(view: View, running: Sandbox, fleet: Sequence[Deployed]) -> None:
    """Send each entry at its time, until all have ended, the time is over or a worker is gone."""
    started = time.monotonic()
    time_out = max(each.deployment.traffic.entries[-1].at_seconds for each in fleet) + TIME_OUT_SECONDS
    with view.shown():
        while all(each.worker.exit_code is None for each in fleet):
            seconds = time.monotonic() - started
            for each in fleet:
                await each.progress.send(seconds)
                await each.progress.read()
            view.show(_moment(running, fleet, seconds))
            if all(each.progress.is_over for each in fleet) or seconds > time_out:
                break
            await asyncio.sleep(TURN_SECONDS)


async def stop(running: Sandbox, fleet: Sequence[Deployed]) -> list[int]:
    """Ask all workers to stop, wait for the last webhooks to reach Autumn, and return the workers' exit codes."""
    exit_codes = await asyncio.gather(*(each.worker.stop() for each in fleet))
    await running.stripe.webhooks.settled()
    return exit_codes


def _moment(running: Sandbox, fleet: Sequence[Deployed], seconds: float) -> Moment:
    a_second_ago = time.time() - 1.0
    autumn, stripe = running.autumn.calls, running.stripe.calls
    progresses = [each.progress for each in fleet]
    totals: Counter[str] = sum((Counter(each.totals) for each in progresses), Counter())
    return Moment(
        seconds=seconds,
        planned=sum(len(each.deployment.traffic.entries) for each in fleet),
        sent=sum(len(each.sent) for each in progresses),
        ended=sum(each.ended for each in progresses),
        totals=totals,
        waiting=sum(each.waiting for each in progresses),
        working=sum(each.working for each in progresses),
        autumn=Calls(len(autumn), sum(call.started > a_second_ago for call in autumn)),
        stripe=Calls(len(stripe), sum(call.at > a_second_ago for call in stripe)),
        recent=_recent(progresses),
    )


def _recent(progresses: Sequence[Progress]) -> list[Ended]:
    """The latest endings of all deployments, the latest last."""
    ends = [
        (_order(progress.ended_at[entry_id]), Ended(entry.customer_id, entry.about, progress.endings[entry_id]))
        for progress in progresses
        for entry_id, entry in progress.sent.items()
        if entry_id in progress.endings
    ]
    return [ended for _, ended in sorted(ends, key=lambda end: end[0])[-RECENT:]]


def _order(stream_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in stream_id.split("-"))
