"""Outcomes, totals and customer records in Redis. Lua scripts write them; this module reads them.

Owns the keys of the outcomes, the totals, the customer records and the dead letters, and the format of a record.
"""

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from autumn_sync_client.outcomes import Outcome, events_key
from autumn_sync_client.redis_commands import get_outcome, outcome_in
from jobs.plan.verified import Verified, read_verified, write_verified
from jobs.queue.key_types import is_wrong_type, or_none
from jobs.queue.watch.state import FUTURE_SECONDS, SeenInStripe, read_seen, write_seen

PLAUSIBLE: Final = 2**53
"""The largest number that is shown. Every JSON parser reads it exactly, and no real counter reaches it."""
_COUNT: Final = re.compile(r"[0-9]{1,15}")


Pairs = Mapping[str, tuple[str, str]]
"""Two strings for each field of a customer."""
SYNC: Final = "sync"
"""Names a sync as the writer of a field: `settle.lua` stores its settlement. The other writers are scripts."""


@dataclass(frozen=True)
class Form:
    """The format of a field of the record. `read` never gets an empty text. It raises if the text is malformed."""

    read: Callable[[str], Any]
    write: Callable[[Any], str]


def _read_count(text: str) -> int:
    if _COUNT.fullmatch(text) is None:
        raise ValueError("not a count")
    return int(text)


def _read_time(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and 0 <= seconds <= time.time() + FUTURE_SECONDS):
        raise ValueError("not a time")
    return seconds


def _read_pairs(text: str) -> Pairs:
    pairs = {name: (first, second) for name, (first, second) in json.loads(text).items()}
    if not all(isinstance(each, str) for pair in pairs.values() for each in pair):
        raise TypeError("not two words")
    return pairs


def _read_reports(text: str) -> str:
    if not all(_is_report(report) for report in _list(json.loads(text))):
        raise TypeError("not reports")
    return text


def time_text(seconds: float | None) -> str:
    """Return a time in the format of the record; "" for None."""
    return "" if seconds is None else f"{seconds:.3f}"


TEXT: Final = Form(str, str)
FLAG: Final = Form(lambda text: text == "1", lambda flag: "1" if flag else "")
COUNT: Final = Form(_read_count, str)
UNTIL_MS: Final = Form(_read_count, lambda ms: "" if ms is None else str(ms))
TIME: Final = Form(_read_time, time_text)
PAIRS: Final = Form(_read_pairs, lambda pairs: json.dumps(pairs) if pairs else "")
REPORTS: Final = Form(_read_reports, str)
SEEN: Final = Form(read_seen, write_seen)
VERIFIED: Final = Form(read_verified, write_verified)
WATCH: Final = "note_stripe_event.lua"


def _stored(form: Form, *writers: str, until: str, prefix: str = "") -> Mapping[str, Any]:
    """Return the metadata of a field: its format, its writers, and when its value is removed.

    A field with a `prefix` is a mapping. Each item is a field of the hash, named by the prefix and the item's key.
    """
    return {"form": form, "writers": writers, "until": until, "prefix": prefix}


