"""A refused change costs few requests, affects no other customer, and keeps the changes applied before it."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest
from redis.exceptions import RedisError

from jobs.enqueue import outcome_of
from jobs.plan.customer import StripeCustomer
from jobs.plan.policy import Policy, WithoutLink
from jobs.plan.retry import UNEXPECTED_TRIES
from jobs.plan.steps import UpdateStripe
from jobs.queue.breaker import read_breaker
from jobs.queue.record import read_customer
from jobs.stripe.client import StripeGateway
from jobs.sync.job import REFUSALS_AT_A_TIME, sync_customer
from jobs.sync.writes import SEARCH_LAG_SECONDS
from sandbox.faults import Fault
from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator
from tests.conftest import INBOX, PREFIX, World, opened_deps, read_dead
from tests.support.scans import AtOnce
from tests.support.steps import change, reconcile, time_passes

FAULT: Final = "fault@example.com"


def linked(world: World, customer: str, **fields: Any) -> dict[str, Any]:
    stripe = world.stripe.seed_customer(metadata={"autumn_id": customer}, **fields)
    world.autumn.seed(customer, stripe_id=stripe["id"], **fields)
    return stripe


async def sync_once(world: World, customer: str) -> int:
    """Sync the customer once. Return the number of requests to Autumn."""
    before = len(world.autumn.calls)
    await world.mailbox.move()
    await world.mailbox.dispatch(100)
    await sync_customer(world.deps, customer)
    return len(world.autumn.calls) - before


async def test_foreign_customer_costs_one_fetch_for_all_events(world: World) -> None:
    stripe = world.stripe.seed_customer(metadata={"autumn_id": "bob"})
    world.autumn.seed("ann", stripe_id=stripe["id"])
    for index in range(100):
        await change(world, "ann", name=f"Ann {index}")
    assert await sync_once(world, "ann") == 1
    letters = await read_dead(world.redis, PREFIX)
    assert [letter["reason"] for letter in letters] == ["needs-review"] * 100


async def test_many_refused_changes_are_divided_over_several_syncs(world: World) -> None:
    linked(world, "ann")
    for index in range(60):
        await change(world, "ann", stripe_id=f"cus_missing{index}")
    await change(world, "ann", name="Good")
    assert await sync_once(world, "ann") <= 2 * REFUSALS_AT_A_TIME
    assert await world.redis.xlen(f"{PREFIX}:mailbox:ann") > 0
    await world.run(rounds=40)
    assert world.autumn.customers["ann"]["name"] == "Good"
    assert len(await read_dead(world.redis, PREFIX)) == 60


async def test_changes_applied_before_failure_stay_applied(world: World) -> None:
    linked(world, "ann")
    events = [
        await change(world, "ann", name="Good"),
        await change(world, "ann", stripe_id="cus_missing"),
        await change(world, "ann", metadata={"k": 1}),
    ]
    # All three together are refused before sending. Then the first is applied, the second refused, the third fails.
    world.autumn.switches.add(Fault("hang", route="customers.update", times=1, seconds=0))
    world.autumn.switches.add(Fault("503", route="customers.update", times=1))
    assert await sync_once(world, "ann") == 3
    outcomes = [await outcome_of(world.redis, event) for event in events]
    assert [outcome.status for outcome in outcomes if outcome is not None] == ["applied", "dead", "waiting"]
    await world.redis.zadd(f"{PREFIX}:waiting", {"ann": 1})
    await world.run()
    assert world.autumn.customers["ann"]["metadata"] == {"k": 1}
    applied = [call.body for call in world.autumn.calls if call.status == 200 and "name" in call.body]
    assert len(applied) == 1, "what was applied is not applied again"


@pytest.mark.parametrize("stripe_id", ["..", ".", "search", "a/b", "acct_1032D82eZvKYlo2C"])
async def test_malformed_stripe_id_is_refused_before_any_request(world: World, stripe_id: str) -> None:
    linked(world, "ann")
    await world.redis.xadd(INBOX, {"customer_id": "ann", "changes": json.dumps({"stripe_id": stripe_id})})
    await world.run()
    (letter,) = await read_dead(world.redis, PREFIX)
    assert letter["reason"] == "invalid_event"
    assert letter["message"].startswith("changes.stripe_id: ")
    assert world.autumn.calls == []
    assert world.stripe.calls == []


async def test_name_too_long_for_stripe_is_cut_and_blocks_nothing(world: World) -> None:
    world.autumn.seed("ann", name="x" * 300)
    await change(world, "ann", send_email_receipts=True)
    await world.run()
    (stripe,) = world.stripe.customers.values()
    assert stripe["name"] == "x" * 256
    assert await read_dead(world.redis, PREFIX) == []


@pytest.mark.parametrize(
    ("changes", "when_gone"),
    [({"name": "Ann"}, "create"), ({"name": "Ann"}, "link-only"), ({"name": "Ann"}, "report"), (None, "create")],
)
async def test_key_of_another_account_halts_and_dead_letters_nothing(
    world: World, changes: dict[str, Any] | None, when_gone: WithoutLink
) -> None:
    linked(world, "ann")
    policy = Policy(when_gone=when_gone)
    elsewhere = StripeSimulator(requests_per_second=None, endpoint_requests_per_second=None, search_per_second=None)
    async with (
        serving(elsewhere.app()) as other_url,
        serving(world.autumn.app()) as autumn_url,
        opened_deps(world.redis, autumn_url, world.autumn.key, other_url, elsewhere.key, policy=policy) as deps,
    ):
        await (change(world, "ann", **changes) if changes else reconcile(world, "ann"))
        await world.mailbox.move()
        await world.mailbox.dispatch(100)
        await sync_customer(deps, "ann")
    breaker = await read_breaker(world.redis, PREFIX)
    assert breaker is not None
    assert (breaker.kind, breaker.reason) == ("halt", "other_account")
    assert await read_dead(world.redis, PREFIX) == []
    assert world.autumn.customers["ann"]["name"] is None
    assert [write.changed for write in world.stripe.writes if write.changed] == [], "whose it is cannot be seen"
    assert [call for call in elsewhere.calls if call.method == "POST"] == []


async def test_search_hit_is_fetched_again_before_link(world: World) -> None:
    ours = world.stripe.seed_customer(name="Old", metadata={"autumn_id": "ann"})
    world.autumn.seed("ann", name="Ann")
    await change(world, "ann", metadata={"k": 1})
    await world.run()
    paths = [
        (call.method, call.endpoint) for call in world.stripe.calls if "stripe-node" not in (call.idempotency_key or "")
    ]
    assert paths.index(("GET", "customers.retrieve")) > paths.index(("GET", "customers.search"))
    assert world.stripe.customers[ours["id"]]["name"] == "Ann"


async def test_event_without_valid_customer_has_outcome(world: World) -> None:
    entry = (await world.redis.xadd(INBOX, {"customer_id": "a b", "changes": "{}"})).decode()
    await world.redis.xadd(INBOX, {"changes": "{}", "event_id": "e1"})
    await world.run()
    for event in (entry, "e1"):
        outcome = await outcome_of(world.redis, event)
        assert outcome is not None
        assert (outcome.status, outcome.reason) == ("dead", "invalid_event")
    assert await world.redis.xlen(f"{PREFIX}-outcomes") == 2


async def test_dead_lettered_event_may_be_sent_again_with_same_id(world: World) -> None:
    await change(world, "ann", event_id="e1", name="Ann")
    await world.run()
    world.autumn.seed("ann")
    await change(world, "ann", event_id="e1", name="Ann")
    await world.run()
    outcome = await outcome_of(world.redis, "e1")
    assert outcome is not None
    assert outcome.status == "applied"


async def test_redis_error_is_raised_and_not_counted(world: World) -> None:
    linked(world, "ann")
    await change(world, "ann", name="Ann")
    await world.mailbox.move()
    await world.mailbox.dispatch(100)
    # Only the script that throttles requests uses this command.
    await world.redis.acl_setuser("default", enabled=True, commands=["-zremrangebyscore"])
    try:
        with pytest.raises(RedisError):
            await sync_customer(world.deps, "ann")
    finally:
        await world.redis.acl_setuser("default", enabled=True, commands=["+zremrangebyscore"])
    assert (await read_customer(world.redis, PREFIX, "ann")).unexpected == 0
    assert await world.redis.xlen(f"{PREFIX}:mailbox:ann") == 1


async def test_timed_out_update_keeps_its_place_and_customer_waits(world_with_timeouts: World) -> None:
    # No random wait is added to the one that the error requires.
    world = replace(world_with_timeouts, deps=replace(world_with_timeouts.deps, random=AtOnce()))
    linked(world, "ann")
    world.autumn.switches.add(Fault("hang", route="customers.update", times=1))
    await change(world, "ann", name="Old")
    await world.mailbox.move()
    before_ms, _, _ = await world.mailbox.dispatch(100)
    await sync_customer(world.deps, "ann")
    assert await world.redis.zcard(f"{PREFIX}:limit:autumn-slots") == 1
    due = await world.redis.zscore(f"{PREFIX}:waiting", "ann")
    assert due is not None
    assert due - before_ms > 50_000


async def test_failed_create_is_repeated_once_and_waits_for_search(world: World) -> None:
    world.autumn.seed("ann")
    world.stripe.switches.add(Fault("500", route="POST /v1/customers", times=1))
    await change(world, "ann", name="Ann")
    for _ in range(8):
        await sync_once(world, "ann")
        await world.redis.zadd(f"{PREFIX}:waiting", {"ann": 1})
    creates = [call for call in world.stripe.calls if call.endpoint == "customers.create"]
    assert (len(creates), len({call.idempotency_key for call in creates})) == (2, 1)
    record = await read_customer(world.redis, PREFIX, "ann")
    assert record.last_error == record.waits_for == "create_failed_before"
    until_seconds = (record.waits_until_ms or 0) / 1000
    assert until_seconds == pytest.approx((record.create_sent_at or 0) + SEARCH_LAG_SECONDS, abs=5)
    await world.redis.hset(f"{PREFIX}:customer:ann", "create_sent_at", "1.0")  # type: ignore[misc]  # one type for both
    await world.run()
    (stripe,) = world.stripe.customers.values()
    assert (world.autumn.customers["ann"]["stripe_id"], stripe["name"]) == (stripe["id"], "Ann")
    assert (await read_customer(world.redis, PREFIX, "ann")).waits_for == ""


async def test_customer_of_failed_create_is_linked_once_search_finds_it(world: World) -> None:
    world.autumn.seed("ann")
    world.stripe.switches.add(Fault("500", route="POST /v1/customers", times=1))
    await change(world, "ann", name="Ann")
    for _ in range(3):
        await sync_once(world, "ann")
        await world.redis.zadd(f"{PREFIX}:waiting", {"ann": 1})
    left_behind = world.stripe.seed_customer(metadata={"autumn_id": "ann"})
    await world.run()
    assert world.autumn.customers["ann"]["stripe_id"] == left_behind["id"]
    assert len(world.stripe.customers) == 1


async def test_replayed_failures_do_not_open_the_breaker(world: World) -> None:
    customers = [f"user_{number}" for number in range(8)]
    for customer in customers:
        world.autumn.seed(customer)
        world.stripe.switches.add(Fault("500", route="POST /v1/customers", times=1))
        await change(world, customer, name="Ann")
        await sync_once(world, customer)
        await world.redis.delete(f"{PREFIX}:breaker")
    for customer in customers:
        await world.redis.zadd(f"{PREFIX}:waiting", {customer: 1})
        await sync_once(world, customer)
    replayed = [call.replayed for call in world.stripe.calls if call.endpoint == "customers.create"]
    assert replayed == [False] * 8 + [True] * 8
    assert await read_breaker(world.redis, PREFIX) is None
    linked(world, "bob")
    event = await change(world, "bob", name="Bob")
    await world.run()
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    assert outcome.status == "applied"


class Fragile(StripeGateway):
    """A gateway with a bug: it cannot write one certain address."""

    async def update(self, step: UpdateStripe, key: str, still_ours: Callable[[], None]) -> StripeCustomer:
        """Write, or raise an unexpected error."""
        if step.email == FAULT:
            raise ZeroDivisionError(step.email)
        return await super().update(step, key, still_ours)


async def test_event_with_unexpected_error_affects_no_other(world: World) -> None:
    stripe = linked(world, "ann")
    gateway = world.deps.stripe
    fragile = Fragile(gateway._client, gateway._throttle)
    world = replace(world, deps=replace(world.deps, stripe=fragile))
    before = await change(world, "ann", name="Before", metadata={"before": 1})
    fault = await change(world, "ann", email=FAULT)
    after = await change(world, "ann", name="After", metadata={"after": 1})
    outcomes = []
    for _ in range(UNEXPECTED_TRIES):
        await world.run()
        outcomes.append([(await outcome_of(world.redis, event)) for event in (before, fault, after)])
        await time_passes(world)
    first, last = (
        [outcome and (outcome.status, outcome.reason) for outcome in each] for each in (outcomes[0], outcomes[-1])
    )
    assert first == [("applied", None), ("waiting", None), ("waiting", None)]
    assert last == [("applied", None), ("dead", "unexpected"), ("applied", None)]
    assert world.autumn.customers["ann"]["metadata"] == {"before": 1, "after": 1}
    assert (world.autumn.customers["ann"]["name"], world.stripe.customers[stripe["id"]]["name"]) == ("After", "After")
    (letter,) = await read_dead(world.redis)
    assert letter["message"].startswith("ZeroDivisionError at ")
    assert FAULT not in letter["message"]
