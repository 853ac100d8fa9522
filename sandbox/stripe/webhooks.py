"""The webhook endpoints of the simulated Stripe account, and the delivery of events to them.

An event is made once, in `sandbox.stripe.events`; each endpoint receives those of its types. Nothing here reads or
changes the account. Each delivery has a signature like Stripe's.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random

import aiohttp

from sandbox.stripe.errors import Json

AUTUMN_TYPES = ("customer.*", "invoice.*")
_TIMEOUT = aiohttp.ClientTimeout(total=10)


class DeliveryError(Exception):
    """An event that the endpoint did not accept at any attempt."""


def is_of_types(kind: str, types: Sequence[str]) -> bool:
    """Return whether a type of event is in a list; `customer.*` has all types that begin with `customer.`."""
    return any(kind.startswith(each[:-1]) if each.endswith("*") else kind == each for each in types)


class _Connections:
    """The connections of all endpoints; there are none while no app serves."""

    session: aiohttp.ClientSession | None = None


class WebhookEndpoint:
    """A webhook endpoint that receives each event of its types. All attributes may be set at any time."""

    def __init__(
        self, url: str | None, secret: str, types: Sequence[str], clock: Callable[[], float], connections: _Connections
    ) -> None:
        """Use a `clock` that returns seconds since the epoch."""
        self.url = url
        """The URL of the endpoint. None: events are only recorded."""
        self.secret = secret
        """The endpoint's signing secret."""
        self.old_secrets: list[str] = []
        """The secrets that still sign too, because the secret was rolled: a delivery has a `v1` for each."""
        self.types = tuple(types)
        """The types of the events that it receives, as `charge.succeeded` or `customer.*`."""
        self.delay_seconds: tuple[float, float] | None = (0.0, 0.0)
        """The least and the most delay of a delivery. Each is random, so deliveries arrive out of order.
        None: events are held in `pending` until `deliver` or `deliver_all` sends them."""
        self.twice = 0.0
        """The probability of a second delivery of the same event."""
        self.random = Random(0)
        """The source of random delays and second deliveries."""
        self.attempts = 5
        """The most attempts of a delivery."""
        self.retry_pause_seconds = 0.05
        """The pause before the second attempt of a delivery; each later pause is twice as long."""
        self.events: list[Json] = []
        """All events of the endpoint's types, in order."""
        self.pending: list[Json] = []
        """The held events, in order; an event with a second delivery is in it twice. With a `url`, it also has the
        events of a time without a running app."""
        self.delivered = 0
        """The number of accepted deliveries; an event with two deliveries counts twice."""
        self.undelivered: list[Json] = []
        """The events that the endpoint did not accept at any attempt."""
        self._clock = clock
        self._deliveries: dict[asyncio.Task[None], Json] = {}
        self._connections = connections

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
        if self.url is None or self._connections.session is None:
            raise RuntimeError("events are delivered only while the simulator serves and webhooks.url is set")
        await self._deliver(chosen, self.url, self._connections.session)

    async def deliver_all(self) -> None:
        """Deliver all pending events, in order. Raises: the errors of `deliver`."""
        while self.pending:
            await self.deliver(self.pending[0])

    def receive(self, event: Json) -> None:
        """Record an event of the endpoint's types, and begin its delivery."""
        self.events.append(event)
        for _ in range(2 if self.random.random() < self.twice else 1):
            self._schedule(event)

    async def stop(self) -> None:
        """Cancel the scheduled deliveries."""
        deliveries = list(self._deliveries)
        for delivery in deliveries:
            delivery.cancel()
        await asyncio.gather(*deliveries, return_exceptions=True)

    def _schedule(self, event: Json) -> None:
        if self.url is None:
            return
        if self.delay_seconds is None or self._connections.session is None:
            self.pending.append(event)
            return
        late = self._deliver_late(event, self.random.uniform(*self.delay_seconds), self._connections.session)
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
        for tried in range(self.attempts):
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
            "Stripe-Signature": signature(payload, self.secret, int(self._clock()), *self.old_secrets),
        }
        try:
            async with session.post(url, data=payload, headers=headers, allow_redirects=False) as answer:
                return "" if 200 <= answer.status < 300 else f"the endpoint answered {answer.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"no answer ({type(error).__name__})"


class Webhooks(WebhookEndpoint):
    """Autumn's endpoint, which is the first one, and all others of the account."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        """Use a `clock` that returns seconds since the epoch."""
        super().__init__(None, "whsec_sandbox", AUTUMN_TYPES, clock, _Connections())
        self.endpoints: list[WebhookEndpoint] = [self]
        """All endpoints; `add_endpoint` adds one. One without a `url` receives nothing."""
        self.without_change = False
        """Whether an update that changes nothing makes an event as well."""
        self._apps = 0

    def add_endpoint(self, url: str, *, secret: str, types: Sequence[str]) -> WebhookEndpoint:
        """Add and return an endpoint for events of these types, as `charge.succeeded` or `customer.*`."""
        endpoint = WebhookEndpoint(url, secret, types, self._clock, self._connections)
        self.endpoints.append(endpoint)
        return endpoint

    def of(self, kind: str) -> list[WebhookEndpoint]:
        """Return the endpoints that receive events of this type."""
        return [endpoint for endpoint in self.endpoints if is_of_types(kind, endpoint.types)]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Run deliveries for the length of the block; its end cancels the scheduled ones."""
        self._apps += 1
        session = self._connections.session or aiohttp.ClientSession(timeout=_TIMEOUT)
        self._connections.session = session
        try:
            yield
        finally:
            self._apps -= 1
            if not self._apps:
                self._connections.session = None
                for endpoint in self.endpoints:
                    await endpoint.stop()
                await session.close()


def signature(payload: bytes, secret: str, at_seconds: int, *old_secrets: str) -> str:
    """Return the `Stripe-Signature` of a delivery at this time, in seconds since the epoch.

    It has one `v1` for each secret.
    """
    signed = f"{at_seconds}.".encode() + payload
    each = (hmac.new(one.encode(), signed, hashlib.sha256).hexdigest() for one in (secret, *old_secrets))
    return ",".join((f"t={at_seconds}", *(f"v1={digest}" for digest in each)))
