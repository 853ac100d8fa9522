"""From any state of an account and after any events, both sides agree in the end, and nothing else has changed.

Hypothesis plants accounts, and plays apps, people in Stripe's dashboard, faults of both services, dying workers and
time on both simulators. The checks decide what is right. They share no code with the plan.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest
from aiohttp import web
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from redis.asyncio import Redis

from jobs.enqueue import outcome_of
from jobs.events import new_update
from jobs.plan.policy import Policy
from jobs.queue.record import read_customer
from jobs.sync.job import sync_customer
from sandbox.audit.sides import Record
from sandbox.autumn.server import AutumnSimulator
from sandbox.faults import Fault
from sandbox.redis import EmbeddedRedis
from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator
from tests.conftest import INBOX, PREFIX, World, opened_deps
from tests.support.accounts import drawn, people
from tests.support.accounts.checks import judge_autumn, judge_end
from tests.support.accounts.drawn import NAMES, Account
from tests.support.accounts.ledger import Ledger, SentEvent, Sync, both_sides
from tests.support.accounts.writes import judge_writes
from tests.support.examples import examples
from tests.support.steps import time_passes

SEARCH_LAG_SECONDS = 3600.0
FAULTS_AT_A_TIME = 3
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Accounts:
    """Both simulators, the dependencies of one worker, and a clock. Checks each sync that it runs."""

    def __init__(self, redis: Redis, policy: Policy, *, search_lags: bool, arriving: drawn.Arriving) -> None:
        self.redis, self.policy, self.ledger, self.arriving = redis, policy, Ledger(), arriving
        self.skew_seconds = 0.0
        self.requests, self.running = 0, 0
        self.stripe = StripeSimulator(
            requests_per_second=None, endpoint_requests_per_second=None, search_per_second=None, clock=self.now
        )
        self.search_lags = search_lags
        self.planted: dict[str, Record] = {}

    def now(self) -> float:
        return time.time() + self.skew_seconds

    async def open(self, stack: AsyncExitStack, accounts: dict[str, Account]) -> None:
        await self.redis.flushall()
        stripe_url = await stack.enter_async_context(serving(self._counted(self.stripe.app())))
        autumn = AutumnSimulator(
            stripe_url=stripe_url, stripe_key=self.stripe.key, updates_per_second=None, clock=self.now
        )
        autumn_url = await stack.enter_async_context(serving(self._counted(autumn.app())))
        deps = await stack.enter_async_context(
            opened_deps(self.redis, autumn_url, autumn.key, stripe_url, self.stripe.key, policy=self.policy)
        )
        deps = replace(deps, now=self.now, retry_for_seconds=30 * 86_400)
        self.world = World(self.redis, self.stripe, autumn, deps, autumn_url)
        self.stripe.webhooks.url, self.stripe.webhooks.delay_seconds = autumn_url + autumn.webhook_path, None
        people.plant(self.world, accounts, self.now())
        self.stripe.search_lag_seconds = SEARCH_LAG_SECONDS if self.search_lags else 0.0
        sides = both_sides(self.world)
        self.ledger.plant(sides)
        self.ledger.note_link(sides)
        self.planted = dict(sides.autumn)

    async def arrive(self, picks: list[int]) -> None:
        """Deliver some of the pending webhooks to Autumn, in this order."""
        pending = self.stripe.webhooks.pending
        for pick in picks:
            if pending:
                await self.stripe.webhooks.deliver(pending[pick % len(pending)])

    async def edit(self, what: str, stripe_id: str, whose: str) -> None:
        """Edit a Stripe customer as a person does."""
        people.edit(self.stripe, what, stripe_id, whose)
        self.ledger.note_edit(both_sides(self.world), stripe_id)

    def _counted(self, app: web.Application) -> web.Application:
        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path.startswith("/webhooks/"):
                return await handler(request)
            if self.arriving == "at once":
                await self.stripe.webhooks.deliver_all()
            self.requests += 1
            self.running += 1
            try:
                return await handler(request)
            finally:
                self.running -= 1

        app.middlewares.append(count)
        return app

    def pick_living(self, pick: int) -> str | None:
        """Return a Stripe customer that is not deleted; None if there is none."""
        living = [each for each in self.stripe.customers if not self.stripe.customers[each].get("deleted")]
        return living[pick % len(living)] if living else None

    def take_payment(self, what: str, pick: int, payment: drawn.Payment) -> None:
        """Begin a payment as an app does, or continue one that is not canceled."""
        intents, mails, stripe_id = self.stripe.payment_intents, len(self.stripe.mails), self.pick_living(pick)
        before = list(intents.values())[pick % len(intents)]
        intent_id = before["id"]
        if what == "begins" and stripe_id is not None:
            self.ledger.note_payment(intents[people.begin_payment(self.stripe, stripe_id, payment, self.now())])
        elif what == "pays" and before["status"] != "canceled":
            self.stripe.succeed(intent_id)
        elif what in {"sets its own", "clears it"} and before["status"] != "canceled":
            people.set_address(self.stripe, intent_id, people.apps_address(what))
            self.ledger.note_app(before, intents[intent_id])
        self.ledger.mailed |= {batch.payment_intent for batch in self.stripe.mails[mails:]}

    async def send(self, customer: str, changes: dict[str, Any]) -> None:
        """Send an event as an app does. Without changes it is a reconcile."""
        kind = "customer.updated" if changes else "customer.reconcile"
        update = new_update(customer_id=customer, type=kind, changes=changes or None)
        entry = await self.redis.xadd(INBOX, dict(update.fields().items()))
        self.ledger.events[entry.decode()] = SentEvent(customer, changes)

    async def sync_due_customers(self, crash_after: int | None = None) -> bool:
        """Sync each due customer once. The first sync dies after `crash_after` requests. Return whether any was due."""
        await self.world.mailbox.move()
        _, dispatched, _ = await self.world.mailbox.dispatch(1000)
        for customer in dispatched:
            await self._sync(customer, crash_after)
            crash_after = None
        return bool(dispatched)

    async def _sync(self, customer: str, crash_after: int | None) -> None:
        before, writes, mails = both_sides(self.world), len(self.stripe.writes), len(self.stripe.mails)
        batch = await self.redis.xrange(f"{PREFIX}:mailbox:{customer}")
        ended = await self.redis.xlen(f"{PREFIX}-outcomes")
        is_recheck = (await read_customer(self.redis, PREFIX, customer)).recheck
        refused = self.world.autumn.switches.fired.get("400", 0)
        is_over = await self._run(customer, crash_after)
        record = await read_customer(self.redis, PREFIX, customer)
        ends = (await self.redis.xrange(f"{PREFIX}-outcomes"))[ended:]
        sync = Sync(
            customer,
            before,
            both_sides(self.world),
            {entry.decode(): json.loads(fields.get(b"changes", b"{}")) for entry, fields in batch},
            is_recheck,
            is_over and not record.last_error,
            self.world.autumn.switches.fired.get("400", 0) > refused,
            self.stripe.writes[writes:],
            self.stripe.mails[mails:],
            {end[b"entry"].decode(): (end[b"status"].decode(), end[b"reason"].decode()) for _, end in ends},
            record,
        )
        self.ledger.note_link(sync.after)
        judge_writes(sync, self.ledger, self.policy, search_lags=self.search_lags)
        judge_end(sync, self.ledger, self.policy, self.stripe.charges, search_lags=self.search_lags)

    async def _run(self, customer: str, crash_after: int | None) -> bool:
        """Sync, or die after `crash_after` requests. Then sent requests are still applied, and the lease expires.

        Return whether the sync completed.
        """
        task, until = asyncio.create_task(sync_customer(self.world.deps, customer)), self.requests
        while crash_after is not None and not task.done():
            if self.requests >= until + crash_after:
                task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])
        while self.running:  # noqa: ASYNC110 - the simulators signal no event when they end
            await asyncio.sleep(0)
        if not task.cancelled():
            task.result()
            return True
        await self.redis.delete(f"{PREFIX}:lease:{customer}")
        await self.redis.zadd(f"{PREFIX}:dispatched", {customer: 1}, xx=True)
        return False

    async def time_passes(self, seconds: float) -> None:
        """Make every waiting customer due, and expire claims and slots."""
        self.skew_seconds += seconds
        await time_passes(self.world)
        async for key in self.redis.scan_iter(f"{PREFIX}:claim:*"):
            await self.redis.delete(key)
        await self.redis.delete(f"{PREFIX}:limit:autumn-slots")

    async def settle(self) -> None:
        """Let time pass until nothing is left to do."""
        for _ in range(60):
            await self.stripe.webhooks.deliver_all()
            await self.time_passes(SEARCH_LAG_SECONDS + 1)
            if not await self.sync_due_customers():
                return
        raise AssertionError("there is still something to do")

    async def end(self) -> None:
        """Check that both sides are right after a last reconcile of all, and that another one writes nothing."""
        self.stripe.switches.clear()
        self.world.autumn.switches.clear()
        self.search_lags, self.stripe.search_lag_seconds = False, 0.0
        await self.settle()
        for name in NAMES:
            await self.send(name, {})
        await self.settle()
        writes, updates = len(self.stripe.writes), self._updates()
        for name in NAMES:
            await self.send(name, {})
        await self.settle()
        assert self.stripe.writes[writes:] == []
        assert self._updates() == updates
        for entry, sent in self.ledger.events.items():
            outcome = await outcome_of(self.redis, entry)
            assert outcome is not None
            assert (outcome.status, outcome.customer_id) == (sent.outcome, sent.customer)
        self.ledger.note_webhooks(self.stripe.webhooks.events)
        for name in NAMES:
            sent_of = [sent for sent in self.ledger.events.values() if sent.customer == name]
            judge_autumn(name, self.world.autumn.customers[name], self.planted[name], sent_of, self.ledger)

    def _updates(self) -> int:
        return sum(call.path == "/v1/customers.update" for call in self.world.autumn.calls)


class Machine(RuleBasedStateMachine):
    """Random events for three accounts."""

    def __init__(self, url: str) -> None:
        super().__init__()
        # With a factory, the runner does not replace the event loop of the thread.
        self.run = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.stack, self.redis = AsyncExitStack(), Redis.from_url(url)

    @initialize(
        policy=drawn.POLICIES,
        accounts=st.tuples(*[drawn.ACCOUNTS for _ in NAMES]),
        search_lags=st.booleans(),
        arriving=drawn.ARRIVALS,
    )
    def plant(self, policy: Policy, accounts: tuple[Account, ...], search_lags: bool, arriving: drawn.Arriving) -> None:
        self.accounts = Accounts(self.redis, policy, search_lags=search_lags, arriving=arriving)
        self.run.run(self.accounts.open(self.stack, dict(zip(NAMES, accounts, strict=True))))

    @rule(requests=drawn.SAYINGS, sync=drawn.SYNCS)
    def apps_send(self, requests: drawn.Sayings, sync: drawn.Syncing) -> None:
        for customer, changes in requests:
            self.run.run(self.accounts.send(customer, changes))
        if sync != "later":
            self.run.run(self.accounts.sync_due_customers(None if sync == "whole" else sync))

    @rule(seconds=st.sampled_from([61.0, 61.0, SEARCH_LAG_SECONDS + 1]), requests=drawn.SAYINGS, sync=drawn.SYNCS)
    def time_passes(self, seconds: float, requests: drawn.Sayings, sync: drawn.Syncing) -> None:
        self.run.run(self.accounts.time_passes(seconds))
        self.apps_send(requests, sync)

    @rule(autumns=st.booleans(), fault=drawn.FAULTS, requests=drawn.SAYINGS, sync=drawn.SYNCS)
    def service_fails(self, autumns: bool, fault: Fault, requests: drawn.Sayings, sync: drawn.Syncing) -> None:
        switches = (self.accounts.world.autumn if autumns else self.accounts.stripe).switches
        if sum(each.times or 0 for each in switches.faults) < FAULTS_AT_A_TIME:
            switches.add(replace(fault))
        self.apps_send(requests, sync)

    @rule(what=drawn.HANDS, pick=drawn.PICKS, whose=drawn.CUSTOMERS, requests=drawn.SAYINGS, sync=drawn.SYNCS)
    def person_edits_stripe(
        self, what: str, pick: int, whose: str, requests: drawn.Sayings, sync: drawn.Syncing
    ) -> None:
        stripe_id = self.accounts.pick_living(pick)
        if stripe_id is not None:
            self.run.run(self.accounts.edit(what, stripe_id, whose))
        self.apps_send(requests, sync)

    @rule(picks=drawn.WEBHOOKS, requests=drawn.SAYINGS, sync=drawn.SYNCS)
    def webhooks_arrive(self, picks: list[int], requests: drawn.Sayings, sync: drawn.Syncing) -> None:
        self.run.run(self.accounts.arrive(picks))
        self.apps_send(requests, sync)

    @rule(what=drawn.PAYERS, pick=drawn.PICKS, payment=drawn.PAYMENTS, requests=drawn.SAYINGS, sync=drawn.SYNCS)
    def app_takes_payments(
        self, what: str, pick: int, payment: drawn.Payment, requests: drawn.Sayings, sync: drawn.Syncing
    ) -> None:
        self.accounts.take_payment(what, pick, payment)
        self.apps_send(requests, sync)

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None and hasattr(self, "accounts"):
                self.run.run(self.accounts.end())
        finally:
            self.run.run(self.stack.aclose())
            self.run.run(self.redis.aclose())
            self.run.close()


@pytest.mark.timeout(600)  # Hypothesis shrinks a failing run before it shows it
def test_accounts_end_in_agreement_and_nothing_else_changes(redis_server: EmbeddedRedis) -> None:
    # Use the same examples each time. To search for new failures, run more examples (`tests.support.examples`).
    small = settings(max_examples=examples(30), report_multiple_bugs=False, stateful_step_count=16, derandomize=True)
    run_state_machine_as_test(cast(Any, partial(Machine, redis_server.url)), settings=small)
