"""The scripts of the watch on a real Redis: the lease, the position, seen events, and requested reconciles."""

import json
import time
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from jobs.plan.edits import EDIT_SECONDS
from jobs.queue.mailbox import Mailbox
from jobs.queue.record import read_customer, read_totals
from jobs.queue.watch.links import LinkedCustomer, Links
from jobs.queue.watch.queue import SEEN_SECONDS, CustomerNote, EditDigests, EventNote, Receipt, Tick, WatchQueue
from jobs.queue.watch.state import WatchKeys, parse_edits, read_watch
from tests.conftest import INBOX, PREFIX

KEYS = WatchKeys(PREFIX)
CREATED = int(time.time()) - 10
RECORD = f"{PREFIX}:customer:ann"


def opened(redis: Redis, poll_seconds: float = 60) -> WatchQueue:
    return WatchQueue(redis, inbox=INBOX, prefix=PREFIX, poll_seconds=poll_seconds)


@pytest.fixture
def queue(redis: Redis) -> WatchQueue:
    return opened(redis)


def event(number: int = 1, *, created: int = CREATED, outcome: str = "", **customer: object) -> EventNote:
    """Retick an event that leads to a reconcile of Ann now, unless the arguments say otherwise."""
    values = {"request": f"stripe-evt_{number}-ann-{created}"} | customer
    return EventNote(f"evt_{number}", "customer.updated", created, outcome, [CustomerNote("ann", **values)])  # type: ignore[arg-type]


def deferred(number: int = 1, *, created: int = CREATED, digest: str = "digest") -> EventNote:
    """Retick an event with an edited name, which leads to a deferred reconcile of Ann."""
    return event(
        number,
        created=created,
        request="",
        later_request=f"later-{number}",
        edits={"name": EditDigests(digest, "before")},
    )


def noted(number: int, seconds: int = CREATED) -> str:
    """Retick an event for the customer record."""
    return json.dumps({"at_ms": (seconds + number) * 1000, "type": f"type_{number}", "cause": "app", "fields": []})


async def due(redis: Redis, queue: WatchQueue) -> Tick:
    """Tick at a time when a poll is due."""
    await redis.hset(KEYS.watch, "next_poll_ms", "0")  # type: ignore[misc]
    return await queue.tick()


async def inbox(redis: Redis) -> list[str]:
    """Return the event ids in the inbox, without the time of their request."""
    return [fields[b"event_id"].decode().rpartition("-")[0] for _, fields in await redis.xrange(INBOX)]


async def test_event_is_noted_once(redis: Redis, queue: WatchQueue) -> None:
    assert await queue.unseen(["evt_1", "evt_2"]) == {"evt_1", "evt_2"}
    assert await queue.note(event()) == "requested"
    assert await queue.note(event()) is None
    assert await opened(redis).note(replace(event(), type="other")) is None
    assert await queue.unseen(["evt_1", "evt_2"]) == {"evt_2"}
    assert await inbox(redis) == [f"stripe-evt_1-ann-{CREATED}"]
    assert await read_totals(redis, PREFIX) == {"watch:customer.updated:requested": 1}


async def test_at_most_one_request_waits_for_each_customer(redis: Redis, queue: WatchQueue) -> None:
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX)
    assert [await queue.note(event(number)) for number in (1, 2)] == ["requested", "waiting"]
    await mailbox.move()
    assert await queue.note(event(3)) == "waiting"
    await mailbox.dispatch(10)
    assert await queue.note(event(4)) == "waiting"
    batch = await mailbox.take("ann")
    assert batch is not None
    # The sync may have fetched both sides before this event.
    assert await queue.note(event(5)) == "requested"
    assert await queue.note(event(6)) == "waiting"


async def test_request_with_a_new_id_does_not_count_as_waiting(redis: Redis, queue: WatchQueue) -> None:
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX)
    await redis.xadd(f"{PREFIX}:mailbox:ann", {"x": "y"}, id=f"{int((time.time() + 60) * 1000)}-0")
    await queue.note(event(1))
    await mailbox.move()
    assert await queue.note(event(2)) == "requested"


async def test_edit_defers_the_reconcile_until_it_is_due(redis: Redis, queue: WatchQueue) -> None:
    assert await queue.note(deferred()) == "deferred"
    due_ms = await redis.zscore(KEYS.later, "ann")
    (edit,) = parse_edits(await redis.hgetall(KEYS.edits("ann"))).values()  # type: ignore[misc]
    # A sync holds the edit for as long.
    assert due_ms == (edit.at + EDIT_SECONDS) * 1000
    assert due_ms > (time.time() + EDIT_SECONDS - 60) * 1000
    await queue.tick()
    assert await inbox(redis) == []
    assert (await read_watch(redis, PREFIX)).deferred == 1
    await redis.zadd(KEYS.later, {"ann": CREATED * 1000})
    await queue.tick()
    await queue.tick()
    assert await inbox(redis) == ["later-1"]
    assert await redis.exists(KEYS.later, KEYS.later_events) == 0


