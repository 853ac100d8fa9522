"""The rates of Autumn and Stripe, held over all workers together: a reservation in Redis, on Redis' clock, then the
wait.

A caller is told how long to wait for its turn and waits here; nothing is sent before. Updates of Autumn also need
one of `max_in_flight` places, because more of them at a time lock up Autumn's database pool.
"""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from jobs.scripts import load_scripts

PLACE_HELD_MS = 90_000
"""Longer than an update can take; a place whose worker was killed is free again after it."""
LOOK_AGAIN_SECONDS = 0.02


@dataclass(frozen=True)
class Rate:
    """`per_second` calls over all workers; `burst` of them may come at once."""

    name: str
    per_second: float

    @property
    def burst(self) -> int:
        """A tenth of a second's calls: small enough that a fixed window of one second never holds too many."""
        return max(1, int(self.per_second / 10))


class Limits:
    """The door to the shared rates."""

    def __init__(
        self,
        redis: Redis,
        *,
        prefix: str,
        autumn_updates: float,
        autumn_max_in_flight: int,
        stripe_requests: float,
        stripe_endpoint_requests: float,
    ) -> None:
        """Rates are calls per second; opens nothing."""
        self._admit = load_scripts(redis, "admit")["admit"]
        self._redis = redis
        self._prefix = f"{prefix}:limit:"
        self._autumn_updates = Rate("autumn-updates", autumn_updates)
        self._stripe = Rate("stripe", stripe_requests)
        self._stripe_endpoint_requests = stripe_endpoint_requests
        self._max_in_flight = autumn_max_in_flight
        # First in line here, so that at most this many of a process ask Redis for a place again and again.
        self._line = asyncio.Semaphore(autumn_max_in_flight)

    async def stripe(self, endpoint: str) -> None:
        """Wait for the turn of one request to a Stripe endpoint, named "METHOD /path/{id}"."""
        await self._wait([self._stripe, self._endpoint(endpoint)])

    @asynccontextmanager
    async def autumn_update(self, *, stripe_endpoints: Sequence[str]) -> AsyncIterator[None]:
        """Wait for the turn of one `customers.update`, and hold its place while it runs.

        `stripe_endpoints`: the requests that Autumn itself will make to Stripe for it, out of the same budget.
        """
        rates = [self._autumn_updates]
        for endpoint in stripe_endpoints:
            rates += [self._stripe, self._endpoint(endpoint)]
        token = secrets.token_hex(8)
        async with self._line:
            try:
                await self._wait(rates, token=token)
                yield
            finally:
                await self._redis.zrem(self._prefix + "autumn-places", token)

    def _endpoint(self, endpoint: str) -> Rate:
        return Rate(f"stripe:{endpoint}", self._stripe_endpoint_requests)

    async def _wait(self, rates: Sequence[Rate], token: str | None = None) -> None:
        keys = [self._prefix + "autumn-places", *(self._prefix + rate.name for rate in rates)]
        arguments: list[str | int] = [token or "", self._max_in_flight if token else 0, PLACE_HELD_MS]
        for rate in rates:
            arguments += [int(1_000_000 / rate.per_second), rate.burst]
        while (wait_us := int(await self._admit(keys=keys, args=arguments))) < 0:  # noqa: ASYNC110 - it happens in Redis
            await asyncio.sleep(LOOK_AGAIN_SECONDS * (0.5 + random.random()))
        if wait_us:
            await asyncio.sleep(wait_us / 1_000_000)
