"""The client of the watch's state in Redis. Each method that writes is one atomic script, harmless if it runs again.

`jobs.queue.watch.state` owns the keys and reads the state for people.
"""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, NamedTuple

from redis.asyncio import Redis

from jobs.plan.edits import EDIT_SECONDS
from jobs.queue.batch import RECORD_SECONDS
from jobs.queue.breaker import OpenBreaker, read_breaker
from jobs.queue.key_types import answer_or_none, or_none
from jobs.queue.mailbox import MailboxKeys
from jobs.queue.record import RecordKeys
from jobs.queue.scripts import Scripts
from jobs.queue.watch.state import OFF_BY_SETTING, WatchKeys

SEEN_KEPT: Final = 500_000
"""Events that are remembered. Each poll reads the last minutes again, so an event of those must not be forgotten."""
SEEN_SECONDS: Final = 3 * 86_400
"""The time for which a seen event is remembered: as long as Stripe repeats a webhook."""
NOTE_SECONDS: Final = 8 * 86_400
"""The life of a note about a customer: longer than events are retried."""
RETRY_OFF_SECONDS: Final = 600
"""The time between two polls while the watch is off."""
STATE_SECONDS: Final = 40 * 86_400
"""The life of the position: longer than Stripe keeps events."""
LEASE_SECONDS: Final = 60.0
SHORTEST_LEASE_SECONDS: Final = 2.0
WAITING_AT_MOST: Final = 100
"""Events and customers that may wait when the watch adds a reconcile. Beyond that, the reconcile waits in the backlog,
so a bulk edit of all customers in Stripe delays no event of an app."""
REQUESTS_AN_HOUR: Final = 10
"""Reconciles of one customer that changes in Stripe lead to at once in an hour. Others are deferred: another writer may
revert each of our writes."""
_SECONDS: Final = re.compile(rb"[0-9]{1,12}")


@dataclass(frozen=True)
class EditDigests:
    """The digests of a value that somebody wrote in Stripe, and of the value before."""

    value: str
    before: str


@dataclass(frozen=True)
class CustomerNote:
    """The consequences of an event for one customer.

    `request` is the event id of a reconcile to request after `wait_seconds`, `later_request` that of one to request
    `EDIT_SECONDS` later; empty if there is none. `edits` holds, by field, the digests of the value that somebody wrote
    in Stripe and of the value before. `note` is JSON for the customer record.
    """

    id: str
    request: str = ""
    later_request: str = ""
    wait_seconds: float = 0.0
    edits: Mapping[str, EditDigests] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Receipt:
    """A receipt that Stripe sent to a customer."""

    customer: str
    number: str


@dataclass(frozen=True)
class EventNote:
    """An event of Stripe and its consequences. `created` is in seconds. `outcome` is empty if the script finds it."""

    id: str
    type: str
    created: int
    outcome: str = ""
    customers: Sequence[CustomerNote] = ()
    receipts: Sequence[Receipt] = ()


class Tick(NamedTuple):
    """The answer to a tick.

    `position` is in seconds since the epoch, None if there is none. `off` is why the watch is off, or empty.
    """

    now_ms: int
    polls: bool
    position: int | None
    off: str


