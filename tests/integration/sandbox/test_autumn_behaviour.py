"""The switches of the simulated Autumn: reads that lag, a cache, lists that break, versions and scopes."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.autumn.reads import CACHE_SECONDS
from sandbox.faults import Fault
from tests.integration.sandbox.test_autumn_simulator import LINKED, World
from tests.integration.sandbox.test_autumn_simulator import world as opened
from tests.support.stripe_client import Clock

PAST_THE_CACHE = {"x-skip-cache": "true"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def world(clock: Clock) -> AsyncIterator[World]:
    """Yield Autumn without limits, with the customer "ann" and its clock in `clock`. Stripe's events are held."""
    async with opened(clock=clock, updates_per_second=None) as here:
        here.stripe.webhooks.url = here.url + here.autumn.webhook_path
        here.stripe.webhooks.delay_seconds = None
        yield here


async def name(world: World, customer: str = "ann", **headers: str) -> Any:
    """Return the name that a get shows, None if there is no such customer."""
    answer = await world.call("get", {"customer_id": customer}, headers=headers)
    assert answer.status in {200, 404}
    return answer.json.get("name")


async def names(world: World, **body: Any) -> list[Any]:
    """Return the names that a list shows, newest first."""
    return [row["name"] for row in (await world.call("list", body)).json["list"]]


# The replica


async def test_replica_lags(world: World, clock: Clock) -> None:
    world.autumn.replica_lag_seconds = 2
    clock.now += 10
    updated = await world.rename("Anna")
    clock.now += 1.5
    assert updated.json["name"] == await name(world) == "Anna"
    assert await name(world, **PAST_THE_CACHE) == "Ann"
    assert await names(world) == ["Ann"]
    clock.now += 0.5
    assert await name(world, **PAST_THE_CACHE) == "Anna"
    assert await names(world) == ["Anna"]


async def test_replica_shows_each_state_in_its_time(world: World, clock: Clock) -> None:
    world.autumn.replica_lag_seconds = 3
    for new in ("First", "Second", "Third"):
        clock.now += 1
        await world.rename(new)
    seen = []
    for _ in range(4):
        seen.append(await name(world, **PAST_THE_CACHE))
        clock.now += 1
    assert seen == ["Ann", "First", "Second", "Third"]


async def test_replica_lacks_new_customer_and_keeps_deleted_one(world: World, clock: Clock) -> None:
    world.autumn.replica_lag_seconds = 2
    await world.call("get_or_create", {"customer_id": "bob", "name": "Bob"})
    await world.call("delete", {"customer_id": "ann"})
    assert (await name(world), await name(world, "bob")) == (None, "Bob")
    assert (await name(world, **PAST_THE_CACHE), await name(world, "bob", **PAST_THE_CACHE)) == ("Ann", None)
    assert await names(world) == ["Ann"]
    clock.now += 2
    assert (await name(world, **PAST_THE_CACHE), await name(world, "bob", **PAST_THE_CACHE)) == (None, "Bob")
    assert await names(world) == ["Bob"]


async def test_replica_has_direct_change_and_webhook_late(world: World, clock: Clock) -> None:
    world.autumn.replica_lag_seconds = 2
    world.ann["name"] = "By hand"
    assert (await name(world), await name(world, **PAST_THE_CACHE)) == ("By hand", "Ann")
    clock.now += 2
    world.stripe.edit(LINKED, name="Edited")
    await world.stripe.webhooks.deliver_all()
    assert (await name(world), await name(world, **PAST_THE_CACHE)) == ("Edited", "By hand")


async def test_replica_has_seeded_customer_at_once(world: World) -> None:
    world.autumn.replica_lag_seconds = 2
    world.autumn.seed("bob", name="Bob")
    assert await name(world, "bob", **PAST_THE_CACHE) == "Bob"


async def test_replica_finds_customer_by_internal_id(world: World) -> None:
    world.autumn.replica_lag_seconds = 2
    await world.rename("Anna")
    assert await name(world, world.ann["internal_id"], **PAST_THE_CACHE) == "Ann"
    assert await name(world, "cus_none", **PAST_THE_CACHE) is None