@dataclass(frozen=True)
class CustomerRecord:
    """The stored state of a customer. An attribute has the same name as its field in the hash.

    The hash does not expire while events of the customer wait. After that it expires in 30 days. Times are in seconds
    since the epoch, unless the name ends in `_ms`. A writer that ends in `.lua` is a script.
    """

    link: str = field(default="", metadata=_stored(TEXT, SYNC, until="the next fetch"))
    """State of the link (`jobs.plan.plan.LinkState`) at the last fetch."""
    stripe_id: str = field(default="", metadata=_stored(TEXT, SYNC, until="the next fetch"))
    """The Stripe customer that Autumn was linked to at the last fetch."""
    receipts: str = field(default="", metadata=_stored(TEXT, SYNC, until="the next fetch"))
    """Why no receipts can be sent: text of the finding `receipts-cannot-be-sent`."""
    reports: str = field(default="", metadata=_stored(REPORTS, SYNC, until="three newer reports"))
    """The last reports as JSON, the newest first: see jobs.sync.report."""
    last_applied: str = field(default="", metadata=_stored(TEXT, SYNC, until="the next applied event"))
    """Id of the newest entry that was applied."""
    last_error: str = field(default="", metadata=_stored(TEXT, SYNC, until="a sync succeeds"))
    """Code of the error that ended the last sync."""
    last_cause: str = field(default="", metadata=_stored(TEXT, SYNC, until="a sync succeeds"))
    """Type and code locations of that error, if it was unexpected."""
    attempts: int = field(default=0, metadata=_stored(COUNT, SYNC, until="a sync succeeds, or gives its events up"))
    """Failed syncs in a row that had events to apply."""
    unexpected: int = field(default=0, metadata=_stored(COUNT, SYNC, until="a sync succeeds, or gives its events up"))
    """Syncs in a row that ended with an unexpected error."""
    failing_since: float | None = field(
        default=None, metadata=_stored(TIME, SYNC, until="a sync succeeds, gives its events up, or halts")
    )
    """When the first of these syncs failed."""
    recheck: bool = field(default=False, metadata=_stored(FLAG, "rechecks.lua", SYNC, until="a sync succeeds"))
    """Whether the next sync is a recheck."""
    recheck_kind: str = field(default="", metadata=_stored(TEXT, "recheck.lua", SYNC, until="the recheck succeeds"))
    """Reason of the recheck that is due: `whole` or `echo`."""
    recheck_tries: int = field(default=0, metadata=_stored(COUNT, SYNC, until="a sync succeeds"))
    """Failed rechecks in a row that had no events to apply."""
    reapplies: int = field(
        default=0, metadata=_stored(COUNT, SYNC, until="an applied event, or a recheck that finds nothing reverted")
    )
    """Times in a row that a value was reapplied."""
    create_generation: int = field(default=0, metadata=_stored(COUNT, SYNC, until="the hash ends"))
    """Number of the idempotency key under which a Stripe customer is created."""
    create_tries: int = field(default=0, metadata=_stored(COUNT, SYNC, until="a sync succeeds, or the next generation"))
    """Create requests that were sent with this key."""
    create_sent_at: float | None = field(default=None, metadata=_stored(TIME, SYNC, until="the next create"))
    """When the last create request was sent."""
    waits_for: str = field(default="", metadata=_stored(TEXT, SYNC, until="the next create"))
    """Code of an error after which the customer has to wait until `waits_until_ms`."""
    waits_until_ms: int | None = field(default=None, metadata=_stored(UNTIL_MS, SYNC, until="the next create"))
    payments_read: bool = field(default=False, metadata=_stored(FLAG, SYNC, until="the hash ends"))
    """Whether a sync has read the customer's payments. It may then have written to one."""
    refused: Pairs = field(default_factory=dict, metadata=_stored(PAIRS, SYNC, until="both sides agree without it"))
    """Values that Stripe refused, by field: the error code and the digest of the value."""
    forms: Pairs = field(default_factory=dict, metadata=_stored(PAIRS, SYNC, until="the field is written again"))
    """Values that Stripe stores in another form, by field: the digests of the value as sent and as stored."""
    receipt_generations: Mapping[str, int] = field(
        default_factory=dict, metadata=_stored(COUNT, SYNC, until="the hash ends", prefix="receipt_generation:")
    )
    """By PaymentIntent: the number of the idempotency key under which its receipt address is written."""
    takes: int = field(default=0, metadata=_stored(COUNT, "take.lua", until="the hash ends"))
    """Batches of the customer that were taken."""
    settled_ms: int = field(default=0, metadata=_stored(COUNT, "settle.lua", until="the next batch is settled"))
    """When a batch was settled last, on the clock of Redis."""
    open_lease: str = field(default="", metadata=_stored(TEXT, "take.lua", "settle.lua", until="the batch is settled"))
    """Token of the lease of a batch that is taken but not settled."""
    settled_lease: str = field(default="", metadata=_stored(TEXT, "settle.lua", until="the next batch is settled"))
    """Token of the lease that was settled last."""
    seen_in_stripe: tuple[SeenInStripe, ...] = field(
        default=(), metadata=_stored(SEEN, WATCH, until="three newer events of Stripe")
    )
    """The last events of Stripe that led to a reconcile or showed a receipt, the earliest first."""
    verified: Verified | None = field(
        default=None, metadata=_stored(VERIFIED, SYNC, until="the next agreement or write")
    )
    """The values that both sides had when a sync reached agreement."""
    changes_in_stripe: int = field(default=0, metadata=_stored(COUNT, WATCH, until="the hash ends"))
    """Events of Stripe that led to a reconcile."""
    receipt_number: str = field(default="", metadata=_stored(TEXT, WATCH, until="the next receipt"))
    """Stripe's number of the last receipt that Stripe sent."""
    receipt_at_ms: int | None = field(default=None, metadata=_stored(UNTIL_MS, WATCH, until="the next receipt"))
    """When the event of Stripe that showed the receipt was created."""


