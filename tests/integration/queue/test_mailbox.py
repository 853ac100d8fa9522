"""The mailbox on a real Redis: order, leases, settlements, repeated dispatches, and invalid entries."""

import json
import time

import pytest
from redis.asyncio import Redis

from jobs.queue.batch import Batch, EntryOutcome, LeaseLostError, Settlement, parse_entries
from jobs.queue.mailbox import CLAIM_MS, MAX_AHEAD_MS, Mailbox
from jobs.queue.record import CustomerRecord, read_outcome, read_totals
from tests.conftest import INBOX, PREFIX, read_dead


@pytest.fixture
def mailbox(redis: Redis) -> Mailbox:
    return Mailbox(redis, inbox=INBOX, prefix=PREFIX)


async def add(redis: Redis, customer: str, name: str = "x", **fields: str) -> str:
    entry = {"customer_id": customer, "changes": json.dumps({"name": name}), **fields}
    return str((await redis.xadd(INBOX, dict(entry.items()))).decode())


async def take(mailbox: Mailbox, customer: str) -> Batch:
    await mailbox.move()
    await mailbox.dispatch(100)
    batch = await mailbox.take(customer)
    assert batch is not None
    return batch


def applied(batch: Batch) -> Settlement:
    return Settlement([EntryOutcome(entry.id, entry.id) for entry in batch.entries])


async def test_move_keeps_order_and_empties_inbox(redis: Redis, mailbox: Mailbox) -> None:
    sent = [await add(redis, "ann" if index % 3 else "bob", str(index)) for index in range(30)]
    assert await mailbox.move() == (30, False)
    assert await redis.xlen(INBOX) == 0
    await mailbox.dispatch(100)
    ann, bob = await mailbox.take("ann"), await mailbox.take("bob")
    assert ann is not None
    assert bob is not None
    assert [entry.id for entry in ann.entries] == [each for index, each in enumerate(sent) if index % 3]
    assert [entry.id for entry in bob.entries] == [each for index, each in enumerate(sent) if not index % 3]


async def test_entry_keeps_trace_context_of_app(redis: Redis, mailbox: Mailbox) -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for sent in ({"traceparent": traceparent}, {}, {"traceparent": "garbage"}):
        await add(redis, "ann", **sent)
    batch = await take(mailbox, "ann")
    assert [entry.traceparent for entry in batch.entries] == [traceparent, None, None]


async def test_customer_is_taken_by_one_worker_only(redis: Redis, mailbox: Mailbox) -> None:
    await add(redis, "ann")
    await take(mailbox, "ann")
    assert await mailbox.take("ann") is None
    assert await Mailbox(redis, inbox=INBOX, prefix=PREFIX).take("ann") is None


async def test_customer_that_is_not_dispatched_is_not_taken(redis: Redis, mailbox: Mailbox) -> None:
    await add(redis, "ann")
    await mailbox.move()
    assert await mailbox.take("ann") is None


async def test_settle_removes_only_finished_entries(redis: Redis, mailbox: Mailbox) -> None:
    first = await add(redis, "ann", "1")
    batch = await take(mailbox, "ann")
    second = await add(redis, "ann", "2")
    await mailbox.move()
    assert (await mailbox.dispatch(100))[1] == []
    assert await mailbox.settle(batch.lease, applied(batch))
    assert [entry.id for entry in (await take(mailbox, "ann")).entries] == [second]
    outcome = await read_outcome(redis, PREFIX, first)
    assert outcome is not None
    assert (outcome.status, outcome.customer_id, outcome.entry_id) == ("applied", "ann", first)


async def test_settled_customer_leaves_no_queue_keys(redis: Redis, mailbox: Mailbox) -> None:
    await add(redis, "ann")
    batch = await take(mailbox, "ann")
    await mailbox.settle(batch.lease, applied(batch))
    left = {key.decode() for key in await redis.keys("*")}
    permanent = {f"{PREFIX}:totals", f"{PREFIX}:last-success", f"{PREFIX}-outcomes", INBOX}
    kept = {*permanent, f"{PREFIX}:customer:ann"}
    assert {key for key in left if ":events:" not in key} == kept
    for key in left - permanent:
        assert await redis.ttl(key) > 0, f"{key} would stay for ever"


async def test_lost_lease_settles_nothing(redis: Redis, mailbox: Mailbox) -> None:
    await add(redis, "ann")
    batch = await take(mailbox, "ann")
    await redis.delete(f"{PREFIX}:lease:ann")
    other = await mailbox.take("ann")
    assert other is not None
    assert not await mailbox.settle(batch.lease, applied(batch))
    assert await redis.xlen(f"{PREFIX}:mailbox:ann") == 1
    assert await mailbox.settle(other.lease, applied(other))


