"""The Redis state of the notifications: what was sent, what is being sent, and the process that sends it.

One process at a time sends a request, under a lease. It stores what the request is about before it sends it, and what
was sent afterwards. So a process that is killed in between repeats one request, with the same ids, and loses nothing.
The state holds no customer's id.
"""

import json
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from redis.asyncio import Redis

from jobs.events import CUSTOMER_ID_MAX
from jobs.plan.plan import NEEDS_REVIEW
from jobs.queue.batch import REVIEWS_KEPT
from jobs.queue.dead_letters import LARGEST_PART, LETTER_ID, NO_LETTER
from jobs.queue.key_types import answer_or_none
from jobs.queue.record import RecordKeys
from jobs.queue.scripts import Scripts

PAUSE_SECONDS: Final = 60.0
"""The time between two requests: what happens meanwhile is sent together."""
LONGEST_PAUSE_SECONDS: Final = 900.0
"""The longest time between two tries of a request that fails."""
LEASE_SECONDS: Final = 60.0
STATE_SECONDS: Final = 40 * 86_400
"""The life of the state after the last request. Without it, all dead letters that are kept count as new."""
ENTRIES_AT_A_TIME: Final = 64
ENTRIES_COUNTED: Final = 10_000
"""The most dead letters that one notification counts. An app may have caused a million."""
CUSTOMERS_NAMED: Final = 20
REASONS_NAMED: Final = 20
OTHER: Final = "other"
"""Stands for further reasons, and for a text that is no reason code."""
_CUSTOMER_ID: Final = re.compile(rf"[a-zA-Z0-9_:-]{{1,{CUSTOMER_ID_MAX}}}")
_REASON: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_ALERT: Final = re.compile(r"[A-Za-z]{1,64}")
_COUNT: Final = re.compile(r"[0-9]{1,15}")
SENT: Final = "notification_requests_sent"
FAILED: Final = "notification_requests_failed"


@dataclass(frozen=True)
class NotificationKeys:
    """The Redis keys of the notifications. Both expire."""

    prefix: str

    @property
    def state(self) -> str:
        """Hash: the fields of `NotificationState`, and when the next request is due (`next_ms`)."""
        return f"{self.prefix}:notifications"

    @property
    def lease(self) -> str:
        """The token of the process that sends. Expires if the process dies."""
        return f"{self.prefix}:notifications:lease"


@dataclass(frozen=True)
class AlertMark:
    """An alert that a request was about: when it was found, and whether the receiver took that request."""

    since_ms: int
    is_sent: bool


@dataclass(frozen=True)
class NotificationState:
    """The state of the notifications. Times are in milliseconds since the epoch, on the clock of Redis.

    - `dead_after`, `dead_until`: the next request is about the dead letters after the first id, up to the second.
    - `reviews_after`, `reviews_until`: the same for the reconciles of the watch that found what needs review.
    - `scan`: the last scan that was considered.
    - `alerts`: the alerts that were sent or are being sent, by name.
    - `failures`: failed tries in a row. `unsent_since_ms` is when the first of them began, None if there is none.
    """

    now_ms: int = 0
    dead_after: str = NO_LETTER
    dead_until: str = NO_LETTER
    reviews_after: str = NO_LETTER
    reviews_until: str = NO_LETTER
    scan: str = ""
    alerts: Mapping[str, AlertMark] = field(default_factory=dict)
    failures: int = 0
    unsent_since_ms: int | None = None


@dataclass(frozen=True)
class ReasonCount:
    """New dead letters or reviews by reason, and some of their customers, first those that need review.

    `is_complete` is False if there may be more than were counted.
    """

    reasons: Mapping[str, int]
    customers: tuple[str, ...] = ()
    is_complete: bool = True

    @property
    def count(self) -> int:
        """The number of entries that were counted."""
        return sum(self.reasons.values())


