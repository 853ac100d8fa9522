"""The truth about what is to be done: the inbox, a mailbox per customer, who waits, who was called, who has the lease.

A customer with mail is in exactly one of two sorted sets: `waiting` (scored by when it may be worked on) or `called`
(scored by when we stop believing that somebody works on it). Every move between them is one script, so losing any
job, any worker or any reply delays a customer and loses nothing. arq never holds more than a wake-up.
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from jobs.events import CUSTOMER_ID_MAX
from jobs.record import RecordKeys, as_text
from jobs.scripts import load_scripts

MAX_WAITING = 10_000
"""Customers that may wait; more stay in the inbox, where an entry costs the least memory."""
CALL_MS = 10_000
"""How long a wake-up may take to reach a worker before the customer is called again."""
LEASE_SECONDS = 15.0
BATCH = 100
"""Entries that one update may merge."""
OUTCOMES_KEPT = 10_000
RECORD_SECONDS = 30 * 86_400


class LeaseLostError(Exception):
    """Another worker may have the customer by now: write nothing, settle nothing."""


@dataclass
class Lease:
    """The right to write for one customer, until `deadline` on this process' monotonic clock, in seconds."""

    customer_id: str
    token: str
    deadline: float

    def check(self) -> None:
        """Raise LeaseLostError if the time is over. To be called before every write."""
        if time.monotonic() >= self.deadline:
            raise LeaseLostError(self.customer_id)


@dataclass(frozen=True)
class Entry:
    """One entry of a mailbox: the id it had in the inbox, and its fields as they were sent."""

    id: str
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True)
class Mail:
    """A customer's mailbox, taken under a lease. `record` is what the last syncs left behind."""

    lease: Lease
    entries: tuple[Entry, ...]
    record: Mapping[str, str]


@dataclass(frozen=True)
class Settled:
    """What became of one entry. `event` is the id it is known by; `dead` holds a dead letter's fields."""

    entry: str
    event: str
    dead: Mapping[str, str] | None = None

    @property
    def is_dead(self) -> bool:
        """Whether it ends as a dead letter."""
        return self.dead is not None

    def as_json(self) -> dict[str, str]:
        """The form that the settling script reads."""
        status = "dead" if self.is_dead else "applied"
        return {"entry": self.entry, "event": self.event, "status": status, **(self.dead or {})}


@dataclass(frozen=True)
class Ending:
    """How a round ends: what became of which entries, what is noted of the customer, counters to raise.

    What is left in the mailbox waits for `again_after_ms`.
    """

    settled: Sequence[Settled]
    record: Mapping[str, str]
    totals: Mapping[str, int]
    again_after_ms: int = 0


@dataclass(frozen=True)
class MailboxKeys:
    """The keys in Redis of what waits. All are gone when nothing waits, leases after seconds."""

    prefix: str

    @property
    def waiting(self) -> str:
        """Sorted set: customer by when it may be worked on, in milliseconds."""
        return f"{self.prefix}:waiting"

    @property
    def called(self) -> str:
        """Sorted set: customer by when its call or its lease is over, in milliseconds."""
        return f"{self.prefix}:called"

    def mailbox(self, customer_id: str) -> str:
        """The stream of a customer's entries."""
        return f"{self.prefix}:mailbox:{customer_id}"

    def lease(self, customer_id: str) -> str:
        """The token of who works on a customer."""
        return f"{self.prefix}:lease:{customer_id}"


