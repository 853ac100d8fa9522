"""The demo's run: it seeds both services, starts the workers, sends the events and waits for their outcomes.

It sends with XADD and reads outcomes, dead letters, totals and lengths from Redis, as any app can. It knows the
names of streams and keys and imports nothing of the worker. The checks of the result belong elsewhere.
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

from sandbox.demo.comparison import Difference, unrepaired
from sandbox.demo.deployments import Deployment
from sandbox.demo.view import RECENT, Calls, Moment, Outcome, View
from sandbox.demo.worker import WorkerProcess, worker_process
from sandbox.demo.world import APPLIED, DUPLICATE, Edit, Entry, Traffic
from sandbox.everything import Sandbox

READ_AT_A_TIME: Final = 1000
BY_THE_WATCH: Final = "stripe-"
"""The event ids of the reconciles that the worker's watch requests begin with it."""


class Progress:
    """The events of one deployment that were sent, and their outcomes so far."""

    def __init__(self, redis: Redis, entries: Sequence[Entry], *, inbox: str, prefix: str) -> None:
        """`redis` must decode answers; `entries` will be sent to `inbox` and are in the order of their times."""
        self.sent: dict[str, Entry] = {}
        self.outcomes: dict[str, str] = {}
        """Entry id to `APPLIED` or the reason of its dead letter, the latest last. Dropped duplicates are not in it."""
        self.recorded_at: dict[str, str] = {}
        """Entry id to the stream id under which its outcome was recorded."""
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
        """Return the entries to send now and later. An entry that waits holds the later ones of its customer."""
        busy = {entry.customer_id for entry_id, entry in self.sent.items() if not self._has_ended(entry_id)}
        due: list[Entry] = []
        left: list[Entry] = []
        held: set[str] = set()
        for entry in self._left:
            is_held = entry.customer_id in held
            if entry.at_seconds > seconds or is_held or (entry.waits and entry.customer_id in busy):
                left.append(entry)
                held.add(entry.customer_id)
            else:
                due.append(entry)
                busy.add(entry.customer_id)
        return due, left

    async def read(self) -> None:
        """Read what the worker has done since the last call, in one round trip."""
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
        """Return the number of entries with an outcome, dropped duplicates included."""
        return len(self.outcomes) + self.totals.get("duplicates", 0)

    @property
    def is_over(self) -> bool:
        """Whether everything was sent and has an outcome."""
        return not self._left and self.ended >= len(self.sent)

    @property
    def applied(self) -> int:
        """Return the number of applied entries."""
        return sum(outcome == APPLIED for outcome in self.outcomes.values())

    def missing(self) -> list[Difference]:
        """Return each entry without an outcome."""
        return [
            Difference(f"event {entry_id}", f"{entry.about} of {entry.customer_id or 'nobody'} has no outcome")
            for entry_id, entry in self.sent.items()
            if not self._has_ended(entry_id)
        ]

    def dead_by_reason(self) -> Counter[tuple[str, str]]:
        """Return how many dead letters have each reason and message; ids in the messages are replaced."""
        return Counter((dead_letter["reason"], _without_ids(dead_letter)) for dead_letter in self.dead.values())

    def _has_ended(self, entry_id: str) -> bool:
        return entry_id in self.outcomes or self.sent[entry_id].outcome == DUPLICATE

    def _note(self, stream: str, stream_id: str, fields: Mapping[str, Any]) -> None:
        """Record the outcome of one stream entry. A dead letter is in both streams."""
        entry_id, reason = fields["entry"], fields.get("reason", "")
        if fields.get("event", "").startswith(BY_THE_WATCH):
            return
        if stream == self._dead_letters:
            self.dead[entry_id] = fields
        self.outcomes[entry_id] = reason or APPLIED
        self.recorded_at[entry_id] = stream_id


def _without_ids(dead_letter: Mapping[str, str]) -> str:
    """Return a dead letter's message without its reason, and with `<id>` in place of the customer's id."""
    message, reason, customer = dead_letter["message"], dead_letter["reason"], dead_letter.get("customer")
    short = message.rpartition(f"{reason}: ")[2]
    return short.replace(customer, "<id>") if customer else short


POLL_SECONDS: Final = 0.1
TIME_OUT_SECONDS: Final = 90.0


@dataclass(frozen=True)
class Deployed:
    """A running deployment."""

    deployment: Deployment
    progress: Progress
    worker: WorkerProcess


def seed(running: Sandbox, traffic: Traffic) -> None:
    """Seed the traffic's customers and payments in both simulators."""
    for seeded in traffic.customers:
        profile = seeded.profile
        running.autumn.seed(
            seeded.customer_id,
            name=profile.name,
            email=profile.email,
            send_email_receipts=profile.send_email_receipts,
            metadata=dict(profile.metadata),
            stripe_id=seeded.stripe_id,
        )
    for customer in [*(each for seeded in traffic.customers for each in seeded.stripe), *traffic.strangers]:
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
    """Run a worker of the deployment for the length of the block, in its own folder inside `folder`."""
    own = folder / deployment.receipts
    own.mkdir()
    async with worker_process({**running.environment, **deployment.environment}, own) as worker:
        entries = deployment.traffic.entries
        progress = Progress(redis, entries, inbox=deployment.inbox, prefix=deployment.prefix)
        yield Deployed(deployment, progress, worker)


async def send_and_wait(view: View, running: Sandbox, fleet: Sequence[Deployed], traffic: Traffic) -> None:
    """Send each entry and make each edit at its time.

    Ends when all entries have an outcome and all edits are repaired, the time-out passes or a worker exits.
    """
    started = time.monotonic()
    edits = list(traffic.edits)
    time_out = max(each.deployment.traffic.entries[-1].at_seconds for each in fleet) + TIME_OUT_SECONDS
    with view.shown():
        while all(each.worker.exit_code is None for each in fleet):
            seconds = time.monotonic() - started
            for each in fleet:
                await each.progress.send(seconds)
                await each.progress.read()
            while edits and edits[0].at_seconds <= seconds:
                _make(edits.pop(0), running)
            view.show(_moment(running, fleet, seconds))
            is_over = not edits and all(each.progress.is_over for each in fleet)
            if (is_over and not _unrepaired(running, traffic)) or seconds > time_out:
                break
            await asyncio.sleep(POLL_SECONDS)


def _make(edit: Edit, running: Sandbox) -> None:
    if edit.params is None:
        running.stripe.delete(edit.stripe_id)
    else:
        running.stripe.edit(edit.stripe_id, **edit.params)


def _unrepaired(running: Sandbox, traffic: Traffic) -> list[Difference]:
    return unrepaired(traffic, running.autumn.customers, running.stripe.customers)


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


def _recent(progresses: Sequence[Progress]) -> list[Outcome]:
    """The latest outcomes of all deployments, the latest last."""
    ends = [
        (_order(progress.recorded_at[entry_id]), Outcome(entry.customer_id, entry.about, progress.outcomes[entry_id]))
        for progress in progresses
        for entry_id, entry in progress.sent.items()
        if entry_id in progress.outcomes
    ]
    return [outcome for _, outcome in sorted(ends, key=lambda end: end[0])[-RECENT:]]


def _order(stream_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in stream_id.split("-"))