class NotificationQueue:
    """The client of the state, for one process. Each method raises RedisError."""

    def __init__(self, redis: Redis, prefix: str, *, entries_counted: int = ENTRIES_COUNTED) -> None:
        """Open no connection. `redis` answers in bytes."""
        self._redis = redis
        self._keys = NotificationKeys(prefix)
        self._records = RecordKeys(prefix)
        self._entries_counted = entries_counted
        self._token = secrets.token_hex(8)
        self._scripts = Scripts(redis, "notifications_begin", "notifications_note", "entry_reasons")

    async def begin(self) -> NotificationState | None:
        """Take the lease if a request is due. Return None if none is due, or another process sends it."""
        keys = [self._keys.state, self._keys.lease, self._records.dead, self._records.reviews, self._records.totals]
        arguments = [self._token, int(LEASE_SECONDS * 1000), int(LONGEST_PAUSE_SECONDS * 1000)]
        answer = await self._scripts.run("notifications_begin", keys, arguments)
        if not answer:
            return None
        now_ms, fields = answer
        return parse_state(dict(zip(fields[::2], fields[1::2], strict=True)), int(now_ms))

    async def note(self, fields: Mapping[str, str], *, ends: bool = True, total: str = "") -> bool:
        """Store fields of the state. Return False if the lease is lost.

        An empty value deletes a field. With `ends`, release the lease. `total` is a total to count in.
        """
        pairs = [part for pair in fields.items() for part in pair]
        keys = [self._keys.state, self._keys.lease, self._records.totals]
        arguments = [self._token, int(ends), total, STATE_SECONDS, *pairs]
        return bool(await self._scripts.run("notifications_note", keys, arguments))

    async def count_dead_letters(self, state: NotificationState) -> ReasonCount:
        """Count the dead letters that the request is about and that were neither replayed nor dropped since."""
        return await self._count(self._records.dead, state.dead_after, state.dead_until)

    async def count_reviews(self, state: NotificationState) -> ReasonCount:
        """Count the reconciles of the watch that the request is about and that found what needs review.

        They become no dead letters, because no app waits for them.
        """
        stream, after = self._records.reviews, state.reviews_after
        count = await self._count(stream, after, state.reviews_until)
        # While a receiver fails, newer ones may trim those that it has not accepted.
        length = await answer_or_none(self._redis.xlen(stream)) or 0
        older = await answer_or_none(self._redis.xrange(stream, max=after, count=1))
        may_be_trimmed = length >= REVIEWS_KEPT and not older
        return replace(count, is_complete=count.is_complete and not may_be_trimmed)

    async def _count(self, stream: str, after: str, until: str) -> ReasonCount:
        reasons, review, others = Counter[str](), dict[str, None](), dict[str, None]()
        while reasons.total() < self._entries_counted:
            arguments = [after, until, ENTRIES_AT_A_TIME]
            last, entries, found = await self._scripts.run("entry_reasons", [stream], arguments)
            for reason, customer in zip(map(_text, found[::2]), map(_text, found[1::2]), strict=True):
                is_named = reason in reasons or (len(reasons) < REASONS_NAMED and _REASON.fullmatch(reason))
                reasons[reason if is_named else OTHER] += 1
                named = review if reason == NEEDS_REVIEW else others
                if _CUSTOMER_ID.fullmatch(customer) and len(named) < CUSTOMERS_NAMED:
                    named[customer] = None
            if entries < ENTRIES_AT_A_TIME:
                break
            after = last.decode()
        customers = tuple({**review, **others})[:CUSTOMERS_NAMED]
        return ReasonCount(dict(reasons.most_common()), customers, reasons.total() < self._entries_counted)


async def read_notifications(redis: Redis, prefix: str) -> NotificationState:
    """Return the state without a time. Raises RedisError."""
    fields: Any = redis.hgetall(NotificationKeys(prefix).state)
    return parse_state(await answer_or_none(fields) or {}, 0)


def parse_state(raw: Mapping[bytes, bytes], now_ms: int) -> NotificationState:
    """Return the state in the fields of the hash. A field that is missing or unreadable has its default."""
    stored = {_text(name): _text(value) for name, value in raw.items()}
    since, failures = stored.get("unsent_since_ms", ""), stored.get("failures", "")
    return NotificationState(
        now_ms=now_ms,
        **_positions(stored, "dead"),
        **_positions(stored, "reviews"),
        scan=stored.get("scan", ""),
        alerts=_read_alerts(stored.get("alerts", "")),
        failures=int(failures) if _COUNT.fullmatch(failures) else 0,
        unsent_since_ms=int(since) if _COUNT.fullmatch(since) else None,
    )


def _positions(stored: Mapping[str, str], stream: str) -> dict[str, Any]:
    after, until = (_entry_id(stored.get(f"{stream}_{name}", "")) for name in ("after", "until"))
    # An id before the last one that was sent is that of a new stream.
    is_new = _parts(after) > _parts(until)
    return {f"{stream}_after": NO_LETTER if is_new else after, f"{stream}_until": until}


def alerts_text(alerts: Mapping[str, AlertMark]) -> str:
    """Return the alerts in the format of the state."""
    return json.dumps({name: [mark.since_ms, mark.is_sent] for name, mark in alerts.items()})


def _read_alerts(text: str) -> dict[str, AlertMark]:
    try:
        found = {
            name: AlertMark(int(since_ms), bool(is_sent)) for name, (since_ms, is_sent) in json.loads(text).items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}
    return {name: mark for name, mark in found.items() if _ALERT.fullmatch(name)}


def _entry_id(text: str) -> str:
    return text if LETTER_ID.fullmatch(text) and max(_parts(text)) <= LARGEST_PART else NO_LETTER


def _parts(letter_id: str) -> tuple[int, ...]:
    return tuple(map(int, letter_id.split("-")))


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
