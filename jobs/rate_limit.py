"""Throttle the calls of Autumn and Stripe to their rates, over all workers together.

A call reserves a share of its rates in Redis, on Redis' clock, and waits here until its time has come. A process that
was late, because the machine is busy, reserves another time, or its calls would all go out at once. Writes to Autumn
also need one of `max_in_flight` slots, because more of them at a time lock up Autumn's database pool. A write that may
still be applied after its call has failed keeps its slot until then: Autumn goes on with a request whose client is
gone. Such writes never keep the last slot, so that a bad network slows the others down and does not stop them. If a 429
still occurs, because other callers use the account, the rate is reduced for all workers.

Autumn's own limits decide what a call needs. Updates share 25 a second, and lists have 50 a second. Gets and creates
have 10,000 a second for each customer. One sync at a time never reaches that, so neither is throttled with the updates.
But a create is a write, so it needs a slot.
"""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from jobs.autumn.errors import LATE_SECONDS
from jobs.errors import Limited, TryAgain
from jobs.observer import NOBODY, Observer
from jobs.queue.scripts import Scripts

HOLD_MS = 4_000
"""The time for which a slot is held at once. If its worker is killed, it is free again after that."""
RENEW_SECONDS = 1.0
POLL_SECONDS = 0.02
RECOVER_SECONDS = 10.0
LATE_SECONDS_MAX = 0.1
"""A call that is later than its reserved time by more reserves another one. With the default rates of 20 calls a second
and bursts of 2, calls this late make 24 in a second, and both services allow 25."""
LATE_TRIES = 2
"""The most times that a call reserves: a process that is always late gets half of the rate. A time that has passed is
lost, because the times after it are reserved."""
AUTUMN_UPDATES, AUTUMN_LISTS, STRIPE = "autumn-updates", "autumn-lists", "stripe"
"""The rates' names; each endpoint of Stripe has another one of its own."""
SLOTS = "autumn-slots"


@dataclass(frozen=True)
class Rates:
    """Calls per second over all workers, and how many updates of Autumn may be in flight."""

    autumn_updates: float
    autumn_max_in_flight: int
    stripe_requests: float
    stripe_endpoint_requests: float
    autumn_lists: float = 40.0
    """Autumn allows 50 lists a second at version 2.3, which a scan needs."""


@dataclass(frozen=True)
class Rate:
    """`per_second` calls over all workers."""

    name: str
    per_second: float

    @property
    def burst(self) -> int:
        """Calls that may come at once: so few that a fixed window of one second never holds too many."""
        return max(1, int(self.per_second / 10))


