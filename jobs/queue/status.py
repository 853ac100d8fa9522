"""Where things stand: what waits, for whom, and since when. Reads only, changes nothing."""

from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from jobs.queue.breaker import OpenBreaker, breaker_key, read_breaker
from jobs.queue.failing import FailingLoop, read_failing
from jobs.queue.key_types import is_wrong_type, or_none
from jobs.queue.mailbox import MailboxKeys
from jobs.queue.record import NO_RECORD, PLAUSIBLE, CustomerRecord, RecordKeys, parse_record, read_totals
from jobs.queue.scripts import Scripts

State = Literal["idle", "waiting", "working"]


@dataclass(frozen=True)
class Standing:
    """Where one customer stands. Times are in milliseconds since the epoch.

    `state` is `idle`, `waiting` (until `due_ms`) or `working` (called, or being worked on). `oldest_entry` is the id of
    the first of `entries` waiting events; its part before the dash is when it was sent. `recheck_due_ms` is when it is
    looked at a second time, None where nobody asked for that. `breaker` says why nothing but a probe goes out.
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
    """Keys of the customer that hold another type of value than they should."""

    @property
    def is_known(self) -> bool:
        """Whether anything waits for it, or a sync of the last 30 days left a record."""
        return self.state != "idle" or self.entries > 0 or self.recheck_due_ms is not None or self.record != NO_RECORD


@dataclass(frozen=True)
class Overview:
    """How much waits altogether, and the counters since the beginning.

    `inbox` and `dead` are events, `waiting` and `working` customers. Times are in milliseconds since the epoch, on the
    clock of Redis, as `now_ms` is; None where there is none.
    """

    now_ms: int
    inbox: int
    waiting: int
    working: int
    oldest_sent_ms: int | None
    """When the oldest change was sent that is neither applied nor dead."""
    dead: int
    newest_dead_ms: int | None
    """When the newest dead letter that is still there was buried."""
    last_success_ms: int | None
    """When a change was last applied."""
    totals: dict[str, int]
    breaker: OpenBreaker | None
    """Why nothing but a probe goes out; None while all is well."""
    wrong_keys: tuple[str, ...] = ()
    """Keys that all customers share and that hold another type of value than they should."""
    dead_aside: int = 0
    """Those of the `dead` that are kept in another key, because the one of the dead letters takes none."""
    full_keys: tuple[str, ...] = ()
    """Streams that have no id left, so that they take no entry."""
    failing: tuple[FailingLoop, ...] = ()
    """Loops of workers that keep failing."""

    @property
    def in_mailboxes(self) -> int:
        """Events in the mailboxes: those that came in and have not come to any end."""
        ends = sum(self.totals.get(name, 0) for name in ("applied", "dead", "duplicates"))
        # A counter that was lost or spoiled counts from 0: then the difference says nothing.
        return max(0, self.totals.get("received", 0) - ends)

    def age_seconds(self, then_ms: int | None) -> float | None:
        """How long ago that was; 0 for what claims to be of the future."""
        return None if then_ms is None else max(0, self.now_ms - then_ms) / 1000


async def read_standing(redis: Redis, prefix: str, customer_id: str) -> Standing:
    """Where one customer stands now. Raises RedisError."""
    keys, records = MailboxKeys(prefix), RecordKeys(prefix)
    # No transaction, which a Redis that has no memory left refuses. A customer may begin or cease to wait meanwhile.
    async with redis.pipeline(transaction=False) as pipe:
        pipe.zscore(keys.waiting, customer_id)
        pipe.zscore(keys.dispatched, customer_id)
        pipe.zscore(keys.waiting, customer_id)
        pipe.zscore(keys.rechecks, customer_id)
        pipe.xlen(keys.mailbox(customer_id))
        pipe.xrange(keys.mailbox(customer_id), count=1)
        pipe.hgetall(records.customer(customer_id))
        answers = await pipe.execute(raise_on_error=False)
    waited, called, waits, look, entries, first, record = (or_none(answer) for answer in answers)
    waiting = waits if waited is None else waited
    wrong = [keys.mailbox(customer_id)] if is_wrong_type(answers[4]) else []
    wrong += [records.customer(customer_id)] if is_wrong_type(answers[6]) else []
    state: State = "idle" if waiting is None else "waiting"
    return Standing(
        customer=customer_id,
        state=state if called is None else "working",
        due_ms=_bounded_ms(waiting) if called is None else None,
        entries=entries or 0,
        oldest_entry=first[0][0].decode() if first else None,
        record=parse_record(record or {})[0],
        recheck_due_ms=_bounded_ms(look),
        breaker=await read_breaker(redis, prefix),
        wrong_keys=tuple(wrong),
    )


def _bounded_ms(score: float | None) -> int | None:
    """Return a score as milliseconds; one that is infinite, or before 1970, is none that a script wrote."""
    return None if score is None else int(max(0.0, min(score, PLAUSIBLE)))


async def read_longest_waiting(redis: Redis, prefix: str, at_most: int) -> list[Standing]:
    """Where those customers stand whose changes have waited longest, the longest first. Raises RedisError."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.zrange(MailboxKeys(prefix).oldest, 0, at_most - 1)
        (answer,) = await pipe.execute(raise_on_error=False)
    found = or_none(answer) or []
    return [await read_standing(redis, prefix, customer.decode(errors="replace")) for customer in found]


async def read_overview(redis: Redis, prefix: str, inbox: str) -> Overview:
    """How much waits now. Raises RedisError."""
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