async def test_expired_dispatch_is_repeated(redis: Redis) -> None:
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX, dispatch_ms=1)
    await add(redis, "ann")
    await mailbox.move()
    first_at, first, _ = await mailbox.dispatch(100)
    second_at, second = first_at, list[str]()
    while not second:
        second_at, second, _ = await mailbox.dispatch(100)
    assert (first, second) == (["ann"], ["ann"])
    assert second_at > first_at
    assert (await read_totals(redis, PREFIX))["dispatched_again"] == 1


async def test_expired_lease_frees_customer_and_forbids_writes(redis: Redis) -> None:
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX, lease_seconds=0.02)
    await add(redis, "ann")
    batch = await take(mailbox, "ann")
    again: Batch | None = None
    while again is None:
        await mailbox.dispatch(100)
        again = await mailbox.take("ann")
    with pytest.raises(LeaseLostError):
        batch.lease.check()
    assert again.entries == batch.entries


async def test_renewed_lease_stays(redis: Redis, mailbox: Mailbox) -> None:
    await add(redis, "ann")
    batch = await take(mailbox, "ann")
    deadline = batch.lease.deadline
    await redis.pexpire(f"{PREFIX}:lease:ann", 5_000)
    await mailbox.renew()
    assert batch.lease.deadline > deadline
    assert await redis.pttl(f"{PREFIX}:lease:ann") > 10_000
    assert await mailbox.settle(batch.lease, applied(batch))
    assert mailbox.held == {}


async def test_lost_lease_is_not_renewed(redis: Redis, mailbox: Mailbox) -> None:
    await add(redis, "ann")
    batch = await take(mailbox, "ann")
    await redis.set(f"{PREFIX}:lease:ann", "somebody else")
    await mailbox.renew()
    assert mailbox.held == {}
    assert not await mailbox.settle(batch.lease, applied(batch))


async def test_second_settle_returns_same_result_and_changes_nothing(redis: Redis, mailbox: Mailbox) -> None:
    await add(redis, "ann", "1")
    batch = await take(mailbox, "ann")
    assert await mailbox.settle(batch.lease, applied(batch))
    await add(redis, "ann", "2")
    await mailbox.move()
    before = [await redis.xlen(f"{PREFIX}-outcomes"), await redis.hgetall(f"{PREFIX}:totals")]  # type: ignore[misc]  # one type for both clients
    assert await mailbox.settle(batch.lease, applied(batch))
    assert before == [await redis.xlen(f"{PREFIX}-outcomes"), await redis.hgetall(f"{PREFIX}:totals")]  # type: ignore[misc]  # see above
    newer = await take(mailbox, "ann")
    assert await mailbox.settle(newer.lease, applied(newer))
    assert not await mailbox.settle(batch.lease, applied(batch))


async def test_new_event_does_not_advance_scheduled_retry(redis: Redis, mailbox: Mailbox) -> None:
    first = await add(redis, "ann", "1")
    batch = await take(mailbox, "ann")
    await mailbox.settle(batch.lease, Settlement([], CustomerRecord(attempts=1), again_after_ms=60_000))
    await add(redis, "ann", "2")
    await mailbox.move()
    assert (await mailbox.dispatch(100))[1] == []
    assert await mailbox.take("ann") is None
    await redis.zadd(f"{PREFIX}:waiting", {"ann": 0})
    batch = await take(mailbox, "ann")
    assert batch.entries[0].id == first
    assert len(batch.entries) == 2
    assert batch.record.attempts == 1


async def test_repeated_event_id_is_one_event(redis: Redis, mailbox: Mailbox) -> None:
    await add(redis, "ann", "1", event_id="e1")
    await add(redis, "ann", "1", event_id="e1")
    batch = await take(mailbox, "ann")
    assert len(batch.entries) == 1
    await mailbox.settle(batch.lease, Settlement([EntryOutcome(batch.entries[0].id, "e1")]))
    await add(redis, "ann", "1", event_id="e1")
    await mailbox.move()
    assert (await mailbox.dispatch(100))[1] == []
    assert (await read_totals(redis, PREFIX))["duplicates"] == 2


