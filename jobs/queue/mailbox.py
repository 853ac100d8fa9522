"""The pending work in Redis: the inbox, a mailbox for each customer, dispatches and leases.

A customer with events is in exactly one of two sorted sets: `waiting`, scored by when its sync may start, or
`dispatched`, scored by when its dispatch or lease expires. Each move between them is one atomic script. So a lost job,
worker or reply delays a customer but loses nothing. A job of arq is only a wake-up.
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio import Redis

from jobs.events import CUSTOMER_ID_MAX, EVENT_ID_MAX_BYTES
from jobs.queue.batch import OUTCOMES_KEPT, Batch, Entry, Lease, LeaseLostError, Settlement
from jobs.queue.breaker import breaker_key
from jobs.queue.record import RecordKeys, parse_record, read_remembered
from jobs.queue.scripts import Scripts
from jobs.queue.watch.state import BEHIND_POLLS, WatchKeys, parse_edits

MAX_WAITING = 10_000
"""Customers that may wait. More stay in the inbox, because an entry needs the least memory there."""
DISPATCH_MS = 10_000
"""The time that a wake-up has to reach a worker. After it, the customer is dispatched again."""
LEASE_SECONDS = 15.0
CLAIM_MS = 60_000
"""The life of a claim of a Stripe customer: longer than a sync, so that the next sync sees the write."""
BATCH = 100
"""The most entries that one update merges."""
MAX_AHEAD_MS = 300_000
"""The most that the id of an entry may be ahead of the clock of Redis.

A lower limit would refuse entries after a failover to a clock that is a little behind.
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class MailboxKeys:
    """The Redis keys of pending work. They are gone when nothing waits; `lease`, `claim` and `remembered` expire."""

    prefix: str

    @property
    def queue(self) -> str:
        """Sorted set: arq's jobs by when they are due. Lost wake-ups are created again."""
        return f"{self.prefix}:queue"

    @property
    def waiting(self) -> str:
        """Sorted set: customer by when its sync may start, in milliseconds."""
        return f"{self.prefix}:waiting"

    @property
    def dispatched(self) -> str:
        """Sorted set: customer by when its dispatch or its lease expires, in milliseconds."""
        return f"{self.prefix}:dispatched"

    @property
    def oldest(self) -> str:
        """Sorted set: customer by when the first entry of its mailbox was sent, in milliseconds."""
        return f"{self.prefix}:oldest"

    @property
    def rechecks(self) -> str:
        """Sorted set: customer by when its recheck is due, in milliseconds."""
        return f"{self.prefix}:rechecks"

    def claim(self, stripe_id: str) -> str:
        """The id of the Autumn customer that is being linked to a Stripe customer."""
        return f"{self.prefix}:claim:{stripe_id}"

    def remembered(self, customer_id: str) -> str:
        """The values that syncs wrote recently, as JSON (`jobs.plan.recheck`). Expires after minutes or days."""
        return f"{self.prefix}:remembered:{customer_id}"

    def mailbox(self, customer_id: str) -> str:
        """The stream of a customer's entries."""
        return f"{self.prefix}:mailbox:{customer_id}"

    def lease(self, customer_id: str) -> str:
        """The token of the worker that holds the lease of a customer."""
        return f"{self.prefix}:lease:{customer_id}"