async def test_replica_without_lag_is_current(world: World) -> None:
    world.autumn.replica_lag_seconds = 2
    await world.rename("Anna")
    world.autumn.replica_lag_seconds = 0
    assert (await name(world, **PAST_THE_CACHE), await names(world)) == ("Anna", ["Anna"])


async def test_stale_reads_make_every_get_lag(world: World, clock: Clock) -> None:
    world.autumn.replica_lag_seconds = 2
    world.autumn.stale_reads = True
    assert (await world.rename("Anna")).json["name"] == "Anna"
    assert await name(world) == "Ann"
    clock.now += 2
    assert await name(world) == "Anna"


async def test_held_lists_lag_alone(world: World) -> None:
    world.autumn.hold_lists()
    await world.rename("Anna")
    assert (await names(world), await name(world, **PAST_THE_CACHE)) == (["Ann"], "Anna")


# The cache


async def test_cache_hides_direct_change_until_it_expires(world: World, clock: Clock) -> None:
    world.autumn.caches = True
    assert await name(world) == "Ann"
    world.ann["name"] = "By hand"
    clock.now += CACHE_SECONDS - 1
    assert (await name(world), await name(world, **PAST_THE_CACHE)) == ("Ann", "By hand")
    clock.now += 1
    assert await name(world) == "By hand"


async def test_cache_is_kept_current_by_requests_and_webhooks(world: World) -> None:
    world.autumn.caches = True
    seen = [await name(world)]
    await world.rename("Anna")
    seen.append(await name(world))
    world.stripe.edit(LINKED, name="Edited")
    await world.stripe.webhooks.deliver(-1)
    seen.append(await name(world))
    await world.call("update", {"customer_id": "ann", "new_customer_id": "anna"})
    seen += [await name(world), await name(world, "anna")]
    await world.call("delete", {"customer_id": "anna"})
    seen.append(await name(world, "anna"))
    assert seen == ["Ann", "Anna", "Edited", None, "Edited", None]


async def test_lists_do_not_use_the_cache(world: World) -> None:
    world.autumn.caches = True
    await name(world)
    world.ann["name"] = "By hand"
    assert (await names(world), await name(world)) == (["By hand"], "Ann")


async def test_without_cache_direct_change_is_seen_at_once(world: World) -> None:
    await name(world)
    world.ann["name"] = "By hand"
    assert await name(world) == "By hand"


# Lists


async def test_later_page_of_list_with_range_is_500(world: World) -> None:
    world.autumn.seed("bob", name="Bob")
    body = {"limit": 1, "created_at_range": {"start": 0}}
    first = await world.call("list", body)
    later = {**body, "start_cursor": first.json["next_cursor"]}
    broken = await world.call("list", later)
    assert (first.status, broken.status, broken.json["code"]) == (200, 500, "internal_error")
    without_range = await world.call("list", {"limit": 1, "start_cursor": first.json["next_cursor"]})
    assert (without_range.status, len(without_range.json["list"])) == (200, 1)
    world.autumn.broken_second_page = False
    assert (await world.call("list", later)).status == 200


async def test_later_page_by_offset_with_range_is_500(world: World) -> None:
    body = {"created_at_range": {"start": 0}, "offset": 0}
    assert (await world.call("list", body, version="2.2")).status == 200
    assert (await world.call("list", {**body, "offset": 1}, version="2.2")).status == 500
    assert (await world.call("list", {"offset": 1}, version="2.2")).status == 200


async def test_refusal_names_the_largest_page(world: World) -> None:
    world.autumn.largest_page = 2
    for number in range(3):
        world.autumn.seed(f"bob-{number}", name="Bob")
    refused = await world.call("list", {"limit": 3})
    assert (refused.status, refused.json["code"]) == (400, "invalid_request")
    assert refused.json["message"] == "limit 3 exceeds max of 2 for this org"
    assert len(await names(world, limit=2)) == len(await names(world)) == 2


async def test_list_by_offset_has_all_pages(world: World) -> None:
    for number in range(4):
        world.autumn.seed(f"bob-{number}", name=f"Bob {number}")
    seen: list[str] = []
    while True:
        page = (await world.call("list", {"limit": 2, "offset": len(seen)}, version="2.1")).json
        seen += [row["id"] for row in page["list"]]
        if not page["has_more"]:
            break
    assert sorted(seen) == sorted(world.autumn.customers)


