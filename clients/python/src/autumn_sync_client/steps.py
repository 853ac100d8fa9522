"""The steps of a call, for the sync and the async client. A step is a request or a pause.

`Client` and `AsyncClient` do the steps of these generators and send the answers back into them, so validation, retries
and waiting exist once. No I/O belongs here.
"""

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar
from uuid import uuid4

from autumn_sync_client.errors import InvalidEvents, InvalidField, RateLimited, Unavailable
from autumn_sync_client.events import CustomerUpdate, EventError, Fault, new_update
from autumn_sync_client.outcomes import Outcome, is_final, polls

EVENTS_MAX: Final = 1_000
"""The most events of a request."""
BYTES_MAX: Final = 1024 * 1024
"""The most bytes of a request's body."""
PAUSES_SECONDS: Final = (0.2, 1.0)
"""The least pause before each repetition of a request."""
PAUSE_OF_WAIT_SECONDS: Final = 0.5
"""The pause after an answer that says to try later without a time, while there is time to wait."""
LONGEST_PAUSE_SECONDS: Final = 3.0
"""A request is not repeated if the service asks for a longer pause."""

Update = CustomerUpdate | Mapping[str, Any]
"""An event, or the fields of one: `customer_id`, `changes`, `type`, `event_id`, `traceparent`, `source`."""
Request = Any
Answer = Any
"""Each way has types of its own for both."""
Value = TypeVar("Value")


@dataclass(frozen=True)
class Pause:
    """A step: wait for these seconds."""

    seconds: float


Steps = Generator[Any, Any, Value]
"""Yields requests and pauses, and gets the answers of the requests."""


class Requests(Protocol):
    """The requests of one way to the worker, and the meaning of their answers. Reading an answer raises ClientError."""

    def to_send(self, updates: Sequence[CustomerUpdate]) -> Request:
        """Return the request that sends these events, each of which has an `event_id`."""

    def ids(self, updates: Sequence[CustomerUpdate], answer: Answer) -> list[str]:
        """Return the id of each event."""

    def to_read(self, event_id: str, wait_seconds: float) -> Request:
        """Return the request for an outcome. The service may wait for it up to `wait_seconds`."""

    def outcome(self, answer: Answer) -> Outcome | None:
        """Return the outcome, None if nothing is known of the event."""


def sending(requests: Requests, updates: Iterable[Update]) -> Steps[list[str]]:
    """Validate all events, send them in order, and return their ids. Raises ClientError."""
    ids: list[str] = []
    for batch in batches(prepared(updates)):
        try:
            ids += yield from _repeated(requests.to_send(batch), partial(requests.ids, batch))
        except InvalidEvents as error:
            # The service counts from the first event of the request.
            raise InvalidEvents([replace(each, entry=each.entry + len(ids)) for each in error.fields]) from None
    return ids


def waiting(requests: Requests, event_id: str, wait_seconds: float) -> Steps[Outcome | None]:
    """Read the outcome until it is final or `wait_seconds` are over, and return it. Raises ClientError."""
    for left, pause in polls(wait_seconds):
        if left <= 0:
            break
        try:
            outcome = requests.outcome((yield requests.to_read(event_id, left)))
        except (RateLimited, Unavailable) as error:
            yield Pause(min(left, error.retry_after or PAUSE_OF_WAIT_SECONDS))
        else:
            if is_final(outcome):
                return outcome
            yield Pause(pause)
    return (yield from _repeated(requests.to_read(event_id, 0.0), requests.outcome))


def _repeated(request: Request, read: Callable[[Answer], Value]) -> Steps[Value]:
    """Do a request, and repeat it if there is no answer, or one that says to try later.

    That is harmless: reading changes nothing, and an event that comes again with the same `event_id` is ignored.
    """
    for pause in PAUSES_SECONDS:
        try:
            return read((yield request))
        except (RateLimited, Unavailable) as error:
            pause_seconds = max(pause, error.retry_after or 0.0)
            if pause_seconds > LONGEST_PAUSE_SECONDS:
                raise
        yield Pause(pause_seconds)
    return read((yield request))


def prepared(updates: Iterable[Update]) -> list[CustomerUpdate]:
    """Return the events, each with an `event_id`. Raises InvalidEvents with the wrong fields of all events."""
    ready: list[CustomerUpdate] = []
    wrong: list[InvalidField] = []
    for entry, update in enumerate(updates):
        try:
            fields = _fields_of(update)
            if fields.get("event_id") is None:
                fields["event_id"] = uuid4().hex
            ready.append(new_update(**fields))
        except EventError as error:
            wrong += [InvalidField(entry, fault.field, fault.message) for fault in error.faults]
    if wrong:
        raise InvalidEvents(wrong)
    return ready


def _fields_of(update: Update) -> dict[str, Any]:
    """Return the fields of an event. Raises EventError if it is not an event."""
    if isinstance(update, CustomerUpdate):
        return update.model_dump(exclude_unset=True)
    if not isinstance(update, Mapping) or not all(isinstance(name, str) for name in update):
        raise EventError(Fault("", "must be a CustomerUpdate, or a mapping from the names of its fields"))
    return dict(update)


def batches(updates: Iterable[CustomerUpdate]) -> Iterator[list[CustomerUpdate]]:
    """Yield the events in order, as many at a time as fit into a request."""
    batch: list[CustomerUpdate] = []
    size = len("[]")
    for update in updates:
        more = len(event_json(update)) + len(",")
        if batch and (len(batch) == EVENTS_MAX or size + more > BYTES_MAX):
            yield batch
            batch, size = [], len("[]")
        batch.append(update)
        size += more
    if batch:
        yield batch


def event_json(update: CustomerUpdate) -> bytes:
    """Return an event as JSON in UTF-8, with `changes` as an object."""
    event: dict[str, Any] = dict(update.fields())
    if update.changes is not None:
        event["changes"] = update.changes.requested()
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
