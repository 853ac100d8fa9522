"""The events of the simulated Stripe account, and their delivery to one webhook endpoint.

An event describes an executed write; nothing here reads or changes the account. Each delivery has a signature like
Stripe's.
"""

import asyncio
import copy
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

import aiohttp

from sandbox.stripe.errors import Json
from sandbox.stripe.writes import Change

API_VERSION = "2025-10-29.clover"
_TYPES = {
    "customers.create": "customer.created",
    "customers.update": "customer.updated",
    "customers.delete": "customer.deleted",
}
_MOST_TRIES = 5
_TIMEOUT = aiohttp.ClientTimeout(total=10)


class DeliveryError(Exception):
    """An event that the endpoint did not accept at any attempt."""


class Webhooks:
    """One webhook endpoint that receives each event about a customer. All attributes may be set at any time.

    A create, update or delete that changes something makes an event; a refusal, a replay and a seeded customer do not.
    `data.object` is the whole customer directly after that write. For a delete it is the customer before the delete, as
    in Stripe. A delivery has at most five attempts.
    """

    def __init__(self, *, livemode: bool, clock: Callable[[], float]) -> None:
        """Use a `clock` that returns seconds since the epoch."""
        self.url: str | None = None
        """The URL of the endpoint. None: events are only recorded."""
        self.secret = "whsec_sandbox"
        """The endpoint's signing secret."""
        self.delay_seconds: tuple[float, float] | None = (0.0, 0.0)
        """The least and the most delay of a delivery. Each is random, so deliveries arrive out of order.
        None: events are held in `pending` until `deliver` or `deliver_all` sends them."""
        self.twice = 0.0
        """The probability of a second delivery of the same event."""
        self.without_change = False
        """Whether an update that changes nothing makes an event as well."""
        self.random = Random(0)
        """The source of random delays and second deliveries."""
        self.retry_pause_seconds = 0.05
        """The pause before the second attempt of a delivery; each later pause is twice as long."""
        self.events: list[Json] = []
        """All events, in order."""
        self.pending: list[Json] = []
        """The held events, in order; an event with a second delivery is in it twice. With a `url`, it also has the
        events of a time without a running app."""
        self.delivered = 0
        """The number of accepted deliveries; an event with two deliveries counts twice."""
        self.undelivered: list[Json] = []
        """The events that the endpoint did not accept at any attempt."""
        self._livemode = livemode
        self._clock = clock
        self._deliveries: dict[asyncio.Task[None], Json] = {}
        self._apps = 0
        self._session: aiohttp.ClientSession | None = None

    @property
    def in_flight(self) -> int:
        """Return the number of scheduled deliveries, without `pending`."""
        return len(self._deliveries)

    def are_coming(self, customer_id: str) -> bool:
        """Return whether deliveries about this customer of Stripe are scheduled; `pending` does not count."""
        return any(event["data"]["object"]["id"] == customer_id for event in self._deliveries.values())

    async def settled(self) -> None:
        """Wait until no delivery is scheduled or running."""
        while self._deliveries:
            await asyncio.wait(self._deliveries)

    async def deliver(self, event: Json | int) -> None:
        """Deliver an event, or the event at an index of `events`, now, and remove it from `pending`.

        An event may be delivered several times and in any order.

        Raises:
            DeliveryError: the endpoint did not accept it.
            RuntimeError: `url` is None, or no app serves.
        """
        chosen = self.events[event] if isinstance(event, int) else event
        held = next((place for place, one in enumerate(self.pending) if one is chosen), None)
        if held is not None:
            del self.pending[held]
        if self.url is None or self._session is None:
            raise RuntimeError("events are delivered only while the simulator serves and webhooks.url is set")
        await self._deliver(chosen, self.url, self._session)

    async def deliver_all(self) -> None:
        """Deliver all pending events, in order. Raises: the errors of `deliver`."""
        while self.pending:
            await self.deliver(self.pending[0])

    def emit(self, endpoint: str, change: Change, *, request_id: str, idempotency_key: str | None) -> None:
        """Make the event of an executed write and begin its delivery.

        `endpoint` is the name of the endpoint, as customers.update. Only writes of customers make events.
        """
        kind = _TYPES.get(endpoint)
        if kind is None or (kind == "customer.updated" and not self.without_change and not change.fields()):
            return
        shown = change.before if kind == "customer.deleted" else change.after
        data = {"object": copy.deepcopy(shown)}
        if kind == "customer.updated":
            data["previous_attributes"] = _previous(change)
        event = {
            "id": f"evt_{len(self.events):024d}",
            "object": "event",
            "api_version": API_VERSION,
            "created": int(self._clock()),
            "data": data,
            "livemode": self._livemode,
            "pending_webhooks": 0 if self.url is None else 1,
            "request": {"id": request_id, "idempotency_key": idempotency_key},
            "type": kind,
        }
        self.events.append(event)
        for _ in range(2 if self.random.random() < self.twice else 1):
            self._schedule(event)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Run deliveries for the length of the block; its end cancels the scheduled ones."""
        self._apps += 1
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        try:
            yield
        finally:
            self._apps -= 1
            if not self._apps:
                await self._stop(self._session)

    async def _stop(self, session: aiohttp.ClientSession) -> None:
        deliveries = list(self._deliveries)
        for delivery in deliveries:
            delivery.cancel()
        await asyncio.gather(*deliveries, return_exceptions=True)
        self._session = None
        await session.close()

    def _schedule(self, event: Json) -> None:
        if self.url is None:
            return
        if self.delay_seconds is None or self._session is None:
            self.pending.append(event)
            return
        late = self._deliver_late(event, self.random.uniform(*self.delay_seconds), self._session)
        delivery = asyncio.create_task(late)
        self._deliveries[delivery] = event
        delivery.add_done_callback(self._deliveries.pop)

    async def _deliver_late(self, event: Json, delay_seconds: float, session: aiohttp.ClientSession) -> None:
        await asyncio.sleep(delay_seconds)
        if self.url is not None:
            with suppress(DeliveryError):
                await self._deliver(event, self.url, session)

    async def _deliver(self, event: Json, url: str, session: aiohttp.ClientSession) -> None:
        pause_seconds, problem = self.retry_pause_seconds, ""
        for tried in range(_MOST_TRIES):
            if tried:
                await asyncio.sleep(pause_seconds)
                pause_seconds *= 2
            problem = await self._post(event, url, session)
            if not problem:
                self.delivered += 1
                return
        self.undelivered.append(event)
        raise DeliveryError(f"{event['id']} ({event['type']}) was not accepted: {problem}")

    async def _post(self, event: Json, url: str, session: aiohttp.ClientSession) -> str:
        """Send the event; return the reason of a failure, empty after a success."""
        payload = json.dumps(event).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(payload, self.secret, int(self._clock())),
        }
        try:
            async with session.post(url, data=payload, headers=headers, allow_redirects=False) as answer:
                return "" if 200 <= answer.status < 300 else f"the endpoint answered {answer.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"no answer ({type(error).__name__})"


def signature(payload: bytes, secret: str, at_seconds: int) -> str:
    """Return the `Stripe-Signature` of a delivery at this time, in seconds since the epoch."""
    signed = hmac.new(secret.encode(), f"{at_seconds}.".encode() + payload, hashlib.sha256).hexdigest()
    return f"t={at_seconds},v1={signed}"


def _previous(change: Change) -> Json:
    """Return the old values of the fields that an update changed; the metadata has only the changed keys."""
    before, after = change.before, change.after
    previous = {name: copy.deepcopy(before[name]) for name in before if before[name] != after[name]}
    if "metadata" in previous:
        old, new = before["metadata"], after["metadata"]
        previous["metadata"] = {key: old.get(key) for key in {**old, **new} if old.get(key) != new.get(key)}
    return previous