class Mailbox:
    """The client of the pending work in Redis."""

    def __init__(
        self,
        redis: Redis,
        *,
        inbox: str,
        prefix: str,
        max_waiting: int = MAX_WAITING,
        lease_seconds: float = LEASE_SECONDS,
        dispatch_ms: int = DISPATCH_MS,
    ) -> None:
        """Open no connection. `redis` answers in bytes. `inbox` is the stream that apps write to."""
        self.keys = MailboxKeys(prefix)
        self.record_keys = RecordKeys(prefix)
        self.held: dict[str, Lease] = {}
        self._redis = redis
        self._inbox = inbox
        self._prefix = prefix
        self._max_waiting = max_waiting
        self.lease_seconds = lease_seconds
        self._dispatch_ms = dispatch_ms
        self._scripts = Scripts(
            redis, "move", "dispatch", "take", "renew_lease", "settle", "recheck", "claim_stripe_id", "remember_values"
        )

    async def arrival(self, block_ms: int) -> bool:
        """Wait at most `block_ms` until the inbox holds an entry. Return whether it does."""
        return bool(await self._redis.xread({self._inbox: "0"}, count=1, block=block_ms))

    async def move(self, count: int = 500) -> tuple[int, bool]:
        """Move at most `count` entries into the mailboxes. Return their number, and whether too many customers wait."""
        records = self.record_keys
        waits = [self._inbox, self.keys.waiting, self.keys.dispatched, self.keys.oldest]
        keys = [*waits, records.totals, records.dead, records.outcomes]
        bounds = [self._max_waiting, CUSTOMER_ID_MAX, EVENT_ID_MAX_BYTES, OUTCOMES_KEPT, MAX_AHEAD_MS]
        moved, full, replaced = await self._scripts.run("move", keys, [self._prefix, count, *bounds])
        _log_replaced(replaced)
        return int(moved), bool(full)

    async def dispatch(self, at_most: int) -> tuple[int, list[str], int]:
        """Dispatch due customers until `at_most` are dispatched.

        Return the time of Redis in milliseconds, their ids, and the milliseconds in which no customer becomes due by
        itself: 0 if a customer waits or is dispatched.
        """
        keys = [
            self.keys.waiting,
            self.keys.dispatched,
            self.keys.rechecks,
            breaker_key(self._prefix),
            self.record_keys.totals,
        ]
        now_ms, customers, quiet_ms = await self._scripts.run(
            "dispatch", keys, [self._prefix, at_most, self._dispatch_ms]
        )
        return int(now_ms), [customer.decode(errors="replace") for customer in customers], int(quiet_ms)

    async def take(self, customer_id: str) -> Batch | None:
        """Take a dispatched customer's batch under a lease; None if it is not dispatched or another worker has it."""
        # Read the clock before the call, so that our deadline is never later than the one in Redis.
        lease = Lease(customer_id, secrets.token_hex(8), time.monotonic() + self.lease_seconds)
        keys = self._keys_to_take(customer_id)
        taken = await self._scripts.run("take", keys, [customer_id, lease.token, self._lease_ms, BATCH, BEHIND_POLLS])
        if taken is None:
            return None
        if isinstance(taken, bytes):
            log.error("mailbox_blocked", customer=customer_id, key=self.keys.mailbox(customer_id))
            return None
        raw_entries, raw_record, raw_remembered, is_probe, replaced, raw_edits, now_ms, is_current, position = taken
        _log_replaced(replaced)
        self.held[customer_id] = lease
        entries = tuple(Entry(entry_id.decode(), _pairs(fields)) for entry_id, fields in raw_entries)
        record, broken = parse_record(_pairs(raw_record))
        remembered = read_remembered(raw_remembered, time.time())
        if broken or remembered is None:
            await self._start_afresh(customer_id, broken, has_remembered=remembered is not None)
        edits = parse_edits(_pairs(raw_edits))
        return Batch(
            lease,
            entries,
            record,
            remembered or {},
            bool(is_probe),
            edits,
            taken_at=now_ms / 1000,
            watch_is_current=bool(is_current),
            watch_position=float(position),
        )

    def _keys_to_take(self, customer_id: str) -> list[str]:
        """Return the keys of `take.lua`."""
        watch = WatchKeys(self._prefix)
        return [
            self.keys.lease(customer_id),
            self.keys.dispatched,
            self.keys.waiting,
            self.keys.oldest,
            self.keys.mailbox(customer_id),
            self.record_keys.customer(customer_id),
            self.keys.remembered(customer_id),
            breaker_key(self._prefix),
            self.record_keys.totals,
            watch.edits(customer_id),
            watch.request(customer_id),
            watch.watch,
        ]

    async def _start_afresh(self, customer_id: str, broken: Sequence[str], *, has_remembered: bool) -> None:
        """Delete the unreadable parts of a customer's state, so that they are reported once."""
        parts = [*broken, *([] if has_remembered else ["remembered"])]
        log.error("customer_state_reset", customer=customer_id, parts=parts)
        async with self._redis.pipeline(transaction=True) as pipe:
            if broken:
                pipe.hdel(self.record_keys.customer(customer_id), *broken)
            if not has_remembered:
                pipe.delete(self.keys.remembered(customer_id))
            pipe.hincrby(self.record_keys.totals, "customer_states_reset", 1)
            # The counter itself may be broken. That must stop nothing.
            await pipe.execute(raise_on_error=False)

    async def renew(self) -> None:
        """Renew every lease that this process holds. A lost one is forgotten, so its deadline passes."""
        for lease in list(self.held.values()):
            deadline = time.monotonic() + self.lease_seconds
            keys = [self.keys.lease(lease.customer_id), self.keys.dispatched]
            if await self._scripts.run("renew_lease", keys, [lease.customer_id, lease.token, self._lease_ms]):
                lease.deadline = deadline
            else:
                self.forget(lease)

    async def settle(self, lease: Lease, settlement: Settlement) -> bool:
        """Record the outcomes and release the lease, in one atomic step.

        Return False if the lease was lost. Then nothing was settled, and the next holder of the lease does the work
        again.
        """
        customer_id = lease.customer_id
        keys = [
            self.keys.lease(customer_id),
            self.keys.dispatched,
            self.keys.waiting,
            self.keys.rechecks,
            self.keys.oldest,
            self.keys.mailbox(customer_id),
            self.record_keys.customer(customer_id),
            self.keys.remembered(customer_id),
            breaker_key(self._prefix),
            self.record_keys.totals,
            self.record_keys.outcomes,
            self.record_keys.dead,
            self.record_keys.last_success,
            WatchKeys(self._prefix).links,
            self.record_keys.reviews,
        ]
        done = await self._scripts.run("settle", keys, [self._prefix, customer_id, lease.token, settlement.as_json()])
        self.forget(lease)
        return bool(done)

    async def remember(self, lease: Lease, remembered: Mapping[str, Any], seconds: int) -> None:
        """Store what a sync remembers before it writes, because it may die before it settles.

        Raises LeaseLostError if the lease is lost.
        """
        keys = [self.keys.lease(lease.customer_id), self.keys.remembered(lease.customer_id)]
        if not await self._scripts.run("remember_values", keys, [lease.token, json.dumps(remembered), seconds]):
            raise LeaseLostError(lease.customer_id)

    async def schedule_recheck(self, customer_id: str, after_ms: int) -> None:
        """Schedule a recheck of a customer after `after_ms`. It needs no event."""
        await self._scripts.run(
            "recheck", [self.keys.rechecks, self.record_keys.customer(customer_id)], [customer_id, after_ms]
        )

    async def claim(self, stripe_id: str, customer_id: str) -> bool:
        """Claim a Stripe customer for one minute. Return False if another customer holds the claim."""
        return bool(await self._scripts.run("claim_stripe_id", [self.keys.claim(stripe_id)], [customer_id, CLAIM_MS]))

    def forget(self, lease: Lease) -> None:
        """Stop renewing this lease."""
        if self.held.get(lease.customer_id) is lease:
            del self.held[lease.customer_id]

    @property
    def _lease_ms(self) -> int:
        return int(self.lease_seconds * 1000)


def _log_replaced(keys: Sequence[bytes]) -> None:
    for key in keys:
        log.warning("key_replaced", key=key.decode(errors="replace"))


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
