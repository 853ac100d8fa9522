"""Execute the acts of other apps and people, each while its customer is at rest. Later payments do not wait for that.

`others_plan` gives the reason. If a sync of the customer ran during a write, the write is repeated.
"""

import asyncio
import itertools
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.queue.mailbox import MailboxKeys
from jobs.queue.record import RecordKeys, parse_record, read_outcome
from sandbox.everything import Sandbox
from tests.chaos.drifts import PROFILE
from tests.chaos.evidence import Written
from tests.chaos.others_plan import OtherWrite
from tests.chaos.outside import PREFIX, RECHECK_AFTER_WEBHOOKS_SECONDS
from tests.chaos.people import People

PAUSE_SECONDS: Final = 0.1
NO_RECHECK_MS: Final = 1_500
"""A write begins only if no recheck is due within this time."""
LEFT_OUT_SECONDS: Final = 60.0
"""A customer that does not come to rest within this time is left out."""
TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
API_VERSION: Final = "2.3"
UPDATE: Final = "/v1/customers.update"
DONE: Final = {
    ("app", "write"): "updates by other apps",
    ("person", "write"): "edits in Stripe's dashboard",
    ("person", "empty"): "fields emptied in Stripe",
    ("person", "unmark"): "marks removed in Stripe",
    ("person", "delete"): "customers deleted in Stripe",
}
MARGIN_SECONDS: Final = 1.0
"""The time a webhook may take beyond its planned delay."""