NO_RECORD: Final = CustomerRecord()
_FIELDS: Final[Sequence[tuple[str, Form, str]]] = [
    (each.name, each.metadata["form"], each.metadata["prefix"]) for each in fields(CustomerRecord)
]
"""Name, format and prefix of each field."""


def parse_record(raw: Mapping[bytes, bytes]) -> tuple[CustomerRecord, list[str]]:
    """Return the record of a hash, and the names of the fields that cannot be read.

    A field that is missing, empty or unreadable has its default. Unknown fields are ignored.
    """
    texts = {name: text for name, text in as_text(raw).items() if text}
    found: dict[str, Any] = {}
    broken: list[str] = []
    for field_name, form, prefix in _FIELDS:
        names = [name for name in texts if name.startswith(prefix)] if prefix else [field_name] * (field_name in texts)
        values: dict[str, Any] = {}
        for name in names:
            try:
                values[name.removeprefix(prefix)] = form.read(texts[name])
            except (ValueError, RecursionError, TypeError, AttributeError, KeyError):
                broken.append(name)
        found |= {field_name: values} if prefix else values
    if "changes_in_stripe" in broken:
        found.pop("verified", None)
    if found.get("waits_for") and "waits_until_ms" not in found:
        broken.append("waits_for")
        del found["waits_for"]
    return CustomerRecord(**found), broken


def fields_to_write(record: CustomerRecord, before: CustomerRecord = NO_RECORD) -> dict[str, str]:
    """Return the fields of the hash in which the record differs from `before`.

    A field that was emptied is written with its default.
    """
    changed: dict[str, str] = {}
    for field_name, form, prefix in _FIELDS:
        value, old = getattr(record, field_name), getattr(before, field_name)
        if prefix:
            changed |= {prefix + name: form.write(item) for name, item in value.items() if old.get(name) != item}
        elif value != old:
            changed[field_name] = form.write(value)
    return changed


@dataclass(frozen=True)
class RecordKeys:
    """The Redis keys of outcomes, totals, records and dead letters."""

    prefix: str

    @property
    def totals(self) -> str:
        """A hash of counters since the first start, some by reason: `dead:REASON`, `retries:REASON`. Permanent."""
        return f"{self.prefix}:totals"

    @property
    def dead(self) -> str:
        """The stream of dead letters. Permanent: only a person deletes one."""
        return f"{self.prefix}:dead"

    @property
    def aside(self) -> str:
        """A stream of dead letters that `dead` did not accept. They move to `dead` as soon as it accepts them."""
        return f"{self.dead}-aside"

    @property
    def last_success(self) -> str:
        """When an event was last applied, in milliseconds since the epoch. Permanent."""
        return f"{self.prefix}:last-success"

    @property
    def outcomes(self) -> str:
        """The stream of outcomes. Trimmed to a length."""
        return f"{self.prefix}-outcomes"

    @property
    def reviews(self) -> str:
        """The stream of reconciles of the watch that found what needs review. Expires 30 days after the last one.

        It is for notifications. Other outcomes do not trim it.
        """
        return f"{self.prefix}:reviews"

    def customer(self, customer_id: str) -> str:
        """The hash of a customer's record (`CustomerRecord`)."""
        return f"{self.prefix}:customer:{customer_id}"

    def events(self, bucket: int) -> str:
        """A hash from event id to outcome (`autumn_sync_client.outcomes`). Expires after 36 hours."""
        return events_key(self.prefix, bucket)


