"""The demo's deployments while they run: everything is planted, each gets its worker and its events, until all ended.

Whether what came of it is right is not decided here.

How far the demo's events are, read from Redis as any app could read it: outcomes, dead letters, totals, lengths.

Sends with plain XADD and knows the public names of streams and keys only; nothing of the worker is imported.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.typing import EncodableT, FieldT, KeyT, StreamIdT

from sandbox.demo.comparison import Difference
from sandbox.demo.deployments import Deployment
from sandbox.demo.view import RECENT, Calls, Ended, Moment, View
from sandbox.demo.worker import WorkerProcess, worker_process
from sandbox.demo.world import APPLIED, DUPLICATE, Entry, Traffic
from sandbox.everything import Sandbox

READ_AT_A_TIME: Final = 1000


class Progress:
    """What one deployment was sent and what became of it so far."""

    def __init__(self, redis: Redis, entries: Sequence[Entry], *, inbox: str, prefix: str) -> None:
        """`redis` answers in text; `entries`, in the order of their times, are what is to be sent to `inbox`."""
        self.sent: dict[str, Entry] = {}
        self.endings: dict[str, str] = {}
        """Entry id to `APPLIED` or the reason of its dead letter, the latest last; a duplicate has none."""
        self.ended_at: dict[str, str] = {}
        """Entry id to when its ending was noted, as an id of a stream."""
        self.dead: dict[str, Mapping[str, str]] = {}
        """Dead letters by the id of their entry."""
        self.totals: dict[str, int] = {}
        self.waiting = self.working = 0
        self._redis = redis
        self._left = list(entries)
        self._inbox, self._prefix = inbox, prefix
        self._dead_letters = f"{prefix}:dead"
        self._seen = {f"{prefix}-outcomes": "0", self._dead_letters: "0"}

    async def send(self, seconds: float) -> None:
        """Add to the inbox, in one round trip, the entries that are due `seconds` after the start."""
        due, self._left = self._split(seconds)
        async with self._redis.pipeline(transaction=False) as pipe:
            for entry in due:
                fields: dict[FieldT, EncodableT] = {name: value for name, value in entry.fields.items()}
                pipe.xadd(self._inbox, fields)
            self.sent |= zip(await pipe.execute(), due, strict=True)

    def _split(self, seconds: float) -> tuple[list[Entry], list[Entry]]:
        """What is to be sent now, and what later: behind an entry that waits, everything of its customer does."""
        busy = {entry.customer_id for entry_id, entry in self.sent.items() if not self._has_ended(entry_id)}
        due: list[Entry] = []
        left: list[Entry] = []
        held: set[str] = set()
        for entry in self._left:
            is_behind = entry.customer_id in held
            if entry.at_seconds > seconds or is_behind or (entry.waits and entry.customer_id in busy):
                left.append(entry)
                held.add(entry.customer_id)
            else:
                due.append(entry)
                busy.add(entry.customer_id)
        return due, left

    async def read(self) -> None:
        """Catch up with what the worker did, in one round trip."""
        streams: dict[KeyT, StreamIdT] = {stream: seen for stream, seen in self._seen.items()}
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xread(streams, count=READ_AT_A_TIME)
            pipe.hgetall(f"{self._prefix}:totals")
            pipe.zcard(f"{self._prefix}:waiting")
            pipe.zcard(f"{self._prefix}:called")
            news, totals, self.waiting, self.working = await pipe.execute()
        self.totals = {name: int(value) for name, value in totals.items()}
        for stream, entries in news:
            for entry_id, fields in entries:
                self._seen[stream] = entry_id
                self._note(stream, entry_id, fields)

    @property
    def ended(self) -> int:
        """Entries that have come to their end, duplicates that were dropped among them."""
        return len(self.endings) + self.totals.get("duplicates", 0)

    @property
    def is_over(self) -> bool:
        """Whether everything was sent and has come to its end."""
        return not self._left and self.ended >= len(self.sent)

    @property
    def applied(self) -> int:
        """Entries that took effect."""
        return sum(end == APPLIED for end in self.endings.values())

    def missing(self) -> list[Difference]:
        """Each entry that has no ending."""
        return [
            Difference(f"event {entry_id}", f"{entry.about} of {entry.customer_id or 'nobody'} has no outcome")
            for entry_id, entry in self.sent.items()
            if not self._has_ended(entry_id)
        ]

    def dead_by_reason(self) -> Counter[tuple[str, str]]:
        """Dead letters counted by reason and message, without what differs from customer to customer."""
        return Counter((letter["reason"], _alike(letter)) for letter in self.dead.values())

    def _has_ended(self, entry_id: str) -> bool:
        return entry_id in self.endings or self.sent[entry_id].end == DUPLICATE

    def _note(self, stream: str, noted_as: str, fields: Mapping[str, Any]) -> None:
        """A dead letter is in both streams."""
        entry_id, reason = fields["entry"], fields.get("reason", "")
        if stream == self._dead_letters:
            self.dead[entry_id] = fields
        self.endings[entry_id] = reason or APPLIED
        self.ended_at[entry_id] = noted_as


def _alike(letter: Mapping[str, str]) -> str:
    """A dead letter's message without the reason that it may repeat and without the customer's id."""
    message, reason, customer = letter["message"], letter["reason"], letter.get("customer")
    short = message.rpartition(f"{reason}: ")[2]
    return short.replace(customer, "<id>") if customer else short


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
