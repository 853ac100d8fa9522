"""The list of events of the simulated Stripe: its filters and pages, and the trouble of a real list."""

from random import Random
from typing import Any

import pytest

from sandbox.stripe.events import KEPT_SECONDS
from sandbox.stripe.server import StripeSimulator
from tests.support.stripe_client import Client, Clock

SEVERAL = 20


def make(simulator: StripeSimulator, count: int = 1, clock: Clock | None = None) -> list[str]:
    """Make events, each a second after the one before if there is a clock. Return their ids, the newest first."""
    customer = simulator.seed_customer()["id"]
    first = len(simulator.events.made)
    for number in range(count):
        simulator.edit(customer, name=f"Ann {number}")
        if clock is not None:
            clock.now += 1
    return [event["id"] for event in reversed(simulator.events.made[first:])]


async def ids(client: Client, **params: str) -> list[str]:
    return [event["id"] for event in (await client.get("/v1/events", **params)).body["data"]]


async def pages(client: Client, limit: int) -> list[list[str]]:
    """Return the ids of all pages, read as a client does."""
    read: list[list[str]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = (await client.get("/v1/events", limit=str(limit), **cursor)).body
        read.append([event["id"] for event in answer["data"]])
        if not answer["has_more"]:
            return read
        cursor = {"starting_after": read[-1][-1]}


# Filters


async def test_newest_event_is_first(client: Client, simulator: StripeSimulator, clock: Clock) -> None:
    made = [*make(simulator, 3), *make(simulator, 2)]
    newest_first = [*made[3:], *made[:3]]
    answer = (await client.get("/v1/events")).body
    assert {**answer, "data": []} == {"object": "list", "url": "/v1/events", "has_more": False, "data": []}
    assert answer["data"] == list(reversed(simulator.events.made))
    assert await ids(client) == newest_first
    clock.now -= 1
    # The list is in the order of the seconds, not of the creation.
    assert await ids(client) == newest_first
    (older,) = make(simulator)
    assert await ids(client) == [*newest_first, older]


async def test_types_are_filtered(client: Client, simulator: StripeSimulator) -> None:
    customer = simulator.seed_customer()["id"]
    simulator.begin_payment(customer=customer, status="succeeded")
    simulator.edit(customer, name="Ann")
    simulator.delete(customer)

    async def kinds(**params: str) -> list[str]:
        return [event["type"] for event in (await client.get("/v1/events", **params)).body["data"]]

    assert await kinds(type="customer.updated") == ["customer.updated"]
    assert await kinds(type="customer.*") == ["customer.deleted", "customer.updated"]
    assert await kinds(**{"types[]": "charge.succeeded"}) == ["charge.succeeded"]
    both = {"types[0]": "customer.deleted", "types[1]": "payment_intent.created"}
    assert await kinds(**both) == ["customer.deleted", "payment_intent.created"]
    assert await kinds(**{"types[]": "customer.*"}) == []
    assert await kinds(type="customer") == []
    assert len(await kinds(type="*")) == 5


async def test_type_and_types_are_not_accepted_together(client: Client) -> None:
    refused = await client.get("/v1/events", type="customer.updated", **{"types[]": "customer.deleted"})
    assert refused.status == 400
    assert "type, types" in refused.error["message"]


async def test_more_than_twenty_types_are_refused(client: Client) -> None:
    sent = {f"types[{number}]": "customer.updated" for number in range(21)}
    refused = await client.get("/v1/events", **sent)
    assert (refused.status, refused.error["param"]) == (400, "types")
    del sent["types[20]"]
    assert (await client.get("/v1/events", **sent)).status == 200


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"gte": 2}, [4, 3, 2]),
        ({"gt": 2}, [4, 3]),
        ({"lte": 2}, [2, 1, 0]),
        ({"lt": 2}, [1, 0]),
        ({"gt": 0, "lt": 3}, [2, 1]),
        ({"gte": 1, "lte": 1}, [1]),
        ({"gt": 3, "lt": 2}, []),
        ({"lt": 3, "lte": 1}, [1, 0]),
        ({"": 3}, [3]),
    ],
)
async def test_created_is_filtered(
    client: Client, simulator: StripeSimulator, clock: Clock, bounds: dict[str, int], expected: list[int]
) -> None:
    start = int(clock.now)
    make(simulator, 5, clock)
    sent = {f"created[{name}]" if name else "created": str(start + second) for name, second in bounds.items()}
    listed = (await client.get("/v1/events", **sent)).body["data"]
    assert [event["created"] - start for event in listed] == expected


