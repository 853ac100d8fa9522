"""The events of the simulated Stripe account: each is made once, then listed and sent to the webhook endpoints.

An event describes something that has happened; nothing here reads or changes the account. As in Stripe, the list is
eventually consistent and keeps an event for 30 days. The trouble that real lists have is off until it is set.
"""

import copy
import uuid
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from random import Random
from typing import Literal, NamedTuple

from sandbox.stripe import objects
from sandbox.stripe.errors import Json, StripeError, invalid, missing
from sandbox.stripe.lists import limit_of
from sandbox.stripe.webhooks import Webhooks, is_of_types
from sandbox.stripe.writes import Change

API_VERSION = "2025-10-29.clover"
KEPT_SECONDS = 30 * 24 * 3600
_MOST_TYPES = 20
_TYPES = {
    "customers.create": "customer.created",
    "customers.update": "customer.updated",
    "customers.delete": "customer.deleted",
    "payment_intents.create": "payment_intent.created",
}
By = Literal["app", "dashboard", "stripe"]


class Cause(NamedTuple):
    """The request that caused an event."""

    id: str | None
    """The request's id. None: Stripe did it by itself."""
    idempotency_key: str | None


BY_STRIPE = Cause(None, None)


class _Listed(NamedTuple):
    """An event in the order of the list: by its second, then in the order of creation."""

    created: int
    number: int
    event: Json


class Events:
    """The events, and their two endpoints. All attributes may be set at any time.

    A create, update or delete that changes something makes an event; a refusal, a replay and a seeded object do not.
    `data.object` is the whole object directly after that write. For a delete it is the customer before the delete, as
    in Stripe.
    """

    def __init__(self, webhooks: Webhooks, *, livemode: bool, clock: Callable[[], float]) -> None:
        """Send the events to the endpoints of `webhooks`. Use a `clock` of seconds since the epoch."""
        self.list_delay_seconds: tuple[float, float] = (0.0, 0.0)
        """The least and the most delay after which a later event is listed. Each is random, so that an event may be
        listed after one that is newer. Webhooks and a retrieval by id have no part in it."""
        self.withheld = 0.0
        """The probability that a later event is never shown, as if Stripe failed to make it."""
        self.ids_in_order = True
        """Whether a later id sorts after an earlier one. Stripe's do not."""
        self.shifts = 0.0
        """The probability that one of the delayed events is listed right before a further page is read."""
        self.repeats = 0.0
        """The probability that an event of a page is there again: a second time, or as the last one of the page before.
        A page of one event never repeats, so that each page brings the reader on."""
        self.random = Random(0)
        """The source of random delays, withheld events, ids, shifts and repeats."""
        self.made: list[Json] = []
        """All events except the withheld ones, in order; also those that are too old for the list."""
        self.withheld_events: list[Json] = []
        """The events that neither the list nor a webhook ever shows, in order."""
        self._webhooks = webhooks
        self._livemode = livemode
        self._clock = clock
        self._listed: list[_Listed] = []
        self._by_id: dict[str, _Listed] = {}
        self._late: dict[str, float] = {}
        self._requests = 0

    def cause(self, by: By) -> Cause:
        """Return a new cause: a request of an app, a request in the dashboard, or Stripe itself.

        Stripe's SDKs send a random idempotency key with each write; the dashboard sends none.
        """
        if by == "stripe":
            return BY_STRIPE
        self._requests += 1
        key = str(uuid.UUID(int=self.random.getrandbits(128), version=4)) if by == "app" else None
        return Cause(f"req_{by}_{self._requests}", key)

    def of_write(self, endpoint: str, change: Change, cause: Cause) -> None:
        """Make the event of an executed write, if its endpoint (as customers.update) makes one."""
        kind = _TYPES.get(endpoint)
        is_update = kind == "customer.updated"
        if kind is None or (is_update and not self._webhooks.without_change and not change.fields()):
            return
        shown = change.before if kind == "customer.deleted" else change.after
        self.record(kind, shown, cause, _previous(change) if is_update else None)

    def record(self, kind: str, shown: Json, cause: Cause, previous: Json | None = None) -> None:
        """Make an event about an object as it is now. `previous` has the old values of changed fields."""
        data = {"object": copy.deepcopy(shown)} | ({} if previous is None else {"previous_attributes": previous})
        endpoints = self._webhooks.of(kind)
        event = {
            "id": self._new_id(),
            "object": "event",
            "api_version": API_VERSION,
            "created": int(self._clock()),
            "data": data,
            "livemode": self._livemode,
            "pending_webhooks": sum(endpoint.url is not None for endpoint in endpoints),
            "request": cause._asdict(),
            "type": kind,
        }
        if self.random.random() < self.withheld:
            self.withheld_events.append(event)
            return
        self._keep(event)
        for endpoint in endpoints:
            endpoint.receive(event)

    def retrieve(self, event_id: str, _params: Json) -> Json:
        """Serve `GET /v1/events/{id}`. Raises: StripeError if there is none, or it is too old."""
        found = self._by_id.get(event_id)
        if found is None or found.created < self._oldest():
            raise missing("event", event_id)
        return found.event

    def listed(self, _id: str, params: Json) -> Json:
        """Serve `GET /v1/events`. Raises: StripeError for an invalid filter, limit or cursor."""
        limit, wanted = limit_of(params), _wanted(params)
        if "starting_after" in params and self.random.random() < self.shifts:
            self._list_a_late_one()
        first, end = self._window(params.get("created", {}))
        if "ending_before" in params:
            first = max(first, bisect_left(self._listed, self._cursor("ending_before", params)) + 1)
            chosen, has_more = _cut(self._matching(range(first, end), wanted), limit)
            chosen.reverse()
            return _page(chosen, has_more)
        cursor = self._cursor("starting_after", params) if "starting_after" in params else None
        if cursor is not None:
            end = min(end, bisect_left(self._listed, cursor))
        newest_first = self._matching(range(end - 1, first - 1, -1), wanted)
        if self.repeats and limit > 1:
            before = None if cursor is None or not wanted(cursor.event["type"]) else cursor.event
            newest_first = self._repeating(newest_first, before)
        return _page(*_cut(newest_first, limit))

    def _new_id(self) -> str:
        if not self.ids_in_order:
            return objects.new_id("evt", 24, self.random)
        return f"evt_{len(self.made) + len(self.withheld_events):024d}"

    def _keep(self, event: Json) -> None:
        listed = _Listed(event["created"], len(self.made), event)
        self.made.append(event)
        insort(self._listed, listed)
        self._by_id[event["id"]] = listed
        delay_seconds = self.random.uniform(*self.list_delay_seconds)
        if delay_seconds:
            self._late[event["id"]] = self._clock() + delay_seconds

    def _oldest(self) -> int:
        """Return the oldest second of an event that is kept."""
        return int(self._clock()) - KEPT_SECONDS

    def _is_late(self, event: Json) -> bool:
        return self._late.get(event["id"], 0.0) > self._clock()

    def _list_a_late_one(self) -> None:
        late = [event_id for event_id, at in self._late.items() if at > self._clock()]
        if late:
            del self._late[self.random.choice(late)]

    def _cursor(self, param: str, params: Json) -> _Listed:
        """Return the event of a cursor. Raises: StripeError if it is not listed, or is too old."""
        found = self._by_id.get(params[param])
        if found is None or found.created < self._oldest() or self._is_late(found.event):
            raise missing("event", params[param], param=param, status=400)
        return found

    def _window(self, bounds: dict[str, int]) -> tuple[int, int]:
        """Return the first index of the list inside the bounds of `created`, and the one after the last."""
        least = max(self._oldest(), bounds.get("gt", -1) + 1, bounds.get("gte", 0))
        end = [bounds[name] + more for name, more in (("lt", 0), ("lte", 1)) if name in bounds]
        last = self._place(min(end)) if end else len(self._listed)
        return self._place(least), last

    def _place(self, created: int) -> int:
        return bisect_left(self._listed, created, key=attrgetter("created"))

    def _matching(self, places: Iterable[int], wanted: Callable[[str], bool]) -> Iterator[Json]:
        for place in places:
            event = self._listed[place].event
            if wanted(event["type"]) and not self._is_late(event):
                yield event

    def _repeating(self, events: Iterator[Json], before: Json | None) -> Iterator[Json]:
        if before is not None and self.random.random() < self.repeats:
            yield before
        for event in events:
            yield event
            if self.random.random() < self.repeats:
                yield event