async def test_latest_edit_is_kept_in_any_order_of_events(redis: Redis, queue: WatchQueue) -> None:
    for number, created in enumerate([CREATED - 20, CREATED, CREATED - 10]):
        await queue.note(deferred(number, created=created, digest=f"digest-{number}"))
    edits = parse_edits(await redis.hgetall(KEYS.edits("ann")))  # type: ignore[misc]
    assert {field: edit.digest for field, edit in edits.items()} == {"name": "digest-1"}


async def test_due_reconcile_is_not_requested_beside_a_waiting_one(redis: Redis, queue: WatchQueue) -> None:
    await queue.note(deferred(1))
    await queue.note(event(2))
    await redis.zadd(KEYS.later, {"ann": 1})
    await queue.tick()
    assert len(await inbox(redis)) == 1
    assert await redis.exists(KEYS.later) == 0


async def test_record_keeps_the_three_newest_events_in_any_order(redis: Redis, queue: WatchQueue) -> None:
    await redis.hset(RECORD, mapping={"link": "linked"})  # type: ignore[misc]
    for number in (3, 1, 4, 2):
        await queue.note(event(number, note=noted(number)))
    record = await read_customer(redis, PREFIX, "ann")
    assert [each.type for each in record.seen_in_stripe] == ["type_2", "type_3", "type_4"]


@pytest.mark.parametrize("broken", ["x", "{}", "[1]", '[{"at_ms":"x"}]', '{"a":1}', "null"])
async def test_unreadable_events_of_a_record_are_replaced(redis: Redis, queue: WatchQueue, broken: str) -> None:
    await redis.hset(RECORD, "seen_in_stripe", broken)  # type: ignore[misc]
    for number in (1, 2):
        assert await queue.note(event(number, note=noted(number))) is not None
    record = await read_customer(redis, PREFIX, "ann")
    assert [each.type for each in record.seen_in_stripe] == ["type_1", "type_2"]


async def test_customer_without_record_keeps_only_its_receipt(redis: Redis, queue: WatchQueue) -> None:
    receipts = [Receipt("ann", "2000-1")]
    await queue.note(replace(event(note=noted(1)), receipts=receipts))
    record = await read_customer(redis, PREFIX, "ann")
    assert (record.receipt_number, record.seen_in_stripe) == ("2000-1", ())
    assert await redis.ttl(RECORD) > 0
    assert (await read_totals(redis, PREFIX))["receipts_sent"] == 1


async def test_base_of_edits_is_the_value_before_the_first(redis: Redis, queue: WatchQueue) -> None:
    for number, (value, before) in enumerate([("b", "a"), ("c", "b"), ("d", "c"), ("z", "y")]):
        edits = {"name": EditDigests(value, before)}
        await queue.note(
            event(number, request="", later_request=f"later-{number}", edits=edits, created=CREATED + number)
        )
        (edit,) = parse_edits(await redis.hgetall(KEYS.edits("ann"))).values()  # type: ignore[misc]
        assert (edit.digest, edit.before) == (value, "y" if value == "z" else "a")


async def test_receipt_is_counted_once_and_the_newest_is_kept(redis: Redis, queue: WatchQueue) -> None:
    await redis.hset(RECORD, mapping={"link": "linked"})  # type: ignore[misc]
    sent = [(1, "2000-1", 0), (2, "2000-1", 1), (3, "2000-2", 5), (4, "2000-0", 2)]
    for number, receipt, seconds in sent:
        seen = EventNote(f"evt_{number}", "charge.updated", CREATED + seconds, "receipt_sent")
        assert await queue.note(replace(seen, receipts=[Receipt("ann", receipt)])) == "receipt_sent"
    record = await read_customer(redis, PREFIX, "ann")
    assert (record.receipt_number, record.receipt_at_ms) == ("2000-2", (CREATED + 5) * 1000)
    assert (await read_totals(redis, PREFIX))["receipts_sent"] == 3


async def test_one_process_polls_until_its_lease_ends(redis: Redis, queue: WatchQueue) -> None:
    other = opened(redis)
    tick = await queue.tick()
    assert (tick.polls, tick.position, tick.off) == (True, None, "")
    assert not (await other.tick()).polls
    # The answer of a tick may be lost, so the holder may ask again.
    assert (await queue.tick()).polls
    assert not await other.advance(CREATED)
    assert await queue.advance(CREATED)
    assert (await queue.tick()).polls
    await redis.delete(KEYS.lease)
    after = await other.tick()
    assert (after.polls, after.position) == (True, CREATED)
    assert not (await queue.tick()).polls
    assert not await queue.advance(CREATED)
    assert await queue.end(tick.now_ms) is None
    assert await redis.exists(KEYS.lease) == 1


async def test_next_poll_is_due_after_the_pause(redis: Redis, queue: WatchQueue) -> None:
    tick = await queue.tick()
    assert await queue.end(tick.now_ms) == ""
    state = await read_watch(redis, PREFIX)
    assert (state.error, state.off, state.polled_ms is not None) == ("", "", True)
    assert not (await queue.tick()).polls
    # A shorter pause is in force at once.
    assert (await opened(redis, 1).tick()).polls
    await redis.delete(KEYS.lease)
    assert (await due(redis, queue)).polls


