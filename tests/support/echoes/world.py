"""Both services, one worker and all writers of a customer, with every step under control, and the truth beside.

It judges nothing by itself: `echoes.truth` has the right values, and `echoes.limits` the cases that are left out.
"""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final

import aiohttp
from aiohttp import web
from redis.asyncio import Redis

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from jobs.plan.policy import Policy
from jobs.stripe.events import EventAnswer
from jobs.sync.job import sync_customer
from sandbox.autumn.server import AutumnSimulator
from sandbox.faults import Fault, Handler
from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator
from tests.conftest import PREFIX, World, opened_deps
from tests.support.echoes import limits
from tests.support.echoes.parts import OTHER_APP, UPDATE, WHOLE, Noticing, Planted, Syncing
from tests.support.echoes.truth import COPIED, FLAG, NOT_COPIED, PROFILE, Json, Truth, flat, nested, shown_by
from tests.support.edits import age_notes
from tests.support.steps import time_passes
from tests.support.watches import actor_of, watch_is_current

RECHECK_SECONDS: Final = 61.0
SOON_SECONDS: Final = 12.0
"""The time until another try is due, and more than the lag of Autumn's replica."""
SPARES: Final = 2


class EchoWorld:
    """Both services, one worker and the truth. `customers` are the names of the planted ones."""

    def __init__(self, redis: Redis) -> None:
        """Store the Redis client. `open` starts the services."""
        self.redis = redis
        self.skew_seconds, self.doubt_until = 0.0, 0.0
        self.unsettled_since: float | None = None
        """The time of the first webhook since all was calm, by the world's clock."""
        self.truths: dict[str, Truth] = {}
        self.own: dict[str, Json] = defaultdict(dict)
        self.foreign: set[str] = set()
        """The ids of the webhooks that another app or a person caused."""
        self.by_hand: set[str] = set()
        """The ids of the webhooks that a person caused."""
        self.arrived: set[str] = set()
        """The ids of the webhooks that have arrived at least once."""
        self.watched = 0
        """The number of Stripe's events that the watch has read."""
        self.waiting: dict[str, list[Json]] = {}
        """The events of each customer that have no outcome yet."""
        self.number = itertools.count(1)
        self.requests = self.running = 0
        self.interrupt: tuple[int, Callable[[], Awaitable[None]]] | None = None

    def now(self) -> float:
        """Seconds since the epoch. Time passes only when a test moves it."""
        return time.time() + self.skew_seconds

    async def open(self, stack: AsyncExitStack, planted: Sequence[Planted], *, says_more: bool, twice: bool) -> None:
        """Plant the customers. `says_more`: Stripe also announces writes that change nothing. `twice`: some come
        twice."""
        await self.redis.flushall()
        self.stripe = StripeSimulator(
            requests_per_second=None, endpoint_requests_per_second=None, search_per_second=None, clock=self.now
        )
        stripe_url = await stack.enter_async_context(serving(self._counted(self.stripe.app())))
        self.autumn = AutumnSimulator(
            stripe_url=stripe_url, stripe_key=self.stripe.key, updates_per_second=None, clock=self.now
        )
        self.autumn.switches = Noticing(note=self._note_update)
        autumn_url = await stack.enter_async_context(serving(self._counted(self.autumn.app())))
        webhooks = self.stripe.webhooks
        webhooks.url, webhooks.delay_seconds = autumn_url + self.autumn.webhook_path, None
        webhooks.without_change, webhooks.twice = says_more, 0.3 if twice else 0.0
        policy = Policy(metadata_keys=("plan",))
        deps = await stack.enter_async_context(
            opened_deps(self.redis, autumn_url, self.autumn.key, stripe_url, self.stripe.key, policy=policy)
        )
        deps = replace(deps, now=self.now, retry_for_seconds=30 * 86_400)
        self.world = World(self.redis, self.stripe, self.autumn, deps, autumn_url)
        self.actor = replace(actor_of(self.world), now=self.now)
        await watch_is_current(self.redis)
        self.app = await stack.enter_async_context(aiohttp.ClientSession(headers={"User-Agent": OTHER_APP}))
        for name, each in zip(("ann", "bob"), planted, strict=False):
            self._plant(name, each)
        self.customers = tuple(self.truths)

    def _plant(self, name: str, planted: Planted) -> None:
        values = [self.new(field) if has else None for field, has in zip(PROFILE, planted.has, strict=True)]
        stripe_id = None
        if planted.link != "unlinked":
            other: dict[str, Callable[[str | None, str], str | None]] = {
                "same": lambda value, _: value,
                "stale": lambda _, field: self.new(field),
                "none": lambda *_: None,
            }
            profile = {
                field: other[how](value, field)
                for field, value, how in zip(PROFILE, values, planted.shown, strict=True)
            }
            metadata = {} if planted.link == "unclaimed" else {"autumn_id": name}
            stripe_id = self._plant_in_stripe(f"cus_{name}", profile, metadata)
        for number in range(SPARES):
            self._plant_in_stripe(f"cus_{name}_{number}", {field: self.new(field) for field in PROFILE}, {})
        link = stripe_id if planted.link in {"linked", "unclaimed"} else None
        row = dict(zip(PROFILE, values, strict=True))
        self.autumn.seed(name, stripe_id=link, **row)
        value = {**row, FLAG: False, COPIED: None, NOT_COPIED: None, "stripe_id": link}
        self.truths[name] = Truth(value, self.own)
        self.waiting[name] = []

    def _plant_in_stripe(self, stripe_id: str, profile: Json, metadata: Json) -> str:
        self.own[stripe_id] = dict(profile)
        return str(self.stripe.seed_customer(id=stripe_id, metadata=metadata, **profile)["id"])

    def new(self, field: str) -> str:
        """Return a value that nobody has used."""
        text = {"email": "mail{}@example.com", "name": "Name {}"}.get(field, "value {}")
        return text.format(next(self.number))

    def row(self, customer: str) -> Json:
        """Return the customer in Autumn."""
        return self.autumn.customers[customer]

    def linked(self, customer: str) -> Json | None:
        """Return the Stripe customer that Autumn is linked to."""
        link = self.row(customer)["stripe_id"]
        return None if link is None else self.stripe.customers[link]

    # Steps

    async def event(self, customer: str, fields: Mapping[str, Any]) -> None:
        """Send an event as an app does. Without fields it requests a reconcile."""
        kind = "customer.updated" if fields else "customer.reconcile"
        update = new_update(customer_id=customer, type=kind, changes=nested(fields) or None)
        event = await send(self.redis, update)
        self.waiting[customer].append({"event": event, "fields": dict(fields)})

    async def other_app(self, customer: str, fields: Mapping[str, Any]) -> None:
        """Write to Autumn directly, as another app does."""
        events = len(self.stripe.webhooks.events)
        body = {"customer_id": customer, **nested(fields)}
        headers = {"Authorization": f"Bearer {self.autumn.key}", "x-api-version": "2.3"}
        faults, self.autumn.switches.faults = self.autumn.switches.faults, []
        stripes, self.stripe.switches.faults = self.stripe.switches.faults, []
        async with self.app.post(self.world.autumn_url + UPDATE, json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
        self.autumn.switches.faults, self.stripe.switches.faults = faults, stripes
        self._note_webhooks(events, is_foreign=True)

    def person(self, stripe_id: str, field: str, value: str | None) -> None:
        """Edit a Stripe customer as a person does in the dashboard."""
        events = len(self.stripe.webhooks.events)
        self.stripe.edit(stripe_id, **{field: value or ""})
        for customer, truth in self.truths.items() if field in PROFILE else ():
            if stripe_id.startswith(f"cus_{customer}") or stripe_id == self.row(customer)["stripe_id"]:
                truth.note_edit(stripe_id, field, value, is_linked=stripe_id == self.row(customer)["stripe_id"])
        self.by_hand |= {event["id"] for event in self.stripe.webhooks.events[events:]}
        self._note_webhooks(events, is_foreign=True)

    async def watch(self) -> None:
        """Read the events that Stripe has made, as a poll of the watch does."""
        made, self.watched = self.stripe.events.made[self.watched :], len(self.stripe.events.made)
        for event in made:
            await self.actor.receive(EventAnswer.model_validate(event))

    async def deliver(self, pick: int) -> None:
        """Deliver one of the pending webhooks."""
        pending = self.stripe.webhooks.pending
        if pending:
            await self._arrive(pending[pick % len(pending)])

    async def _arrive(self, event: Json) -> None:
        before = {customer: dict(self.row(customer)) for customer in self.customers}
        self.arrived.add(event["id"])
        await self.stripe.webhooks.deliver(event)
        for customer, row in before.items():
            relinks = any("stripe_id" in each["fields"] for each in self.waiting[customer])
            self.truths[customer].note_copies(row, self.row(customer), relinks=relinks)

    async def _all_arrive(self) -> None:
        while self.stripe.webhooks.pending:
            await self.deliver(0)

    async def sync(self, how: Syncing = WHOLE) -> bool:
        """Sync each due customer once, the first one in this way. Return whether any was due."""
        await self._edits_arrive()
        await self.world.mailbox.move()
        _, called, _ = await self.world.mailbox.dispatch(1000)
        for customer in called:
            events, failed = len(self.stripe.webhooks.events), self._failed
            await self._sync(customer, how)
            if self._failed > failed:
                self.doubt_until = self.now() + limits.DOUBT_SECONDS
            self._note_webhooks(events, is_foreign=False)
            how = WHOLE
        return bool(called)

    @property
    def _failed(self) -> int:
        """Return the number of requests that got an error or no answer."""
        return sum(sum(each.switches.fired.values()) for each in (self.autumn, self.stripe))

    async def _sync(self, customer: str, how: Syncing) -> None:
        """Sync, or die after some requests. Then the sent requests still complete, and the lease expires."""
        task, until = asyncio.create_task(sync_customer(self.world.deps, customer)), self.requests
        if how.webhook_at is not None:
            self.interrupt = (until + how.webhook_at, lambda: self.deliver(how.pick))
        while how.dies_after is not None and not task.done():
            if self.requests >= until + how.dies_after:
                task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])
        self.interrupt = None
        while self.running:  # noqa: ASYNC110 - the simulators finish in this loop and set no event
            await asyncio.sleep(0)
        await self._forget_settled(customer)
        if not task.cancelled():
            task.result()
            return
        self.doubt_until = self.now() + limits.DOUBT_SECONDS
        await self.redis.delete(f"{PREFIX}:lease:{customer}")
        await self.redis.zadd(f"{PREFIX}:dispatched", {customer: 1}, xx=True)

    async def _forget_settled(self, customer: str) -> None:
        waiting = []
        for each in self.waiting[customer]:
            outcome = await outcome_of(self.redis, each["event"])
            if outcome is None or outcome.status == "waiting":
                waiting.append(each)
            else:
                assert outcome.status == "applied", outcome
        self.waiting[customer] = waiting

    async def time_passes(self, seconds: float) -> None:
        """Make every waiting retry due. After a minute the rechecks are due as well."""
        self.skew_seconds += seconds
        if seconds >= RECHECK_SECONDS:
            await self.watch()
            await time_passes(self.world)
            return
        for customer in await self.redis.zrange(f"{PREFIX}:waiting", 0, -1):
            await self.redis.zadd(f"{PREFIX}:waiting", {customer: 1})
        if await self.redis.exists(f"{PREFIX}:breaker"):
            await self.redis.hset(f"{PREFIX}:breaker", "probe_at", "0")  # type: ignore[misc]  # one type for both clients

    async def calm(self) -> None:
        """Deliver all webhooks, run all rechecks and one reconcile. Then both sides must be right."""
        self.stripe.switches.clear()
        self.autumn.switches.clear()
        await self._settle(SOON_SECONDS)
        await self._settle(RECHECK_SECONDS)
        await self._reconcile()
        for customer in self.customers:
            if await age_notes(self.redis, customer):
                await self._reconcile()
                await self._settle(RECHECK_SECONDS)
        self.judge()
        self.unsettled_since = None

    async def stays_calm(self) -> None:
        """Check that later rechecks change nothing."""
        await self._settle(RECHECK_SECONDS)
        writes = len(self.stripe.writes)
        await self._reconcile()
        self.judge()
        assert [write.changed for write in self.stripe.writes[writes:]] == []

    def judge(self) -> None:
        """Raise AssertionError for a customer that is not right."""
        for customer, truth in self.truths.items():
            stripe = self.linked(customer)
            assert stripe is not None, f"{customer} is not linked"
            truth.judge(self.row(customer), stripe)

    async def _reconcile(self) -> None:
        for customer in self.customers:
            await self.event(customer, {})
        await self.sync()
        await self._all_arrive()

    async def _settle(self, seconds: float) -> None:
        """Deliver webhooks and let time pass until no work is left."""
        for _ in range(20):
            await self.watch()
            await self._all_arrive()
            if not await self.sync() and not self.stripe.webhooks.pending:
                await self.time_passes(seconds)
                if not await self.sync():
                    return
        raise AssertionError("there is still work left")

    def lose(self, fault: Fault, *, in_autumn: bool) -> None:
        """Make the next request of a kind fail, or lose its answer."""
        switches = (self.autumn if in_autumn else self.stripe).switches
        if not any(each.times for each in switches.faults):
            switches.add(replace(fault))

    async def _edits_arrive(self) -> None:
        for event in list(self.stripe.webhooks.pending):
            if limits.comes_before_a_sync(self, event):
                await self._arrive(event)

    # Notes

    def _note_update(self, body: Json, is_foreign: bool) -> None:
        customer = body["customer_id"]
        fields = flat(body)
        if not is_foreign:
            requested = [each["fields"] for each in self.waiting[customer]]
            fields = {
                name: value
                for name, value in fields.items()
                if any(name in each and each[name] == value for each in requested)
            }
        stripe = self.linked(customer)
        shown = None if stripe is None else shown_by(stripe)
        link = self.row(customer)["stripe_id"]
        self.truths[customer].note_update(fields, by_event=not is_foreign, link=link, shown=shown)

    def _note_webhooks(self, since: int, *, is_foreign: bool) -> None:
        made = self.stripe.webhooks.events[since:]
        matter = [each for each in made if not (each["request"]["idempotency_key"] or "").startswith("autumn:")]
        if is_foreign:
            self.foreign |= {event["id"] for event in made}
        if matter and self.unsettled_since is None:
            self.unsettled_since = self.now()

    def _counted(self, app: web.Application) -> web.Application:
        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path.startswith("/webhooks/"):
                return await handler(request)
            self.requests += 1
            if self.interrupt is not None and self.requests >= self.interrupt[0]:
                arrives, self.interrupt = self.interrupt[1], None
                await arrives()
            self.running += 1
            try:
                return await handler(request)
            finally:
                self.running -= 1

        app.middlewares.append(count)
        return app
