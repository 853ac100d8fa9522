"""Names and e-mails are written to Stripe before Autumn, and one of the two refuses or is down."""

from pathlib import Path
from typing import Any

import pytest

from jobs.enqueue import outcome_of
from jobs.queue.breaker import read_breaker
from jobs.queue.record import read_customer
from jobs.sync.report import read_reports
from sandbox.faults import Fault
from sandbox.serve import serving
from sandbox.stripe.server import StripeSimulator
from tests.conftest import PREFIX, World, read_dead
from tests.support.echoes.steps import recheck
from tests.support.scans import scan, scan_deps_of, time_passed
from tests.support.steps import change, reconcile, time_passes, under

UPDATE = "customers.update"


def plant(world: World, customer: str = "ann", **fields: Any) -> dict[str, Any]:
    """Add a linked customer. Both sides are equal, except the given fields in Stripe."""
    profile = {"name": "Ann", "email": "ann@example.com"}
    metadata = {"autumn_id": customer, "autumn_send_email_receipts": "false"}
    stripe: dict[str, Any] = world.stripe.seed_customer(metadata=metadata, **{**profile, **fields})
    world.autumn.seed(customer, stripe_id=stripe["id"], **profile)
    return stripe


def in_stripe(world: World, customer: str = "ann") -> dict[str, Any]:
    return world.stripe.customers[world.autumn.customers[customer]["stripe_id"]]


async def status(world: World, event: str) -> tuple[str, str | None]:
    outcome = await outcome_of(world.redis, event)
    assert outcome is not None
    return outcome.status, outcome.reason


async def findings(world: World, customer: str = "ann") -> list[tuple[str, str]]:
    report = read_reports((await read_customer(world.redis, PREFIX, customer)).reports)[0]
    return [(finding.kind, finding.text) for finding in report.findings]


async def test_value_that_stripe_refuses_blocks_no_change(world: World) -> None:
    plant(world)
    world.autumn.customers["ann"]["email"] = "foo@com"
    requests: tuple[dict[str, Any], ...] = ({"name": "Ann B."}, {"metadata": {"k": 1}}, {"send_email_receipts": True})
    for number, changes in enumerate(requests):
        event = await change(world, "ann", **changes)
        await world.run()
        assert (number, await status(world, event)) == (number, ("applied", None))
        assert ("refused-by-stripe", "Stripe refuses email (email_invalid)") in await findings(world)
    assert in_stripe(world)["name"] == "Ann B."
    assert in_stripe(world)["email"] == "ann@example.com"
    assert in_stripe(world)["metadata"]["autumn_send_email_receipts"] == "true"
    assert world.autumn.customers["ann"]["email"] == "foo@com"


async def test_metadata_key_that_stripe_refuses_blocks_nothing(world: World) -> None:
    plant(world)
    world = under(world, metadata_keys=("a_key_of_more_than_forty_characters_in_all_", "plan"))
    event = await change(world, "ann", metadata={"a_key_of_more_than_forty_characters_in_all_": "x", "plan": "pro"})
    await world.run()
    assert await status(world, event) == ("applied", None)
    assert [kind for kind, _ in await findings(world)] == ["refused-by-stripe"]
    assert in_stripe(world)["metadata"]["plan"] == "pro"


async def test_refused_value_is_not_sent_with_each_change(world: World) -> None:
    plant(world)
    world.autumn.customers["ann"]["email"] = "foo@com"
    await change(world, "ann", name="Ann B.")
    await world.run()
    refused = [call for call in world.stripe.calls if call.status == 400]
    await change(world, "ann", name="Ann C.")
    await world.run()
    assert [call for call in world.stripe.calls if call.status == 400] == refused
    assert [kind for kind, _ in await findings(world)] == ["refused-by-stripe"]
    await change(world, "ann", email="ann.new@example.com")
    await world.run()
    assert in_stripe(world)["email"] == "ann.new@example.com"
    assert await findings(world) == []


async def test_scan_lists_refused_values_and_requests_nothing(world: World, tmp_path: Path) -> None:
    plant(world)
    world.autumn.customers["ann"]["email"] = "foo@com"
    first = await scan(scan_deps_of(world, tmp_path), apply=True)
    assert (first.found, first.run.requested) == ({("ann", "profile-drift", "email")}, 1)
    await world.run()
    assert await read_dead(world.redis) == []
    await time_passed(world)
    second = await scan(scan_deps_of(world, tmp_path), apply=True)
    assert (second.found, second.run.requested) == ({("ann", "refused-by-stripe", "email")}, 0)
    assert second.findings[0].reason == "Stripe refuses email (email_invalid)"
    world.autumn.customers["ann"]["email"] = "ann.new@example.com"
    third = await scan(scan_deps_of(world, tmp_path), apply=True)
    assert (third.found, third.run.requested) == ({("ann", "profile-drift", "email")}, 1)