# Pages


async def test_pages_are_followed_both_ways(client: Client, simulator: StripeSimulator, clock: Clock) -> None:
    made = make(simulator, 7, clock)
    assert await pages(client, 3) == [made[:3], made[3:6], made[6:]]
    back = (await client.get("/v1/events", limit="3", ending_before=made[6])).body
    assert ([event["id"] for event in back["data"]], back["has_more"]) == (made[3:6], True)
    first = (await client.get("/v1/events", limit="3", ending_before=made[3])).body
    assert ([event["id"] for event in first["data"]], first["has_more"]) == (made[:3], False)


async def test_cursor_may_be_outside_of_filter(client: Client, simulator: StripeSimulator, clock: Clock) -> None:
    made = make(simulator, 3, clock)
    sent = {"created[lte]": str(int(clock.now) - 3)}
    assert await ids(client, starting_after=made[0], **sent) == made[2:]
    assert await ids(client, starting_after=made[0], type="charge.*") == []
    assert await ids(client, ending_before=made[2], **sent) == []


async def test_new_event_does_not_move_next_page(client: Client, simulator: StripeSimulator, clock: Clock) -> None:
    made = make(simulator, 4, clock)
    assert await ids(client, limit="2") == made[:2]
    make(simulator)
    assert await ids(client, limit="2", starting_after=made[1]) == made[2:]


@pytest.mark.parametrize("limit", ["0", "101", "many"])
async def test_limit_out_of_bounds_is_refused(client: Client, limit: str) -> None:
    refused = await client.get("/v1/events", limit=limit)
    assert (refused.status, refused.error["param"]) == (400, "limit")


@pytest.mark.parametrize("param", ["starting_after", "ending_before"])
async def test_unknown_cursor_is_refused(client: Client, simulator: StripeSimulator, param: str) -> None:
    make(simulator)
    refused = await client.get("/v1/events", **{param: "evt_none"})
    assert (refused.status, refused.error["code"], refused.error["param"]) == (400, "resource_missing", param)


async def test_event_is_retrieved_by_id(client: Client, simulator: StripeSimulator) -> None:
    (made,) = make(simulator)
    assert (await client.get(f"/v1/events/{made}")).body == simulator.events.made[0]
    missing = await client.get("/v1/events/evt_none")
    assert (missing.status, missing.error["code"]) == (404, "resource_missing")


async def test_event_is_kept_for_thirty_days(client: Client, simulator: StripeSimulator, clock: Clock) -> None:
    (old,) = make(simulator)
    clock.now += KEPT_SECONDS
    assert await ids(client) == [old]
    clock.now += 1
    (new,) = make(simulator)
    assert await ids(client) == [new]
    assert await ids(client, **{"created[gte]": "0"}) == [new]
    assert (await client.get(f"/v1/events/{old}")).status == 404
    for param in ("starting_after", "ending_before"):
        refused = await client.get("/v1/events", **{param: old})
        assert (refused.status, refused.error["code"]) == (400, "resource_missing")


# Access and limits


async def test_events_need_a_permission(client: Client, simulator: StripeSimulator) -> None:
    (made,) = make(simulator)
    simulator.missing_permissions.add("rak_event_read")
    restricted: Any = {"headers": {"Authorization": f"Bearer {simulator.restricted_key}"}}
    for path in ("/v1/events", f"/v1/events/{made}"):
        refused = await client.send("GET", path, **restricted)
        assert refused.status == 403
        assert "'rak_event_read'" in refused.error["message"]
        assert (await client.get(path)).status == 200


async def test_list_has_rate_limit_of_its_endpoint(client: Client, simulator: StripeSimulator) -> None:
    simulator.endpoint_requests_per_second = 1
    assert (await client.get("/v1/events")).status == 200
    refused = await client.get("/v1/events")
    assert (refused.status, refused.headers["Stripe-Rate-Limited-Reason"]) == (429, "endpoint-rate")


# Trouble