async def test_watch_without_polls_still_requests_deferred_reconciles(redis: Redis) -> None:
    queue = opened(redis, 0)
    await queue.note(deferred())
    await redis.zadd(KEYS.later, {"ann": 1})
    assert not (await queue.tick()).polls
    assert await inbox(redis) == ["later-1"]


async def test_failure_is_noted_from_its_begin_until_a_complete_poll(redis: Redis) -> None:
    queue = opened(redis)
    since = set()
    for _ in range(3):
        tick = await due(redis, queue)
        assert await queue.end(tick.now_ms, error="timeout") == ""
        state = await read_watch(redis, PREFIX)
        assert (state.error, state.polled_ms) == ("timeout", None)
        since.add(state.error_since_ms)
    assert len(since) == 1
    tick = await due(redis, queue)
    await queue.end(tick.now_ms)
    state = await read_watch(redis, PREFIX)
    assert (state.error, state.error_since_ms) == ("", None)


async def test_watch_that_is_off_is_tried_again_after_ten_minutes(redis: Redis) -> None:
    queue = opened(redis, 1)
    tick = await queue.tick()
    assert await queue.end(tick.now_ms, off="no_permission") == ""
    state = await read_watch(redis, PREFIX)
    assert (state.off, state.off_since_ms is not None) == ("no_permission", True)
    assert not (await queue.tick()).polls
    tick = await due(redis, queue)
    assert (tick.polls, tick.off) == (True, "no_permission")
    assert await queue.end(tick.now_ms) == "no_permission"
    state = await read_watch(redis, PREFIX)
    assert (state.off, state.off_since_ms) == ("", None)


async def test_seen_events_are_bounded(redis: Redis, queue: WatchQueue) -> None:
    await queue.note(event(1, created=CREATED - SEEN_SECONDS - 1))
    await queue.note(event(2))
    await queue.tick()
    assert await queue.advance(CREATED)
    assert await redis.zrange(KEYS.seen, 0, -1) == [b"evt_2"]
    await redis.zadd(KEYS.seen, {f"old_{number}": CREATED - 5 for number in range(50)})
    bounded = WatchQueue(redis, inbox=INBOX, prefix=PREFIX, poll_seconds=60, seen_kept=50)
    await bounded.note(event(3))
    assert await redis.zcard(KEYS.seen) == 50
    assert await queue.unseen(["evt_2", "evt_3"]) == set()


async def test_keys_of_the_wrong_type_are_replaced(redis: Redis, queue: WatchQueue) -> None:
    names = [KEYS.watch, KEYS.lease, KEYS.seen, KEYS.later, KEYS.later_events, KEYS.request("ann"), KEYS.edits("ann")]
    for name in [*names, KEYS.links, RECORD, f"{PREFIX}:mailbox:ann"]:
        await redis.delete(name)
        await redis.rpush(name, "x")  # type: ignore[misc]
    assert await queue.unseen(["evt_1"]) == {"evt_1"}
    assert await Links(redis, PREFIX).customer_of("cus_1") is None
    assert (
        await queue.note(
            event(1, note=noted(1), edits={"name": EditDigests("digest", "before")}, later_request="later")
        )
        == "requested"
    )
    await redis.zadd(KEYS.later, {"ann": 0})
    tick = await queue.tick()
    assert tick.polls
    await redis.delete(KEYS.watch)
    await redis.rpush(KEYS.watch, "x")  # type: ignore[misc]
    assert await queue.advance(CREATED)
    assert await queue.end(tick.now_ms) == ""
    assert (await read_totals(redis, PREFIX))["keys_replaced"] >= len(names)


async def test_inbox_of_the_wrong_type_loses_no_event(redis: Redis, queue: WatchQueue) -> None:
    await redis.set(INBOX, "x")
    with pytest.raises(Exception, match="WRONGTYPE"):
        await queue.note(event())
    await redis.delete(INBOX)
    assert await queue.note(event()) == "requested"


async def test_every_key_of_the_watch_expires_or_is_bounded(redis: Redis, queue: WatchQueue) -> None:
    tick = await queue.tick()
    await queue.note(event(1, edits={"name": EditDigests("digest", "before")}, later_request="later"))
    await queue.advance(CREATED)
    await queue.end(tick.now_ms)
    await queue.tick()
    kept = {INBOX, f"{PREFIX}:totals"}
    keys = {key.decode() for key in await redis.keys()}
    assert kept < keys
    for key in keys - kept:
        assert await redis.ttl(key) > 0, f"{key} would stay for ever"


async def test_links_are_read_from_the_index(redis: Redis) -> None:
    await redis.hset(KEYS.links, mapping={"cus_1": "1:ann", "cus_2": "0:ben:x", "cus_3": "?"})  # type: ignore[misc]
    found = [await Links(redis, PREFIX).customer_of(f"cus_{number}") for number in (1, 2, 3, 4)]
    assert found == [LinkedCustomer("ann", receipts_on=True), LinkedCustomer("ben:x", receipts_on=False), None, None]