async def test_changed_value_that_stripe_refuses_is_written_nowhere(world: World) -> None:
    plant(world)
    good = await change(world, "ann", name="Ann B.")
    bad = await change(world, "ann", email="foo@com", metadata={"k": 1})
    last = await change(world, "ann", metadata={"last": True})
    await world.run()
    assert [await status(world, event) for event in (good, bad, last)] == [
        ("applied", None),
        ("dead", "stripe_refused"),
        ("applied", None),
    ]
    (letter,) = await read_dead(world.redis)
    assert letter["message"] == "changes.email: Stripe refuses it (email_invalid); send a value that Stripe accepts"
    row = world.autumn.customers["ann"]
    assert (row["name"], row["email"], row["metadata"]) == ("Ann B.", "ann@example.com", {"last": True})
    assert (in_stripe(world)["name"], in_stripe(world)["email"]) == ("Ann B.", "ann@example.com")


@pytest.mark.parametrize("refusal", ["Autumn refuses", "Autumn cannot see it"])
async def test_unclaimed_customer_is_untouched_until_autumn_accepts_link(world: World, refusal: str) -> None:
    plant(world)
    x = world.stripe.seed_customer(name="X", email="x@example.com")["id"]
    before = dict(world.stripe.customers[x])
    if refusal == "Autumn refuses":
        world.autumn.switches.add(Fault("403", route=UPDATE))
    else:
        world.autumn.stripe.key = "sk_test_of_another_account"
    await change(world, "ann", stripe_id=x, name="Ann B.")
    await world.run()
    assert world.stripe.customers[x] == before
    assert in_stripe(world)["name"] == "Ann"


async def test_unclaimed_customer_gets_profile_between_link_and_rest(world: World) -> None:
    plant(world)
    x = world.stripe.seed_customer(name="X", email="x@example.com")["id"]
    event = await change(world, "ann", stripe_id=x, name="Ann B.", metadata={"k": 1})
    await world.run()
    assert await status(world, event) == ("applied", None)
    sent = [set(call.body) - {"customer_id"} for call in world.autumn.calls if UPDATE in call.path]
    assert sent == [{"stripe_id"}, {"name", "metadata"}]
    assert (in_stripe(world)["name"], in_stripe(world)["email"]) == ("Ann B.", "ann@example.com")
    assert in_stripe(world)["metadata"]["autumn_id"] == "ann"


@pytest.mark.parametrize("change_of", ["a name", "a null", "a name that Autumn has none of"])
async def test_stripe_value_is_restored_when_autumn_refuses(world: World, change_of: str) -> None:
    plant(world)
    if change_of == "a name that Autumn has none of":
        world.autumn.customers["ann"]["name"] = None
    world.autumn.switches.add(Fault("400", route=UPDATE))
    event = await change(world, "ann", name=None if change_of == "a null" else "Refused")
    await world.run()
    assert (await status(world, event))[0] == "dead"
    assert in_stripe(world)["name"] == "Ann"


@pytest.mark.parametrize("value", ["Ann B.", None])
async def test_stripe_value_is_restored_when_change_is_given_up(world: World, value: str | None) -> None:
    plant(world)
    world.autumn.switches.add(Fault("503", route=UPDATE))
    await world.redis.xadd("customer-updates", {"customer_id": "ann", "changes": _json(value)}, id="1000-0")
    await world.run()
    assert in_stripe(world)["name"] == value
    await _fail_for_a_day(world)
    assert [letter["reason"] for letter in await read_dead(world.redis)] == ["service_unavailable"]
    world.autumn.switches.clear()
    for _ in range(3):
        await time_passes(world)
        await world.run()
    assert in_stripe(world)["name"] == "Ann"
    assert world.autumn.customers["ann"]["name"] == "Ann"


