"""What became of events and customers: written by the scripts that settle, read here.

Owns the keys of the outcomes, the totals, the customers' records and the dead letters.
"""

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from jobs.queue.key_types import is_wrong_type, or_none

HALF_DAY_SECONDS = 43_200
Status = Literal["waiting", "applied", "dead"]
FUTURE_SECONDS: Final = 2 * 86_400.0
"""How far ahead of now a time may be that a sync keeps for a customer."""
_COUNTS: Final = frozenset({"attempts", "unexpected", "recheck_tries", "reapplies", "create_tries", "takes"})
_RECEIPT: Final = "receipt:"
_TIMES: Final = frozenset({"failing_since", "created_at"})
PLAUSIBLE: Final = 2**53
"""The largest number that is shown, which every program that reads JSON has exactly: nothing here counts further."""
_COUNT: Final = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class Outcome:
    """What became of one event.

    `status` is `waiting` until a sync has ended it as `applied` or `dead`; `reason` is set for a dead one; `at` is in
    milliseconds since the epoch, None while it waits.
    """

    status: Status
    customer_id: str
    entry_id: str
    reason: str | None = None
    at: int | None = None


@dataclass(frozen=True)
class RecordKeys:
    """The keys in Redis of what became of things."""

    prefix: str

    @property
    def totals(self) -> str:
        """A hash of counters since the beginning, some by reason: `dead:REASON`, `retries:REASON`. Permanent."""
        return f"{self.prefix}:totals"

    @property
    def dead(self) -> str:
        """The stream of dead letters. Permanent: only a person drops one."""
        return f"{self.prefix}:dead"

    @property
    def aside(self) -> str:
        """A stream of dead letters that the one above did not take; they go back there as soon as it does."""
        return f"{self.dead}-aside"

    @property
    def last_success(self) -> str:
        """When a change was last applied, in milliseconds since the epoch. Permanent."""
        return f"{self.prefix}:last-success"

    @property
    def outcomes(self) -> str:
        """The stream of outcomes, trimmed."""
        return f"{self.prefix}-outcomes"

    def customer(self, customer_id: str) -> str:
        """A hash of what the last sync of a customer found. Lives 30 days after the last one."""
        return f"{self.prefix}:customer:{customer_id}"

    def events(self, bucket: int) -> str:
        """A hash from event id to outcome, for half a day since the epoch. Lives 36 hours."""
        return f"{self.prefix}:events:{bucket}"


