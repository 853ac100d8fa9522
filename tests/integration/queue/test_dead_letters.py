"""Dead letters on a real Redis: reading them page by page, replaying them exactly once, dropping them."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from jobs.enqueue import outcome_of, send
from jobs.events import new_update
from jobs.queue.dead_letters import (
    NO_LETTER,
    PAGE,
    PAGES_FOR_ONE,
    DeadLetter,
    DeadLetters,
    NewestLetters,
    Replayed,
    Wanted,
)
from jobs.queue.mailbox import Mailbox
from jobs.queue.record import read_totals
from sandbox.redis import EmbeddedRedis
from tests.conftest import INBOX, PREFIX, World

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

DEAD = f"{PREFIX}:dead"
RECORD = f"{PREFIX}:customer:ann"


@pytest.fixture
def letters(redis: Redis) -> DeadLetters:
    return DeadLetters(redis, inbox=INBOX, prefix=PREFIX)


async def add_dead_letter(
    redis: Redis,
    customer: str = "ann",
    reason: str = "not_taken",
    entry: str = "5-0",
    letter_id: str = "*",
    name: str = "",
) -> str:
    """Add a dead letter as `settle.lua` writes it."""
    letter = {
        "entry": entry,
        "customer": customer,
        "reason": reason,
        "message": "no",
        "attempts": "1",
        "since": "",
        "sent.customer_id": customer,
        "sent.changes": f'{{"name":"{name}"}}',
    }
    return str((await redis.xadd(DEAD, dict(letter.items()), id=letter_id)).decode())


async def everything(letters: DeadLetters, wanted: Wanted, *, newest_first: bool = False) -> list[DeadLetter]:
    return [letter async for page in letters.pages(wanted, newest_first=newest_first) for letter in page]


async def test_newest_dead_letters_of_customer_are_found_among_others(redis: Redis, letters: DeadLetters) -> None:
    mine = [await add_dead_letter(redis, name=str(index)) for index in range(6)]
    await add_dead_letter(redis, "bob")
    newest = await letters.newest_of("ann", at_most=2)
    assert ([letter.id for letter in newest.letters], newest.are_all) == ([mine[5], mine[4]], False)
    all_of_them = await letters.newest_of("ann", at_most=6)
    assert (len(all_of_them.letters), all_of_them.are_all) == (6, True)
    assert await letters.newest_of("nobody") == NewestLetters()


async def test_search_for_dead_letters_of_customer_ends_after_few_pages(redis: Redis, letters: DeadLetters) -> None:
    await add_dead_letter(redis)
    for _ in range(PAGES_FOR_ONE * PAGE - 1):
        await add_dead_letter(redis, "bob")
    assert (await letters.newest_of("ann")).are_all
    await add_dead_letter(redis, "bob")
    assert await letters.newest_of("ann") == NewestLetters((), are_all=False)


async def test_replayed_dead_letter_is_applied_as_new_event(world: World, letters: DeadLetters) -> None:
    update = new_update(customer_id="ann", changes={"name": "Ann"}, event_id="e1", traceparent=TRACEPARENT)
    await send(world.redis, update)
    await world.run()
    ((letter,),) = [page async for page in letters.pages()]
    assert (letter.customer, letter.reason, letter.attempts) == ("ann", "customer_not_found", 1)
    assert letter.sent == {name.encode(): value.encode() for name, value in update.fields().items()}
    assert letter == await letters.find(letter.id)

    world.autumn.seed("ann")
    (replayed,) = await letters.replay([letter.id])
    assert replayed == Replayed(letter.id, f"replay-{letter.id}", "ann", outdated=False)
    ((_, fields),) = await world.redis.xrange(INBOX)
    assert fields == {**letter.sent, b"event_id": replayed.event_id.encode()}
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Ann"
    outcome = await outcome_of(world.redis, replayed.event_id)
    assert outcome is not None
    assert outcome.status == "applied"
    assert await letters.find(letter.id) is None
    assert (await read_totals(world.redis, PREFIX))["replayed"] == 1


async def test_event_that_is_refused_again_is_new_dead_letter(world: World, letters: DeadLetters) -> None:
    await send(world.redis, new_update(customer_id="ann", changes={"name": "Ann"}))
    await world.run()
    first = await letters.newest()
    (replayed,) = await letters.replay([first])
    await world.run()
    (letter,) = await everything(letters, Wanted())
    assert letter.id != first
    assert letter.sent[b"event_id"].decode() == replayed.event_id


async def test_replay_keeps_binary_garbage_unchanged(redis: Redis, letters: DeadLetters) -> None:
    garbage = {b"customer_id": b"\xff\xfe\x00", b"\x00\xff": b"\r\n\x80", b"": b""}
    entry = await redis.xadd(INBOX, dict(garbage.items()))
    await Mailbox(redis, inbox=INBOX, prefix=PREFIX).move()
    (letter,) = await everything(letters, Wanted(reason="invalid_event"))
    assert (letter.entry, letter.customer, letter.since, letter.sent) == (entry.decode(), None, None, garbage)
    assert letter.as_json()["sent"] == {"customer_id": "\\xff\\xfe\x00", "\x00\\xff": "\r\n\\x80", "": ""}
    assert "sent" not in letter.summary()
    (replayed,) = await letters.replay([letter.id])
    assert replayed == Replayed(letter.id, f"replay-{letter.id}", None, outdated=False)
    ((_, fields),) = await redis.xrange(INBOX)
    assert fields == {**garbage, b"event_id": replayed.event_id.encode()}


@pytest.mark.parametrize(
    ("last_applied", "outdated"),
    [("4-9", False), ("5-9", False), ("5-11", True), ("10-0", True), ("", False)],
    ids=["older", "itself", "later in the same millisecond", "newer", "none"],
)
async def test_newer_applied_event_makes_dead_letter_outdated(
    redis: Redis, letters: DeadLetters, last_applied: str, outdated: bool
) -> None:
    letter = await add_dead_letter(redis, entry="5-9")
    await redis.hset(RECORD, "last_applied", last_applied)  # type: ignore[misc]  # redis-py has one type for both clients
    assert [each.outdated for each in await letters.replay([letter])] == [outdated]


@pytest.mark.parametrize(("waiting", "outdated"), [("4-9", False), ("10-0", True)], ids=["older", "newer"])
async def test_newer_waiting_event_makes_dead_letter_outdated(
    redis: Redis, letters: DeadLetters, waiting: str, outdated: bool
) -> None:
    letter = await add_dead_letter(redis, entry="5-9")
    await redis.xadd(INBOX, {"customer_id": "ann", "changes": '{"name":"Ann"}'}, id=waiting)
    await Mailbox(redis, inbox=INBOX, prefix=PREFIX).move()
    assert [each.outdated for each in await letters.replay([letter])] == [outdated]


async def test_replay_keeps_order_of_first_sending(redis: Redis, letters: DeadLetters) -> None:
    third = await add_dead_letter(redis, entry="10-0", name="third")
    first = await add_dead_letter(redis, entry="9-2", name="first")
    second = await add_dead_letter(redis, entry="9-10", name="second")
    assert [each.id for each in await letters.replay([third, second, first])] == [first, second, third]
    entries = await redis.xrange(INBOX)
    assert [fields[b"changes"] for _, fields in entries] == [
        b'{"name":"first"}',
        b'{"name":"second"}',
        b'{"name":"third"}',
    ]


async def test_dead_letters_are_filtered_by_reason_and_customer(redis: Redis, letters: DeadLetters) -> None:
    ids = [
        await add_dead_letter(redis, customer, reason)
        for customer, reason in (("ann", "not_taken"), ("ann", "needs-review"), ("bob", "not_taken"))
    ]
    for wanted, expected in (
        (Wanted(), ids),
        (Wanted(reason="not_taken"), [ids[0], ids[2]]),
        (Wanted(customer="ann"), ids[:2]),
        (Wanted(reason="needs-review", customer="ann"), [ids[1]]),
        (Wanted(reason="needs-review", customer="bob"), []),
    ):
        assert [letter.id for letter in await everything(letters, wanted)] == expected
        assert [letter.id for letter in await everything(letters, wanted, newest_first=True)] == expected[::-1]


async def test_dead_letters_are_read_page_by_page_during_replay(redis: Redis, letters: DeadLetters) -> None:
    ids = [await add_dead_letter(redis, letter_id=f"1-{number + 1}") for number in range(1_050)]
    assert [letter.id for letter in await everything(letters, Wanted(), newest_first=True)] == ids[::-1]
    until = await letters.newest()
    assert until == ids[-1]
    replayed: list[str] = []
    async for page in letters.pages(until=until):
        assert len(page) <= PAGE
        replayed += [each.id for each in await letters.replay([letter.id for letter in page])]
        await add_dead_letter(redis)
    assert replayed == ids
    assert await redis.xlen(INBOX) == len(ids)
    assert {letter.id for letter in await everything(letters, Wanted())}.isdisjoint(ids)


async def test_concurrent_replays_of_dead_letter_make_one_event(
    redis: Redis, redis_server: EmbeddedRedis, letters: DeadLetters
) -> None:
    letter = await add_dead_letter(redis)
    async with Redis.from_url(redis_server.url) as another:
        deps = [letters, DeadLetters(another, inbox=INBOX, prefix=PREFIX)] * 5
        answers = await asyncio.gather(*(each.replay([letter]) for each in deps))
    assert sum(len(answer) for answer in answers) == 1
    assert await redis.xlen(INBOX) == 1


async def test_dead_letter_named_twice_is_replayed_once(redis: Redis, letters: DeadLetters) -> None:
    letter = await add_dead_letter(redis, letter_id="7-1")
    assert [each.id for each in await letters.replay([letter, letter, "007-1"])] == [letter]
    assert await redis.xlen(INBOX) == 1


async def test_dead_letter_stays_if_inbox_refuses_event(redis: Redis, letters: DeadLetters) -> None:
    letter = await add_dead_letter(redis)
    await redis.set(INBOX, "no stream")
    with pytest.raises(ResponseError):
        await letters.replay([letter])
    assert await letters.find(letter) is not None


@pytest.mark.parametrize("unknown", ["1-1", "no id", "1", "-", "99999999999999999999-0", ""])
async def test_unknown_id_does_not_affect_other_dead_letters(redis: Redis, letters: DeadLetters, unknown: str) -> None:
    replayed, dropped = await add_dead_letter(redis), await add_dead_letter(redis)
    assert await letters.find(unknown) is None
    assert [each.id for each in await letters.replay([unknown, replayed])] == [replayed]
    assert await letters.drop([unknown, dropped]) == [dropped]
    assert await letters.replay([unknown]) == []
    assert await letters.drop([unknown]) == []


async def test_dropped_dead_letter_is_deleted_and_not_replayed(redis: Redis, letters: DeadLetters) -> None:
    dropped, kept = await add_dead_letter(redis), await add_dead_letter(redis)
    assert await letters.drop([dropped, dropped]) == [dropped]
    assert [letter.id for letter in await everything(letters, Wanted())] == [kept]
    assert await redis.exists(INBOX) == 0


async def test_empty_stream_has_no_dead_letters(letters: DeadLetters) -> None:
    assert await letters.newest() == NO_LETTER
    assert await everything(letters, Wanted()) == []
    assert [page async for page in letters.pages(until=NO_LETTER)] == []


@pytest.mark.parametrize("broken", ["many", "-1", "nan", "9" * 400, "1e300", ""])
async def test_malformed_fields_of_dead_letter_have_defaults(redis: Redis, letters: DeadLetters, broken: str) -> None:
    await redis.xadd(DEAD, {"attempts": broken, "since": broken, "reason": "odd"}, id=f"{2**64 - 1}-0")
    (letter,) = await everything(letters, Wanted())
    assert (letter.reason, letter.attempts, letter.since, letter.dead_lettered_at_ms) == ("odd", 0, None, 2**53)


async def test_key_of_wrong_type_holds_no_dead_letters(redis: Redis, letters: DeadLetters) -> None:
    await redis.set(DEAD, "x")
    assert await everything(letters, Wanted()) == []
    assert (await letters.newest_of("ann"), await letters.newest(), await letters.find("1-1")) == (
        NewestLetters(),
        NO_LETTER,
        None,
    )