async def test_inbox_keeps_events_while_too_many_customers_wait(redis: Redis) -> None:
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX, max_waiting=2)
    for customer in ("ann", "bob", "cid", "ann"):
        await add(redis, customer)
    assert await mailbox.move() == (2, True)
    assert await redis.xlen(INBOX) == 2
    batch = await take(mailbox, "ann")
    await mailbox.settle(batch.lease, applied(batch))
    assert await mailbox.move() == (1, True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"foo": "bar"}, "customer_id: is missing"),
        ({"customer_id": "a b", "changes": "{}"}, "customer_id: has to match ^[a-zA-Z0-9_:-]+$"),
        ({"customer_id": b"\xff\x00\xfe", "changes": b"\x00" * 1000}, "customer_id: has to match ^[a-zA-Z0-9_:-]+$"),
        ({"customer_id": "x" * 501}, "customer_id: has 501 bytes, 500 are allowed"),
        ({f"field{index}": "x" for index in range(5000)}, "customer_id: is missing"),
        ({"customer_id": "ann", **{f"field{index}": "x" for index in range(5000)}}, "the entry has too many fields"),
    ],
)
async def test_invalid_entry_is_dead_lettered_and_blocks_nothing(
    redis: Redis, mailbox: Mailbox, fields: dict[str, str | bytes], message: str
) -> None:
    entry = (await redis.xadd(INBOX, dict(fields.items()))).decode()
    good = await add(redis, "bob")
    assert await mailbox.move() == (2, False)
    letters = await read_dead(redis, PREFIX)
    buried = [(letter["entry"], letter["reason"], letter["message"]) for letter in letters]
    assert buried == [(entry, "invalid_event", message)]
    batch = await take(mailbox, "bob")
    assert [each.id for each in batch.entries] == [good]


async def test_entries_arrive_after_redis_clock_was_set_back(redis: Redis, mailbox: Mailbox) -> None:
    ahead = f"{int(time.time() * 1000) + MAX_AHEAD_MS // 2}-0"
    await redis.xadd(INBOX, {"customer_id": "ann", "changes": '{"name": "1"}'}, id=ahead)
    await mailbox.move()
    await redis.delete(INBOX)
    event = await add(redis, "ann", "2")
    batch = await take(mailbox, "ann")
    waiting = await read_outcome(redis, PREFIX, event)
    assert waiting is not None
    assert waiting.status == "waiting"
    assert [json.loads(entry.fields[b"changes"])["name"] for entry in batch.entries] == ["1", "2"]
    letters, _ = parse_entries(batch.entries)
    await mailbox.settle(batch.lease, Settlement([letter.applied() for letter in letters]))
    assert await redis.xlen(f"{PREFIX}:mailbox:ann") == 0
    ended = await read_outcome(redis, PREFIX, event)
    assert ended is not None
    assert ended.status == "applied"


async def test_dispatches_are_limited_and_longest_waiting_come_first(redis: Redis, mailbox: Mailbox) -> None:
    for index in range(10):
        await add(redis, f"user_{index}")
        await mailbox.move()
    await redis.zadd(f"{PREFIX}:waiting", {"user_7": 1, "user_3": 2})
    assert (await mailbox.dispatch(2))[1] == ["user_7", "user_3"]
    assert (await mailbox.dispatch(2))[1] == []


async def test_dead_letter_holds_all_sent_fields(redis: Redis, mailbox: Mailbox) -> None:
    entry = await add(redis, "ann", "1", event_id="e1")
    batch = await take(mailbox, "ann")
    fields = {"reason": "refused", "message": "no", "attempts": "3", "since": "12.5"}
    await mailbox.settle(batch.lease, Settlement([EntryOutcome(entry, "e1", fields)]))
    (letter,) = await read_dead(redis, PREFIX)
    assert letter == {
        "id": letter["id"],
        "entry": entry,
        "customer": "ann",
        **fields,
        "sent.customer_id": "ann",
        "sent.changes": '{"name": "1"}',
        "sent.event_id": "e1",
    }
    outcome = await read_outcome(redis, PREFIX, "e1")
    assert outcome is not None
    assert (outcome.status, outcome.reason) == ("dead", "refused")


async def test_claim_is_exclusive_and_lasts_one_minute(redis: Redis, mailbox: Mailbox) -> None:
    assert await mailbox.claim("cus_1", "ann")
    assert not await mailbox.claim("cus_1", "bob")
    await redis.pexpire(f"{PREFIX}:claim:cus_1", 1000)
    assert await mailbox.claim("cus_1", "ann")
    assert await redis.pttl(f"{PREFIX}:claim:cus_1") > CLAIM_MS / 2
    assert not await mailbox.claim("cus_1", "bob")


HOUR_MS = 3_600_000


async def test_dispatch_returns_the_time_in_which_no_customer_becomes_due(redis: Redis, mailbox: Mailbox) -> None:
    assert (await mailbox.dispatch(100))[2] == HOUR_MS
    await mailbox.schedule_recheck("bob", 30_000)
    assert 0 < (await mailbox.dispatch(100))[2] <= 30_000
    await redis.delete(mailbox.keys.rechecks)
    await redis.set(mailbox.keys.rechecks, "not a sorted set")
    assert (await mailbox.dispatch(100))[2] == HOUR_MS
    await add(redis, "ann")
    await mailbox.move()
    for limit in (0, 1, 1):
        assert (await mailbox.dispatch(limit))[2] == 0


async def test_due_recheck_is_dispatched_while_nothing_else_waits(mailbox: Mailbox) -> None:
    await mailbox.schedule_recheck("bob", -1)
    _, customers, quiet_ms = await mailbox.dispatch(100)
    assert (customers, quiet_ms) == (["bob"], 0)