def event_buckets(now_seconds: float) -> Sequence[int]:
    """The buckets that hold event ids of the last 24 hours, newest first.

    One bucket ahead, because this clock may be behind the one of Redis.
    """
    newest = int(now_seconds // HALF_DAY_SECONDS) + 1
    return range(newest, newest - 4, -1)


async def read_outcome(redis: Redis, prefix: str, event_id: str) -> Outcome | None:
    """The outcome of an event of the last 24 hours, by its `event_id` or its entry's id; None if it is not known."""
    keys = RecordKeys(prefix)
    async with redis.pipeline(transaction=False) as pipe:
        for bucket in event_buckets(time.time()):
            pipe.hget(keys.events(bucket), event_id)
        notes = [or_none(answer) for answer in await pipe.execute(raise_on_error=False)]
    return next((outcome for outcome in map(parse_outcome, notes) if outcome is not None), None)


def parse_outcome(note: bytes | None) -> Outcome | None:
    """The outcome that was noted; None if there is none, or what is there cannot be read."""
    try:
        found = json.loads(note or b"{}")
        return Outcome(found["status"], found["customer"], found["entry"], found.get("reason"), found.get("at"))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None


async def read_totals(redis: Redis, prefix: str) -> dict[str, int]:
    """The counters since the beginning, by name; one that cannot be right is cut to what one may be."""
    totals = as_text(await _hash(redis, RecordKeys(prefix).totals))
    numbers = {name: int(value) for name, value in totals.items() if re.fullmatch(r"-?[0-9]{1,19}", value)}
    return {name: max(0, min(number, PLAUSIBLE)) for name, number in numbers.items()}


async def read_unreadable_totals(redis: Redis, prefix: str) -> list[str]:
    """The names of the counters that are not numbers, and that `read_totals` leaves out, in order."""
    totals = as_text(await _hash(redis, RecordKeys(prefix).totals))
    return sorted(name for name, value in totals.items() if not re.fullmatch(r"-?[0-9]{1,19}", value))


async def read_customer(redis: Redis, prefix: str, customer_id: str) -> dict[str, str]:
    """What the last sync of a customer found, less what cannot be read; empty if there was none."""
    return without_broken_fields(as_text(await _hash(redis, RecordKeys(prefix).customer(customer_id))))[0]


async def read_refused(redis: Redis, prefix: str, customers: Sequence[str]) -> list[dict[str, tuple[str, str]]]:
    """What Stripe refused to take of each customer, by field: its code and the digest of the value."""
    async with redis.pipeline(transaction=False) as pipe:
        for customer in customers:
            pipe.hget(RecordKeys(prefix).customer(customer), "refused")
        found = [or_none(answer) for answer in await pipe.execute(raise_on_error=False)]
    raws = [raw.decode(errors="replace") if raw else "" for raw in found]
    return [parse_pairs(raw) if _is_readable("refused", raw) else {} for raw in raws]


def parse_pairs(kept: str) -> dict[str, tuple[str, str]]:
    """A field of a customer's record with two words for each field of the customer: `refused` or `forms`."""
    return {name: (first, second) for name, (first, second) in json.loads(kept).items()} if kept else {}


def without_broken_fields(record: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the fields of a customer's record that can be read, and the names of the others."""
    broken = [name for name, value in record.items() if value and not _is_readable(name, value)]
    if record.get("waits_for") and not record.get("waits_until_ms"):
        broken.append("waits_for")
    if "waits_until_ms" in broken and "waits_for" in record:
        broken.append("waits_for")
    return {name: value for name, value in record.items() if name not in broken}, list(dict.fromkeys(broken))


def read_remembered(kept: bytes, now: float) -> dict[str, Any] | None:
    """Return what syncs remember of a customer's values (jobs.plan.recheck), None if it has not the form they write.

    `now` is in seconds since the epoch: no time may be days ahead of it.
    """
    try:
        found = json.loads(kept)
        latest = now + FUTURE_SECONDS
        fields = found.get("fields", {})
        is_whole = (
            _is_time(found.get("in_doubt_until", 0.0), latest)
            and all(isinstance(found.get(name, ""), str) for name in ("stripe_id", "wanted_id"))
            and all(_is_known(known, latest) for known in fields.values())
        )
    except (ValueError, RecursionError, TypeError, AttributeError, KeyError):
        return None
    return found if is_whole else None


def _is_known(known: Mapping[str, Any], latest: float) -> bool:
    digests = [known["newest"], known["older"], known.get("overwritten", [])]
    return (
        _is_time(known["at"], latest)
        and all(isinstance(some, list) and all(isinstance(each, str) for each in some) for some in digests)
        and isinstance(known["unaccepted"], str)
        and isinstance(known["kept"], list)
    )


def _is_time(seconds: object, latest: float) -> bool:
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= latest


def _is_readable(name: str, value: str) -> bool:
    """Whether a field of a customer's record has the form that a sync writes."""
    try:
        if name in _COUNTS or name == "waits_until_ms" or name.startswith(_RECEIPT):
            return _COUNT.fullmatch(value) is not None
        if name in _TIMES:
            return math.isfinite(float(value)) and 0 <= float(value) <= time.time() + FUTURE_SECONDS
        if name in {"refused", "forms"}:
            return all(isinstance(each, str) for pair in parse_pairs(value).values() for each in pair)
        if name == "reports":
            return all(_is_report(report) for report in _list(json.loads(value)))
    except (ValueError, RecursionError, TypeError, AttributeError, KeyError):
        return False
    return True


def _is_report(report: Mapping[str, Any]) -> bool:
    latest = (time.time() + FUTURE_SECONDS) * 1000
    actions, findings = _list(report.get("actions", [])), _list(report.get("findings", []))
    texts = [report.get(name, "") for name in ("found", "link", "stripe_id", "error")]
    texts += [text for finding in findings for text in finding.values()]
    numbers = [report.get("events", 0), *report.get("given_up", {}).values()]
    return (
        all(_is_time(one.get("at_ms", 0), latest) for one in [report, *actions])
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) for number in numbers)
    )


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def as_text(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """Fields of Redis as text; bytes that are no UTF-8 are shown as replacement characters."""
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in fields.items()}


async def _hash(redis: Redis, key: str) -> dict[bytes, bytes]:
    # redis-py types the answers of its two clients as one.
    answer = redis.hgetall(key)
    try:
        return answer if isinstance(answer, dict) else await answer
    except ResponseError as error:
        # A key of the wrong type holds nothing of ours; the overview names it.
        if is_wrong_type(error):
            return {}
        raise