@pytest.mark.parametrize("accepts", [True, False], ids=["accepted", "refused"])
async def test_newer_change_overwrites_unaccepted_value_in_stripe_first(world: World, *, accepts: bool) -> None:
    plant(world, name=None)
    world.autumn.customers["ann"]["name"] = None
    world.autumn.switches.add(Fault("503", route=UPDATE))
    await change(world, "ann", name="Older")
    await world.run()
    assert (in_stripe(world)["name"], world.autumn.customers["ann"]["name"]) == ("Older", None)
    world.autumn.switches.clear()
    if not accepts:
        world.autumn.switches.add(Fault("400", route=UPDATE))
    await change(world, "ann", name="Newer")
    for _ in range(3):
        await time_passes(world)
        await world.run()
    expected = "Newer" if accepts else None
    assert (in_stripe(world)["name"], world.autumn.customers["ann"]["name"]) == (expected, expected)
    keys = [write.idempotency_key or "" for write in world.stripe.writes if "name" in write.changed]
    assert [key[:7] for key in keys] == ["autumn:"] * len(keys)


def _json(name: str | None) -> str:
    return '{"name": null}' if name is None else f'{{"name": "{name}"}}'


async def _fail_for_a_day(world: World) -> None:
    """Let the customer fail so often and so long that its event is given up."""
    for _ in range(20):
        await world.redis.hset(f"{PREFIX}:customer:ann", "failing_since", "1.0")  # type: ignore[misc]  # one type for both
        await time_passes(world)
        await world.run()
        if await read_dead(world.redis):
            return
    raise AssertionError("the change was never given up")


@pytest.mark.parametrize("why", ["halted", "an outage"])
@pytest.mark.parametrize("what", ["a name", "a repair"])
async def test_probe_writes_to_stripe_only_after_autumn_accepts(world: World, why: str, what: str) -> None:
    plant(world)
    world.autumn.switches.add(Fault("403" if why == "halted" else "503", route=UPDATE))
    while await read_breaker(world.redis, PREFIX) is None:
        await change(world, "ann", metadata={"k": 1})
        await world.run()
        await time_passes(world)
    world.autumn.switches.clear()
    world.autumn.switches.add(Fault("403" if why == "halted" else "503", route=UPDATE))
    plant(world, "bob", name="Stale")
    writes = len(world.stripe.writes)
    event = await (change(world, "bob", name="Bob B.") if what == "a name" else reconcile(world, "bob"))
    for _ in range(6):
        await time_passes(world)
        await world.run()
    assert world.stripe.writes[writes:] == []
    world.autumn.switches.clear()
    for _ in range(6):
        await time_passes(world)
        await world.run()
    assert await read_breaker(world.redis, PREFIX) is None
    assert await status(world, event) == ("applied", None)
    expected = "Bob B." if what == "a name" else "Ann"
    assert (in_stripe(world, "bob")["name"], world.autumn.customers["bob"]["name"]) == (expected, expected)


async def test_other_form_in_stripe_is_accepted(world: World) -> None:
    world.stripe.normalizes = True
    plant(world)
    event = await change(world, "ann", name="  Ann B. ", email="Ann.New@Example.com")
    await world.run()
    assert await status(world, event) == ("applied", None)
    assert (in_stripe(world)["name"], in_stripe(world)["email"]) == ("Ann B.", "ann.new@example.com")
    await world.stripe.webhooks.deliver_all()
    writes = len(world.stripe.writes)
    for _ in range(3):
        await reconcile(world, "ann")
        await world.run()
        await time_passes(world)
        await world.run()
    assert world.stripe.writes[writes:] == []
    assert await findings(world) == []


DECOMPOSED = "Jose\u0301"
"""A name that Stripe stores in the composed form if it normalizes."""


@pytest.mark.parametrize(
    ("field", "value"), [("name", DECOMPOSED), ("name", "   "), ("metadata", {"plan": " pro "})], ids=repr
)
async def test_stored_form_of_stripe_is_not_copied_to_autumn(world: World, field: str, value: Any) -> None:
    world.stripe.normalizes = True
    world = under(world, metadata_keys=("plan",))
    plant(world)
    event = await change(world, "ann", **{field: value})
    await world.run()
    assert await status(world, event) == ("applied", None)
    assert world.autumn.customers["ann"][field] == value
    assert in_stripe(world)[field] != value
    await recheck(world)
    assert world.autumn.customers["ann"][field] == value


async def test_stored_form_of_stripe_is_not_rewritten_each_time(world: World) -> None:
    world.stripe.normalizes = True
    plant(world)
    world.autumn.customers["ann"]["name"] = DECOMPOSED
    await reconcile(world, "ann")
    await world.run()
    posts = [call for call in world.stripe.calls if call.method == "POST"]
    for _ in range(3):
        await reconcile(world, "ann")
        await world.run()
    assert [call for call in world.stripe.calls if call.method == "POST"] == posts