class Limits:
    """The throttle of all calls, over the shared rates."""

    def __init__(
        self,
        redis: Redis,
        rates: Rates,
        *,
        prefix: str,
        share: float | None = None,
        recover_seconds: float = RECOVER_SECONDS,
        observer: Observer = NOBODY,
    ) -> None:
        """Do no I/O. With a `share` (above 0, at most 1), calls of this object use at most that part of each rate.

        A scan has a share, so the rest of the rate is left for events, which have none.
        """
        self._scripts = Scripts(redis, "throttle", "slow_down", "hold_slots", "keep_slot", "free_slot")
        self._held: set[str] = set()
        self._rates = rates
        self._share = share
        self._observer = observer
        self._prefix = _limit_key(prefix, "")
        self._slots = self._prefix + SLOTS
        self._recover_us = int(recover_seconds * 1_000_000)
        # Calls that find no slot queue here, so that only one of a process asks Redis again and again.
        self._slot_queue = asyncio.Lock()

    @asynccontextmanager
    async def stripe(self, endpoint: str) -> AsyncIterator[None]:
        """Throttle one request to a Stripe endpoint, named "METHOD /path/{id}". Slow the rate down after a 429."""
        begin = time.monotonic()
        await self._wait(self._stripe(endpoint))
        self._observer.throttled(STRIPE, time.monotonic() - begin)
        async with self._slowing(endpoint=endpoint):
            yield

    @asynccontextmanager
    async def autumn_list(self) -> AsyncIterator[None]:
        """Throttle one `customers.list`, and see how it ends."""
        begin = time.monotonic()
        await self._wait([Rate(AUTUMN_LISTS, self._rates.autumn_lists)])
        self._observer.throttled(AUTUMN_LISTS, time.monotonic() - begin)
        async with self._slowing(autumn=AUTUMN_LISTS):
            yield

    @asynccontextmanager
    async def autumn_update(self, *, stripe_endpoints: Sequence[str]) -> AsyncIterator[None]:
        """Throttle one `customers.update`, hold its slot while it may run, and see how it ends.

        `stripe_endpoints`: the requests that Autumn itself will make to Stripe for it, out of the same budget.
        """
        rates = [Rate(AUTUMN_UPDATES, self._rates.autumn_updates)]
        for endpoint in stripe_endpoints:
            rates += self._stripe(endpoint)
        async with self._in_flight(rates):
            yield

    @asynccontextmanager
    async def autumn_create(self) -> AsyncIterator[None]:
        """Wait for a slot for one `customers.get_or_create`, hold it while that may run, and see how it ends."""
        async with self._in_flight([]):
            yield

    @asynccontextmanager
    async def _in_flight(self, rates: Sequence[Rate]) -> AsyncIterator[None]:
        """Throttle a write, hold its slot while it may run or still land, and see how it ends."""
        token, begin = secrets.token_hex(8), time.monotonic()
        sent_at: float | None = None
        may_land_seconds = 0.0
        try:
            await self._wait(rates, token=token)
            sent_at = time.monotonic()
            self._observer.throttled(AUTUMN_UPDATES, sent_at - begin)
            async with self._slowing():
                yield
        except TryAgain as error:
            may_land_seconds = error.may_land_for_seconds
            raise
        except asyncio.CancelledError:
            may_land_seconds = LATE_SECONDS
            raise
        finally:
            self._held.discard(token)
            left_ms = 0 if sent_at is None else int((sent_at + may_land_seconds - time.monotonic()) * 1000)
            if left_ms > 0:
                await self._scripts.run("keep_slot", [self._slots], [token, left_ms, self._rates.autumn_max_in_flight])
            else:
                await self._scripts.run("free_slot", [self._slots], [token])

    async def renew(self) -> None:
        """Hold the slots of this process' writes for a while longer. To be called every RENEW_SECONDS."""
        if self._held:
            await self._scripts.run("hold_slots", [self._slots], [HOLD_MS, *self._held])

    def _stripe(self, endpoint: str) -> list[Rate]:
        one = Rate(f"{STRIPE}:{endpoint}", self._rates.stripe_endpoint_requests)
        return [Rate(STRIPE, self._rates.stripe_requests), one]

    @asynccontextmanager
    async def _slowing(self, *, endpoint: str = "", autumn: str = AUTUMN_UPDATES) -> AsyncIterator[None]:
        """Slow down the rate that a 429 names. A 429 for a single customer changes no rate."""
        try:
            yield
        except Limited as limited:
            names = {"autumn": autumn, "stripe": STRIPE, "stripe-endpoint": f"{STRIPE}:{endpoint}"}
            if limited.limit in names:
                await self._scripts.run("slow_down", [self._prefix + names[limited.limit]], [self._recover_us])
            raise

    async def _wait(self, rates: Sequence[Rate], token: str | None = None) -> None:
        if self._share is not None:
            # The share comes first, so that a scan never reserves the common rate before it may use it.
            await self._reserve([Rate(f"share:{rate.name}", rate.per_second * self._share) for rate in rates])
        await self._reserve(rates, token)

    async def _reserve(self, rates: Sequence[Rate], token: str | None = None) -> None:
        """Wait for a slot, if one is needed, and then for the reserved time."""
        for _ in range(LATE_TRIES):
            # A late call has its slot, and must not wait for those that have none.
            is_queued = token is not None and token not in self._held and self._slot_queue.locked()
            due = None if is_queued else await self._try_to_reserve(rates, token)
            if due is None:
                async with self._slot_queue:
                    while (due := await self._try_to_reserve(rates, token)) is None:  # noqa: ASYNC110 - it happens in Redis
                        await asyncio.sleep(POLL_SECONDS * (0.5 + random.random()))
            if token is not None:
                self._held.add(token)
            if due > time.monotonic():
                await asyncio.sleep(due - time.monotonic())
            if time.monotonic() - due <= LATE_SECONDS_MAX:
                return

    async def _try_to_reserve(self, rates: Sequence[Rate], token: str | None) -> float | None:
        """Reserve a time and a slot. Return the time on this process' monotonic clock, or None if no slot is free."""
        keys = [self._slots, *(self._prefix + rate.name for rate in rates)]
        slots = self._rates.autumn_max_in_flight if token else 0
        arguments: list[str | int] = [token or "", slots, HOLD_MS, self._recover_us]
        for rate in rates:
            arguments += [int(1_000_000 / rate.per_second), rate.burst]
        wait_us = int(await self._scripts.run("throttle", keys, arguments))
        # From now, because Redis may be far away.
        return None if wait_us < 0 else time.monotonic() + wait_us / 1_000_000


async def read_shares(
    redis: Redis, prefix: str, endpoints: Sequence[str], *, recover_seconds: float = RECOVER_SECONDS
) -> dict[str, float]:
    """Return the fraction of each rate that is in force now, by its name: 1 is full speed, 0.5 is half of it.

    `endpoints` names the endpoints of Stripe to include. Raises RedisError.
    """
    names = [AUTUMN_UPDATES, AUTUMN_LISTS, STRIPE, *(f"{STRIPE}:{endpoint}" for endpoint in endpoints)]
    keys = [_limit_key(prefix, name) for name in names]
    factors = await Scripts(redis, "read_slowdowns").run("read_slowdowns", keys, [int(recover_seconds * 1_000_000)])
    return {name: 1 / factor for name, factor in zip(names, factors, strict=True)}


def limit_kinds(prefix: str, endpoints: Sequence[str]) -> dict[str, str]:
    """Return the expected type of each rate's key, without the keys of a scan's share."""
    names = [AUTUMN_UPDATES, AUTUMN_LISTS, STRIPE, *(f"{STRIPE}:{endpoint}" for endpoint in endpoints)]
    keys = {_limit_key(prefix, name): "string" for name in names}
    return {**keys, **{f"{key}:slow": "hash" for key in keys}, _limit_key(prefix, SLOTS): "zset"}


def _limit_key(prefix: str, name: str) -> str:
    return f"{prefix}:limit:{name}"