@dataclass
class Others:
    """All other writers. `windows` has the times of their writes to a customer, in seconds since the epoch."""

    box: Sandbox
    redis: Redis
    session: aiohttp.ClientSession
    people: People
    webhook_seconds: float
    announces_all: bool = False
    payment_left_out_seconds: float = 300.0
    """A first payment that cannot begin within this time is left out. A slow machine must not make the run easier."""
    done: Counter[str] = field(default_factory=Counter)
    windows: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    _free_at: dict[str, float] = field(default_factory=dict)
    _payers: set[str] = field(default_factory=set)
    _one_app_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def write(self, planned: OtherWrite, events: Iterable[str]) -> Written | None:
        """Write once all these events have an outcome. Return the write.

        None if the customer never came to rest, or never had a sync. Then nothing was written.
        """
        give_up_at = time.monotonic() + LEFT_OUT_SECONDS
        waits_for, attempt = set(events), 0
        while True:
            takes = None
            if not self.people.is_beyond_the_watch(planned.customer):
                takes = await self._rest(planned, waits_for, math.inf if attempt else give_up_at)
            if takes is None or self.people.is_unknown_edit_shown(planned.customer):
                self.done["writes of others left out"] += 1
                return None
            changes = planned.changes(attempt)
            async with self._one_app_at_a_time if planned.by == "app" else nullcontext():
                if await self._state(planned.customer, NO_RECHECK_MS) != (takes, True):
                    continue
                is_alone, is_withheld = await self._act(planned, changes, takes)
            # Only a value can be lost to a sync that runs at the same time.
            if is_alone or planned.act != "write":
                self.done[DONE[planned.by, planned.act]] += 1
                if self.announces_all and planned.by == "person":
                    await asyncio.sleep(self.webhook_seconds + MARGIN_SECONDS)
                    while self._is_announced(planned.customer):  # noqa: ASYNC110 - it happens in the simulators
                        await asyncio.sleep(PAUSE_SECONDS)
                return Written(planned.customer, planned.by, changes, planned.act, is_withheld)
            self.done["writes of others made again"] += 1
            attempt += 1

    async def pay(self, planned: OtherWrite, events: Sequence[str]) -> None:
        """Let a customer pay. The first payment waits until these events have an outcome and no recheck is due soon.

        Their syncs and rechecks would notice the payment without the watch. If they do not end in
        `payment_left_out_seconds`, the payment is left out. Raises ValueError without events.
        """
        customer, waits_for = planned.customer, set(events)
        if not waits_for:
            raise ValueError(f"{customer} has no event, so no sync makes its link known")
        recheck_ms = int((self.webhook_seconds + RECHECK_AFTER_WEBHOOKS_SECONDS + MARGIN_SECONDS) * 1000)
        give_up_at = time.monotonic() + self.payment_left_out_seconds
        while customer not in self._payers:
            if await self._have_ended(waits_for) and (await self._state(customer, recheck_ms))[1]:
                self._payers.add(customer)
            elif time.monotonic() >= give_up_at:
                self.done["payments left out"] += 1
                return
            else:
                await asyncio.sleep(PAUSE_SECONDS)
        await self.people.pay(planned)

    async def _act(self, planned: OtherWrite, changes: dict[str, Any], takes: int) -> tuple[bool, bool]:
        """Act. Return whether no sync of the customer ran during the act, and whether Stripe withheld its event.

        `takes` is the number of syncs before it.
        """
        customer, most, is_withheld = planned.customer, self.box.autumn.max_parallel_updates, False
        before, began = most.get(customer, 0), time.time()
        if planned.by == "app":
            await self._update_autumn(customer, changes)
        else:
            is_withheld = self.people.act(planned, changes)
        self.windows[customer].append((began, time.time()))
        self._free_at[customer] = time.monotonic() + self.webhook_seconds + MARGIN_SECONDS
        if await self._state(customer) == (takes, True):
            return True, is_withheld
        # Two updates at a time, one of them from this class, say nothing about the workers.
        most[customer] = before
        return False, is_withheld

    async def _update_autumn(self, customer: str, changes: dict[str, Any]) -> None:
        """Update Autumn until it answers that the update is done."""
        environment = self.box.environment
        url = environment["AUTUMN_API_URL"] + UPDATE
        headers = {"Authorization": f"Bearer {environment['AUTUMN_SECRET_KEY']}", "x-api-version": API_VERSION}
        body = {"customer_id": customer, **changes}
        while True:
            try:
                async with self.session.post(url, json=body, headers=headers, timeout=TIMEOUT) as answer:
                    if answer.status == 200 and answer.content_type == "application/json":
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(PAUSE_SECONDS)

    async def _rest(self, planned: OtherWrite, waits_for: set[str], give_up_at: float) -> int | None:
        """Wait until the customer is at rest. Return the number of its syncs, or None if that takes too long."""
        customer = planned.customer
        while time.monotonic() < give_up_at:
            takes, is_at_rest = await self._state(customer, NO_RECHECK_MS)
            is_free = time.monotonic() >= self._free_at.get(customer, 0.0) and self._is_claimed(customer)
            # On a busy machine a webhook is later than planned.
            is_free &= not self._is_announced(customer)
            is_free &= planned.act == "write" or self._is_same(customer)
            is_free &= not self.announces_all or self._have_arrived(customer)
            if is_at_rest and is_free and await self._have_ended(waits_for):
                return takes
            await asyncio.sleep(PAUSE_SECONDS)
        return None

    def _is_announced(self, customer: str) -> bool:
        """Whether webhooks about the customer are still to come."""
        return self.box.stripe.webhooks.are_coming(str(self.box.autumn.customers[customer]["stripe_id"]))

    def _is_same(self, customer: str) -> bool:
        """Whether both sides have the same name and e-mail. If not, Stripe alone may have the right ones."""
        row = self.box.autumn.customers[customer]
        shown = self.box.stripe.customers.get(str(row["stripe_id"]), {})
        return all((shown.get(name) or None) == row[name] for name in PROFILE)

    def _is_claimed(self, customer: str) -> bool:
        """Whether a sync has made the customer's Stripe customer right. After that, none of its fields is stale."""
        stripe = self.box.stripe.customers.get(str(self.box.autumn.customers[customer]["stripe_id"]), {})
        return "autumn_send_email_receipts" in stripe.get("metadata", {})

    def _have_arrived(self, customer: str) -> bool:
        """Whether the webhooks of all updates of the customer have arrived."""
        since = time.time() - self.webhook_seconds - MARGIN_SECONDS
        recent = itertools.takewhile(lambda call: call.ended > since, reversed(self.box.autumn.calls))
        return not any(call.body.get("customer_id") == customer and call.path == UPDATE for call in recent)

    async def _have_ended(self, waits_for: set[str]) -> bool:
        """Whether all these events have an outcome. Those that have one are removed from the set."""
        for event in tuple(waits_for):
            try:
                outcome = await read_outcome(self.redis, PREFIX, event)
            except (RedisError, OSError):
                return False
            if outcome is None or outcome.status == "waiting":
                return False
            waits_for.discard(event)
        return True

    async def _state(self, customer: str, no_recheck_ms: int = 0) -> tuple[int, bool]:
        """Return the number of the customer's syncs, and whether it is at rest, as soon as Redis answers."""
        keys, record = MailboxKeys(PREFIX), RecordKeys(PREFIX).customer(customer)
        while True:
            try:
                async with self.redis.pipeline(transaction=True) as pipe:
                    pipe.exists(keys.lease(customer))
                    pipe.xlen(keys.mailbox(customer))
                    pipe.zscore(keys.waiting, customer)
                    pipe.zscore(keys.dispatched, customer)
                    pipe.hgetall(record)
                    pipe.zscore(keys.rechecks, customer)
                    pipe.time()
                    *busy, raw, recheck_at_ms, now = await pipe.execute()
                break
            except (RedisError, OSError):
                await asyncio.sleep(PAUSE_SECONDS)
        is_due = recheck_at_ms is not None and recheck_at_ms < now[0] * 1000 + now[1] // 1000 + no_recheck_ms
        stored, _ = parse_record(raw)
        is_busy = stored.open_lease or any(each not in (None, 0) for each in busy)
        return stored.takes, not is_due and not is_busy
