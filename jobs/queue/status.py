"""The current state of the queue: what waits, for which customer, and since when. Reads only."""

from dataclasses import dataclass, replace
from typing import Literal

from redis.asyncio import Redis

from jobs.queue.breaker import OpenBreaker, breaker_key, read_breaker
from jobs.queue.failing_loops import FailingLoop, read_failing
from jobs.queue.key_types import is_wrong_type, or_none
from jobs.queue.mailbox import MailboxKeys
from jobs.queue.record import NO_RECORD, PLAUSIBLE, CustomerRecord, RecordKeys, parse_record, read_totals
from jobs.queue.scripts import Scripts

State = Literal["idle", "waiting", "working"]


@dataclass(frozen=True)
class Standing:
    """The current state of one customer. Times are in milliseconds since the epoch.

    `state` is `idle`, `waiting` (until `due_ms`) or `working` (dispatched, or a sync runs). `entries` is the number of
    waiting events, and `oldest_entry` the id of the first one. `recheck_due_ms` is None if no recheck is scheduled.
    `breaker` is set while it is open.
    """

    customer: str
    state: State
    due_ms: int | None
    entries: int
    oldest_entry: str | None
    record: CustomerRecord
    recheck_due_ms: int | None = None
    breaker: OpenBreaker | None = None
    wrong_keys: tuple[str, ...] = ()
    """Keys of the customer that hold the wrong type of value."""

    @property
    def is_known(self) -> bool:
        """Whether anything waits for the customer, or a sync of the last 30 days left a record.

        What the watch noted in the record does not count, because no sync may have followed yet.
        """
        synced = replace(self.record, seen_in_stripe=(), receipt_number="", receipt_at_ms=None)
        return self.state != "idle" or self.entries > 0 or self.recheck_due_ms is not None or synced != NO_RECORD


@dataclass(frozen=True)
class Overview:
    """The state of the whole queue, and the counters since the first start.

    `inbox` and `dead` count events, `waiting` and `working` count customers. Times are in milliseconds since the epoch
    on the clock of Redis; None if there is none.
    """

    now_ms: int
    inbox: int
    waiting: int
    working: int
    oldest_sent_ms: int | None
    """When the oldest event was sent that is neither applied nor dead."""
    dead: int
    newest_dead_ms: int | None
    """When the newest remaining dead letter was added."""
    last_success_ms: int | None
    """When an event was last applied."""
    totals: dict[str, int]
    breaker: OpenBreaker | None
    """The open breaker; None while it is closed."""
    wrong_keys: tuple[str, ...] = ()
    """Keys that all customers share and that hold the wrong type of value."""
    dead_aside: int = 0
    """The number of `dead` that are kept aside, because the stream of dead letters does not accept them."""
    full_keys: tuple[str, ...] = ()
    """Streams that accept no entry, because they have no id left."""
    failing: tuple[FailingLoop, ...] = ()
    """Worker loops that keep failing."""

    @property
    def in_mailboxes(self) -> int:
        """The number of events in the mailboxes: received, but without an outcome."""
        finished = sum(self.totals.get(name, 0) for name in ("applied", "dead", "duplicates"))
        # The difference may be negative if a counter was lost and counts from 0 again.
        return max(0, self.totals.get("received", 0) - finished)

    def age_seconds(self, then_ms: int | None) -> float | None:
        """Return the age of a time in seconds; 0 if the time is in the future."""
        return None if then_ms is None else max(0, self.now_ms - then_ms) / 1000


async def read_standing(redis: Redis, prefix: str, customer_id: str) -> Standing:
    """Return the current state of one customer. Raises RedisError."""
    keys, records = MailboxKeys(prefix), RecordKeys(prefix)
    # Not a transaction, because Redis refuses those when its memory is full. `waiting` is read twice, because the
    # customer may move to or from `dispatched` in between.
    async with redis.pipeline(transaction=False) as pipe:
        pipe.zscore(keys.waiting, customer_id)
        pipe.zscore(keys.dispatched, customer_id)
        pipe.zscore(keys.waiting, customer_id)
        pipe.zscore(keys.rechecks, customer_id)
        pipe.xlen(keys.mailbox(customer_id))
        pipe.xrange(keys.mailbox(customer_id), count=1)
        pipe.hgetall(records.customer(customer_id))
        answers = await pipe.execute(raise_on_error=False)
    first_waiting, dispatched, then_waiting, recheck, entries, first, record = map(or_none, answers)
    waiting = then_waiting if first_waiting is None else first_waiting
    wrong = [keys.mailbox(customer_id)] if is_wrong_type(answers[4]) else []
    wrong += [records.customer(customer_id)] if is_wrong_type(answers[6]) else []
    state: State = "idle" if waiting is None else "waiting"
    return Standing(
        customer=customer_id,
        state=state if dispatched is None else "working",
        due_ms=_bounded_ms(waiting) if dispatched is None else None,
        entries=entries or 0,
        oldest_entry=first[0][0].decode() if first else None,
        record=parse_record(record or {})[0],
        recheck_due_ms=_bounded_ms(recheck),
        breaker=await read_breaker(redis, prefix),
        wrong_keys=tuple(wrong),
    )


def _bounded_ms(score: float | None) -> int | None:
    """Return a score as milliseconds, clamped: no script writes an infinite or negative one."""
    return None if score is None else int(max(0.0, min(score, PLAUSIBLE)))


async def read_longest_waiting(redis: Redis, prefix: str, at_most: int) -> list[Standing]:
    """Return the states of the customers whose events have waited longest, the longest first. Raises RedisError."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.zrange(MailboxKeys(prefix).oldest, 0, at_most - 1)
        (answer,) = await pipe.execute(raise_on_error=False)
    found = or_none(answer) or []
    return [await read_standing(redis, prefix, customer.decode(errors="replace")) for customer in found]


async def read_overview(redis: Redis, prefix: str, inbox: str) -> Overview:
    """Return the current state of the whole queue. Raises RedisError."""
    waits, records = MailboxKeys(prefix), RecordKeys(prefix)
    keys = [inbox, waits.waiting, waits.dispatched, waits.oldest, records.dead, records.last_success]
    keys += [waits.rechecks, records.outcomes, records.totals, breaker_key(prefix), waits.queue]
    counted = await Scripts(redis, "overview").run("overview", keys)
    now_ms, in_inbox, waiting, working, oldest_sent_ms, dead, newest_dead_ms, last_success_ms, *faults = counted
    wrong, dead_aside, is_full = faults
    return Overview(
        now_ms=now_ms,
        inbox=in_inbox,
        waiting=waiting,
        working=working,
        oldest_sent_ms=oldest_sent_ms,
        dead=dead,
        newest_dead_ms=newest_dead_ms,
        last_success_ms=last_success_ms,
        totals=await read_totals(redis, prefix),
        breaker=await read_breaker(redis, prefix),
        wrong_keys=tuple(key.decode() for key in wrong),
        dead_aside=dead_aside,
        full_keys=(records.dead,) if is_full else (),
        failing=await read_failing(redis, prefix),
    )