async def read_outcome(redis: Redis, prefix: str, event_id: str) -> Outcome | None:
    """Return the outcome of an event of the last 24 hours, by its `event_id` or entry id; None if it is not known."""
    async with redis.pipeline(transaction=False) as pipe:
        for command in get_outcome(event_id, prefix):
            pipe.execute_command(*command)
        return outcome_in(await pipe.execute(raise_on_error=False))


async def read_totals(redis: Redis, prefix: str) -> dict[str, int]:
    """Return the counters since the first start, by name. Impossible values are clamped to 0 or `PLAUSIBLE`."""
    totals = as_text(await _hash(redis, RecordKeys(prefix).totals))
    numbers = {name: int(value) for name, value in totals.items() if re.fullmatch(r"-?[0-9]{1,19}", value)}
    return {name: max(0, min(number, PLAUSIBLE)) for name, number in numbers.items()}


async def read_unreadable_totals(redis: Redis, prefix: str) -> list[str]:
    """Return the sorted names of the counters that are not numbers. `read_totals` leaves them out."""
    totals = as_text(await _hash(redis, RecordKeys(prefix).totals))
    return sorted(name for name, value in totals.items() if not re.fullmatch(r"-?[0-9]{1,19}", value))


async def read_customer(redis: Redis, prefix: str, customer_id: str) -> CustomerRecord:
    """Return the record of a customer without unreadable fields; `NO_RECORD` if there is none."""
    return parse_record(await _hash(redis, RecordKeys(prefix).customer(customer_id)))[0]


async def read_refused(redis: Redis, prefix: str, customers: Sequence[str]) -> list[Pairs]:
    """Return the values that Stripe refused for each customer, by field: the error code and the digest."""
    async with redis.pipeline(transaction=False) as pipe:
        for customer in customers:
            pipe.hget(RecordKeys(prefix).customer(customer), "refused")
        found = [or_none(answer) for answer in await pipe.execute(raise_on_error=False)]
    return [parse_record({b"refused": raw or b""})[0].refused for raw in found]


def read_remembered(kept: bytes, now: float) -> dict[str, Any] | None:
    """Return what syncs remember of a customer's values (`jobs.plan.recheck`); None if it is malformed.

    `now` is in seconds since the epoch. A stored time that is days ahead of it counts as malformed.
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
        all(_is_time(at, latest) for at in (known["at"], known.get("blind_at", 0.0)))
        and all(isinstance(some, list) and all(isinstance(each, str) for each in some) for some in digests)
        and isinstance(known["unaccepted"], str)
        and isinstance(known["kept"], list)
    )


def _is_time(seconds: object, latest: float) -> bool:
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds <= latest


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
    """Return fields of Redis as text. Invalid UTF-8 becomes replacement characters."""
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in fields.items()}


async def _hash(redis: Redis, key: str) -> dict[bytes, bytes]:
    # redis-py has one type for the answers of its sync and async clients.
    answer = redis.hgetall(key)
    try:
        return answer if isinstance(answer, dict) else await answer
    except ResponseError as error:
        # A key of the wrong type holds no data of ours. The overview reports it.
        if is_wrong_type(error):
            return {}
        raise