@pytest.mark.parametrize("changes", [{"metadata": {"k": 1}}, {"name": "Bob B."}], ids=["metadata", "a name"])
async def test_probe_with_other_account_dead_letters_and_writes_nothing(world: World, changes: dict[str, Any]) -> None:
    plant(world)
    plant(world, "bob")
    elsewhere = StripeSimulator(requests_per_second=None, endpoint_requests_per_second=None, search_per_second=None)
    async with serving(elsewhere.app()) as url:
        world.autumn.stripe.url = url
        await change(world, "ann", metadata={"k": 1})
        await world.run()
        await change(world, "bob", **changes)
        for _ in range(8):
            breaker = await read_breaker(world.redis, PREFIX)
            assert breaker is not None
            assert (breaker.kind, breaker.reason) == ("halt", "other_account")
            await time_passes(world)
            await world.run()
    assert await read_dead(world.redis) == []
    assert world.stripe.writes == []


async def test_change_that_stripe_refuses_after_probe_is_written_nowhere(world: World) -> None:
    plant(world)
    plant(world, "bob")
    world.autumn.switches.add(Fault("403", route=UPDATE))
    await change(world, "bob", metadata={"k": 1})
    await world.run()
    assert await read_breaker(world.redis, PREFIX) is not None
    await world.redis.zrem(f"{PREFIX}:waiting", "bob")
    world.autumn.switches.clear()
    event = await change(world, "ann", email="foo@com", metadata={"k": 1})
    for _ in range(4):
        await world.run()
        await time_passes(world)
    assert await status(world, event) == ("dead", "stripe_refused")
    assert world.autumn.customers["ann"]["metadata"] == {}


async def test_link_to_customer_of_renamed_customer_needs_review(world: World) -> None:
    stripe_id = plant(world)["id"]
    row = world.autumn.customers.pop("ann")
    world.autumn.customers["bob"] = {**row, "id": "bob"}
    await world.deps.autumn.get_or_create("ann")
    event = await change(world, "ann", stripe_id=stripe_id, name="Another Ann")
    await world.run()
    assert await status(world, event) == ("dead", "needs-review")
    assert world.autumn.customers["ann"]["stripe_id"] is None
    assert in_stripe(world, "bob")["name"] == "Ann"


@pytest.mark.parametrize("is_created_by", ["the worker", "another app"])
async def test_old_id_of_renamed_customer_needs_review(world: World, is_created_by: str) -> None:
    stripe_id = plant(world, "ann")["id"]
    await world.deps.autumn.update("ann", {"metadata": {"k": 1}})
    row = world.autumn.customers.pop("ann")
    world.autumn.customers["bob"] = {**row, "id": "bob"}
    if is_created_by == "another app":
        await world.deps.autumn.get_or_create("ann")
    world = under(world, when_missing="create")
    writes, shown = len(world.stripe.writes), dict(world.stripe.customers[stripe_id])
    updates = [call for call in world.autumn.calls if UPDATE in call.path]
    event = await change(world, "ann", name="Another Ann")
    await world.run()
    assert await status(world, event) == ("dead", "needs-review")
    (letter,) = await read_dead(world.redis)
    assert all(each in letter["message"] for each in ("ann", "bob", stripe_id))
    assert world.stripe.writes[writes:] == []
    assert world.stripe.customers[stripe_id] == shown
    assert [call for call in world.autumn.calls if UPDATE in call.path] == updates
    assert ("ann" in world.autumn.customers) == (is_created_by == "another app")


async def test_old_id_missing_in_search_needs_review(world: World) -> None:
    world.autumn.seed("ann", name="Ann")
    await change(world, "ann", metadata={"k": 1})
    await world.run()
    stripe_id = world.autumn.customers["ann"]["stripe_id"]
    world.autumn.customers["bob"] = {**world.autumn.customers.pop("ann"), "id": "bob"}
    world.stripe.search_lag_seconds = 3600
    world = under(world, when_missing="create")
    event = await change(world, "ann", name="Another Ann")
    await world.run()
    assert await status(world, event) == ("dead", "needs-review")
    assert world.autumn.customers["ann"]["stripe_id"] is None
    assert world.stripe.customers[stripe_id]["name"] == "Ann"


async def test_lost_link_of_unshared_customer_is_found_again(world: World) -> None:
    plant(world, "bob")
    ours = world.stripe.seed_customer(name="Old", metadata={"autumn_id": "ann"})["id"]
    world.autumn.seed("ann", name="Ann")
    event = await change(world, "ann", email="ann@example.com")
    await world.run()
    assert await status(world, event) == ("applied", None)
    assert world.autumn.customers["ann"]["stripe_id"] == ours
    assert (in_stripe(world)["name"], in_stripe(world)["email"]) == ("Ann", "ann@example.com")