class Mailbox:
    """The door to what waits in Redis."""

    def __init__(
        self,
        redis: Redis,
        *,
        inbox: str,
        prefix: str,
        max_waiting: int = MAX_WAITING,
        lease_seconds: float = LEASE_SECONDS,
        call_ms: int = CALL_MS,
    ) -> None:
        """Opens nothing. `redis` answers in bytes; `inbox` is the stream that apps add to."""
        self.keys = MailboxKeys(prefix)
        self.record_keys = RecordKeys(prefix)
        self.held: dict[str, Lease] = {}
        self._redis = redis
        self._inbox = inbox
        self._prefix = prefix
        self._max_waiting = max_waiting
        self.lease_seconds = lease_seconds
        self._call_ms = call_ms
        self._scripts = load_scripts(redis, "move", "call", "take", "renew", "settle")

    async def arrival(self, block_ms: int) -> bool:
        """Wait until the inbox holds an entry, `block_ms` at most; whether it does."""
        return bool(await self._redis.xread({self._inbox: "0"}, count=1, block=block_ms))

    async def move(self, count: int = 500) -> tuple[int, bool]:
        """Move at most `count` entries into the mailboxes; how many, and whether too many customers wait."""
        keys = [
            self._inbox,
            self.keys.waiting,
            self.keys.called,
            self.record_keys.totals,
            self.record_keys.dead,
        ]
        moved, full = await self._run("move", keys, [self._prefix, count, self._max_waiting, CUSTOMER_ID_MAX])
        return int(moved), bool(full)

    async def call(self, at_most: int) -> tuple[int, list[str]]:
        """Call customers whose time has come, so that `at_most` are called; Redis' milliseconds, and who was called."""
        keys = [self.keys.waiting, self.keys.called, self.record_keys.totals]
        now_ms, customers = await self._run("call", keys, [at_most, self._call_ms])
        return int(now_ms), [customer.decode() for customer in customers]

    async def take(self, customer_id: str) -> Mail | None:
        """Take a called customer's mail under a lease; None if it was not called or another has it."""
        # The clock starts before the call, so that our deadline is never later than the one in Redis.
        lease = Lease(customer_id, secrets.token_hex(8), time.monotonic() + self.lease_seconds)
        keys = [
            self.keys.lease(customer_id),
            self.keys.called,
            self.keys.mailbox(customer_id),
            self.record_keys.customer(customer_id),
        ]
        taken = await self._run("take", keys, [customer_id, lease.token, self._lease_ms, BATCH])
        if taken is None:
            return None
        raw_entries, raw_record = taken
        self.held[customer_id] = lease
        entries = tuple(Entry(entry_id.decode(), _pairs(fields)) for entry_id, fields in raw_entries)
        return Mail(lease, entries, as_text(_pairs(raw_record)))

    async def renew(self) -> None:
        """Renew every lease this process holds; one that is lost is forgotten and its deadline passes."""
        for lease in list(self.held.values()):
            deadline = time.monotonic() + self.lease_seconds
            keys = [self.keys.lease(lease.customer_id), self.keys.called]
            if await self._run("renew", keys, [lease.customer_id, lease.token, self._lease_ms]):
                lease.deadline = deadline
            else:
                self.forget(lease)

    async def settle(self, lease: Lease, ending: Ending) -> bool:
        """End a lease: settle its entries and record what became of them, in one step.

        False if the lease was lost: then nothing was settled, and whoever has the customer now does it again.
        """
        customer_id = lease.customer_id
        keys = [
            self.keys.lease(customer_id),
            self.keys.called,
            self.keys.waiting,
            self.keys.mailbox(customer_id),
            self.record_keys.customer(customer_id),
            self.record_keys.totals,
            self.record_keys.outcomes,
            self.record_keys.dead,
        ]
        arguments = [
            self._prefix,
            customer_id,
            lease.token,
            ending.again_after_ms,
            OUTCOMES_KEPT,
            RECORD_SECONDS,
            json.dumps([settled.as_json() for settled in ending.settled]),
            json.dumps(dict(ending.record)),
            json.dumps(dict(ending.totals)),
        ]
        done = await self._run("settle", keys, arguments)
        self.forget(lease)
        return bool(done)

    def forget(self, lease: Lease) -> None:
        """Renew this lease no more."""
        if self.held.get(lease.customer_id) is lease:
            del self.held[lease.customer_id]

    @property
    def _lease_ms(self) -> int:
        return int(self.lease_seconds * 1000)

    async def _run(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        return await self._scripts[name](keys=list(keys), args=list(arguments))


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