async def test_late_events_are_listed_out_of_order(client: Client, simulator: StripeSimulator, clock: Clock) -> None:
    simulator.events.list_delay_seconds = (5.0, 60.0)
    made = make(simulator, SEVERAL)
    assert await ids(client, limit="100") == []
    arrived: list[str] = []
    while len(arrived) < SEVERAL:
        clock.now += 1
        listed = await ids(client, limit="100")
        assert listed == [each for each in made if each in listed]
        arrived += [each for each in listed if each not in arrived]
    assert arrived != made
    assert arrived != made[::-1]
    assert clock.now <= 1_800_000_060.0


async def test_late_event_is_no_cursor_but_found_by_id(client: Client, simulator: StripeSimulator) -> None:
    simulator.events.list_delay_seconds = (5.0, 5.0)
    (late,) = make(simulator)
    assert (await client.get("/v1/events", starting_after=late)).error["code"] == "resource_missing"
    assert (await client.get(f"/v1/events/{late}")).status == 200


def test_delay_of_list_does_not_delay_webhooks(simulator: StripeSimulator) -> None:
    simulator.events.list_delay_seconds = (60.0, 60.0)
    made = make(simulator)
    assert [event["id"] for event in simulator.webhooks.events] == made


async def test_withheld_events_are_never_shown(client: Client, simulator: StripeSimulator, clock: Clock) -> None:
    simulator.events.withheld = 0.5
    shown = make(simulator, SEVERAL)
    withheld = [event["id"] for event in simulator.events.withheld_events]
    assert 0 < len(withheld) < SEVERAL
    assert len(withheld) + len(shown) == SEVERAL
    assert not set(withheld) & set(shown)
    clock.now += 3600
    assert await ids(client, limit="100") == shown
    assert [event["id"] for event in reversed(simulator.webhooks.events)] == shown
    assert (await client.get(f"/v1/events/{withheld[0]}")).status == 404
    assert (await client.get("/v1/events", starting_after=withheld[0])).status == 400


async def test_ids_are_in_order_only_if_set(client: Client, simulator: StripeSimulator, clock: Clock) -> None:
    ordered = make(simulator, SEVERAL, clock)
    assert ordered == sorted(ordered, reverse=True)
    simulator.events.ids_in_order = False
    shuffled = make(simulator, SEVERAL, clock)
    assert shuffled != sorted(shuffled, reverse=True)
    assert len(set(shuffled)) == SEVERAL
    assert await ids(client, limit="100") == shuffled + ordered
    assert {len(each) for each in shuffled} == {len("evt_") + 24}


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_repeats_show_every_event_at_least_once(
    client: Client, simulator: StripeSimulator, clock: Clock, limit: int
) -> None:
    made = make(simulator, SEVERAL, clock)
    simulator.events.repeats = 0.5
    read = await pages(client, limit)
    assert all(0 < len(page) <= limit for page in read)
    listed = [each for page in read for each in page]
    assert list(dict.fromkeys(listed)) == made
    assert (len(listed) > SEVERAL) == (limit > 1)


async def test_certain_repeats_still_end(client: Client, simulator: StripeSimulator, clock: Clock) -> None:
    made = make(simulator, 3, clock)
    simulator.events.repeats = 1.0
    assert await pages(client, 2) == [[made[0]] * 2, made[:2], made[1:]]
    assert await pages(client, 100) == [[each for each in made for _ in range(2)]]


async def test_pages_shift_while_they_are_read(client: Client, simulator: StripeSimulator, clock: Clock) -> None:
    made = make(simulator, 4, clock)
    simulator.events.list_delay_seconds = (60.0, 60.0)
    late = make(simulator, 2, clock)
    simulator.events.shifts = 1.0
    assert await ids(client, limit="2") == made[:2]
    assert await ids(client, limit="2", starting_after=made[1]) == made[2:]
    listed = await ids(client)
    assert set(listed) - set(made) < set(late)
    assert len(listed) == 5


def test_trouble_depends_only_on_the_seed() -> None:
    def listed() -> list[str]:
        simulator = StripeSimulator(clock=Clock())
        simulator.events.random = Random("a seed")
        simulator.events.withheld, simulator.events.ids_in_order = 0.3, False
        return make(simulator, SEVERAL)

    assert listed() == listed()