class WatchQueue:
    """The client of the watch's state, for one process."""

    def __init__(
        self, redis: Redis, *, inbox: str, prefix: str, poll_seconds: float, seen_kept: int = SEEN_KEPT
    ) -> None:
        """Open no connection. `redis` answers in bytes. `poll_seconds` is the time between two polls; 0: never poll."""
        self.keys = WatchKeys(prefix)
        self.poll_seconds = poll_seconds
        self.lease_seconds = max(SHORTEST_LEASE_SECONDS, min(poll_seconds, LEASE_SECONDS))
        self._seen_kept = seen_kept
        self._redis = redis
        self._inbox = inbox
        self._prefix = prefix
        self._totals = RecordKeys(prefix).totals
        self._waiting = MailboxKeys(prefix).waiting
        self._requests = [self.keys.later, self.keys.later_events, self.keys.backlog, self.keys.backlog_events]
        self._token = secrets.token_hex(8)
        self._scripts = Scripts(redis, "note_stripe_event", "watch_tick", "watch_advance", "watch_end", "watch_release")

    async def tick(self) -> Tick:
        """Request the deferred reconciles that are due, and take the lease if a poll is due, or extend it.

        Raises RedisError.
        """
        keys = [self._inbox, self._waiting, self.keys.watch, self.keys.lease, *self._requests, self._totals]
        pauses_ms = [int(self.poll_seconds * 1000), RETRY_OFF_SECONDS * 1000]
        arguments = [self._prefix, self._token, self._lease_ms, *pauses_ms, WAITING_AT_MOST]
        now_ms, polls, position, off = await self._scripts.run("watch_tick", keys, arguments)
        known = int(position) if _SECONDS.fullmatch(position) else None
        return Tick(int(now_ms), bool(polls), known, off.decode(errors="replace"))

    async def advance(self, position: int) -> bool:
        """Store the position, in seconds since the epoch. Return False if the lease is lost. Raises RedisError."""
        keys = [self.keys.watch, self.keys.lease, self.keys.seen, self._totals]
        arguments = [self._token, self._lease_ms, position, SEEN_SECONDS, STATE_SECONDS]
        return bool(await self._scripts.run("watch_advance", keys, arguments))

    async def end(self, began_ms: int, *, off: str = "", error: str = "") -> str | None:
        """End a poll that began at `began_ms`, and release the lease.

        `off` is why the watch is off, `error` the code of the error that ended the poll. Return why the watch was off
        before; None if the lease is lost. Raises RedisError.
        """
        pause_seconds = RETRY_OFF_SECONDS if off else self.poll_seconds
        keys = [self.keys.watch, self.keys.lease, self._totals]
        arguments = [self._token, began_ms, int(pause_seconds * 1000), off, error, STATE_SECONDS]
        is_done, off_before = await self._scripts.run("watch_end", keys, arguments)
        return off_before.decode(errors="replace") if is_done else None

    async def release(self) -> None:
        """Release the lease of an interrupted poll, so that another process goes on at once. Raises RedisError."""
        await self._scripts.run("watch_release", [self.keys.lease], [self._token])

    async def unseen(self, ids: Sequence[str]) -> set[str]:
        """Return the events among `ids` that were not noted yet. Raises RedisError."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for each in ids:
                pipe.zscore(self.keys.seen, each)
            answers = [or_none(answer) for answer in await pipe.execute(raise_on_error=False)]
        return {each for each, score in zip(ids, answers, strict=True) if score is None}

    async def breaker(self) -> OpenBreaker | None:
        """Return the circuit breaker; None while it is closed. Raises RedisError."""
        return await read_breaker(self._redis, self._prefix)

    async def remembered(self, customer_id: str) -> bytes:
        """Return the values that syncs of a customer wrote recently, as JSON. Raises RedisError."""
        return await answer_or_none(self._redis.get(MailboxKeys(self._prefix).remembered(customer_id))) or b"{}"

    async def note(self, event: EventNote) -> str | None:
        """Note an event and request its reconciles. Return its outcome; None if it was noted before.

        Raises RedisError. Then the event was not noted, or its answer was lost. The call may be repeated.
        """
        keys = [self._inbox, self._waiting, self.keys.seen, *self._requests, self._totals]
        limits = {
            "seen_kept": self._seen_kept,
            "edit_seconds": EDIT_SECONDS,
            "note_seconds": NOTE_SECONDS,
            "record_seconds": RECORD_SECONDS,
            "waiting_at_most": WAITING_AT_MOST,
            "requests_an_hour": REQUESTS_AN_HOUR,
        }
        outcome = await self._scripts.run("note_stripe_event", keys, [self._prefix, json.dumps(asdict(event) | limits)])
        return None if outcome is None else outcome.decode()

    async def turn_off(self) -> None:
        """Forget the position, and note that a setting turns the polls off. Raises RedisError."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(self.keys.watch)
            pipe.hset(self.keys.watch, "off", OFF_BY_SETTING)
            pipe.expire(self.keys.watch, STATE_SECONDS)
            await pipe.execute()

    @property
    def _lease_ms(self) -> int:
        return int(self.lease_seconds * 1000)