# Versions


@pytest.mark.parametrize("version", ["2.4", "2.4.0", "2.5", "2.5.0"])
async def test_only_a_later_server_knows_a_later_version(world: World, version: str) -> None:
    refused = await world.call("get", {"customer_id": "ann"}, version=version)
    assert (refused.status, refused.json["code"]) == (400, "invalid_api_version")
    world.autumn.newest_version = "2.5"
    at_23 = await world.call("get", {"customer_id": "ann"})
    assert (await world.call("get", {"customer_id": "ann"}, version=version)).json == at_23.json
    assert (await world.call("list", {}, version=version)).json == {"list": [at_23.json], "next_cursor": None}


async def test_version_after_newest_is_refused(world: World) -> None:
    world.autumn.newest_version = "2.4"
    assert (await world.call("get", {"customer_id": "ann"}, version="2.4.0")).status == 200
    assert (await world.call("get", {"customer_id": "ann"}, version="2.5.0")).status == 400


# Scopes, Stripe's failures, idempotency keys


async def test_without_update_scope_reads_still_work(world: World) -> None:
    world.autumn.switches.add(Fault("403", route="customers.update"))
    refused = await world.rename("Anna")
    assert (refused.status, refused.json) == (
        403,
        {
            "message": "Insufficient scopes. Missing: customers:write",
            "code": "insufficient_scopes",
            "env": "sandbox",
        },
    )
    assert await name(world) == "Ann"
    world.autumn.switches.clear()
    assert (await world.rename("Anna")).status == 200


async def test_without_read_scope_the_refusal_names_it(world: World) -> None:
    world.autumn.switches.add(Fault("403"))
    refused = await world.call("get", {"customer_id": "ann"})
    assert refused.json["message"] == "Insufficient scopes. Missing: customers:read"


async def test_stripe_5xx_is_tried_three_times_with_one_key(world: World) -> None:
    world.stripe.switches.add(Fault("503"))
    refused = await world.rename("Anna")
    assert (refused.status, refused.json["code"]) == (400, "stripe_error")
    calls = world.stripe.calls
    assert [call.status for call in calls] == [503] * 3
    assert len({call.idempotency_key for call in calls}) == 1
    assert str(calls[0].idempotency_key).startswith("stripe-node-retry-")


async def test_short_failure_of_stripe_is_not_visible(world: World) -> None:
    world.stripe.switches.add(Fault("503", times=2))
    assert (await world.rename("Anna")).status == 200
    assert [call.status for call in world.stripe.calls] == [503, 503, 200]
    assert [write.changed for write in world.stripe.writes] == [{"name": ("Ann", "Anna")}]


async def test_stored_500_of_stripe_is_replayed_to_each_try(world: World) -> None:
    world.stripe.switches.add(Fault("500", times=1))
    assert (await world.rename("Anna")).status == 400
    assert [(call.status, call.replayed) for call in world.stripe.calls] == [(500, False), (500, True), (500, True)]


@pytest.mark.parametrize("kind", ["429", "403"])
async def test_other_refusal_of_stripe_is_not_tried_again(world: World, kind: Any) -> None:
    world.stripe.switches.add(Fault(kind))
    assert (await world.rename("Anna")).status == (429 if kind == "429" else 400)
    assert len(world.stripe.calls) == 1


async def test_idempotency_key_is_forgotten_when_request_fails(world: World) -> None:
    key = {"Idempotency-Key": "one"}
    statuses = [
        (await world.call("update", {"customer_id": "nobody"}, headers=key)).status,
        (await world.call("update", {"customer_id": "ann"}, headers=key)).status,
        (await world.call("update", {"customer_id": "ann"}, headers=key)).status,
        (await world.call("update", {"customer_id": "ann"}, headers=key)).status,
    ]
    assert statuses == [404, 200, 409, 409]


@pytest.mark.parametrize(("body", "received"), [([], "array"), ("text", "string"), (1, "number")])
async def test_body_that_is_not_an_object_is_refused(world: World, body: Any, received: str) -> None:
    refused = await world.call("update", body)
    assert (refused.status, refused.json["code"]) == (400, "invalid_inputs")
    assert refused.json["message"] == f"input: Invalid input: expected object, received {received}"