def _wanted(params: Json) -> Callable[[str], bool]:
    """Return the filter of `type` or `types`. Raises: StripeError for both, or for more than 20 types."""
    if "type" in params and "types" in params:
        raise StripeError(400, "You may only specify one of these parameters: type, types.")
    types: list[str] | None = params.get("types", [params["type"]] if "type" in params else None)
    if types is None:
        return lambda _kind: True
    if len(types) > _MOST_TYPES:
        raise invalid("types", f"You may pass up to {_MOST_TYPES} types; you passed {len(types)}.")
    if "types" in params:
        # Only `type` has a wildcard.
        return lambda kind: kind in types
    return lambda kind: is_of_types(kind, types)


def _cut(events: Iterator[Json], limit: int) -> tuple[list[Json], bool]:
    """Return the first events up to the limit, and whether there are others after them."""
    chosen: list[Json] = []
    for event in events:
        if len(chosen) == limit:
            # The last event may come again; the page after it would be empty.
            return chosen, event is not chosen[-1] or next(events, None) is not None
        chosen.append(event)
    return chosen, False


def _page(events: list[Json], has_more: bool) -> Json:
    return {"object": "list", "url": "/v1/events", "has_more": has_more, "data": events}


def _previous(change: Change) -> Json:
    """Return the old values of the fields that an update changed; the metadata has only the changed keys."""
    before, after = change.before, change.after
    previous = {name: copy.deepcopy(before[name]) for name in before if before[name] != after[name]}
    if "metadata" in previous:
        old, new = before["metadata"], after["metadata"]
        previous["metadata"] = {key: old.get(key) for key in {**old, **new} if old.get(key) != new.get(key)}
    return previous
