"""Dead letters are set aside if their key accepts none, and no sync waits for them."""

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from jobs.enqueue import outcome_of
from jobs.queue.erase import forget
from jobs.queue.mailbox import Mailbox
from jobs.queue.status import read_overview
from sandbox.everything import Sandbox, sandbox
from tests.conftest import INBOX, PREFIX, World, read_dead
from tests.support.processes import ended, wait_until
from tests.support.steps import change, seed
from tests.support.watching import watched

DEAD, ASIDE = f"{PREFIX}:dead", f"{PREFIX}:dead-aside"
LAST_ID = f"{2**64 - 1}-{2**64 - 1}"


async def spoil(redis: Redis, how: str = "wrong type") -> None:
    """Make the key of the dead letters reject new ones."""
    if how == "wrong type":
        await redis.set(DEAD, "x")
    else:
        await redis.xadd(DEAD, {"reason": "x"}, id=LAST_ID)
        await redis.xdel(DEAD, LAST_ID)


@pytest.mark.parametrize("how", ["wrong type", "no id is left"])
async def test_bad_events_never_stop_the_events_behind_them(redis: Redis, how: str) -> None:
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX)
    await spoil(redis, how)
    await redis.sadd(f"{PREFIX}:mailbox:bob", "x")  # type: ignore[misc]  # one type for both clients
    for number in range(600):
        customer = "bob" if number % 2 else "no id"
        await redis.xadd(INBOX, {"customer_id": customer, "changes": "{}", "event_id": f"e{number}"})
    await redis.xadd(INBOX, {"customer_id": "ann", "changes": '{"name": "Ann"}'})
    assert await mailbox.move() == (500, False)
    assert await mailbox.move() == (101, False)
    assert await redis.xlen(INBOX) == 0
    assert await redis.xlen(f"{PREFIX}:mailbox:ann") == 1

    overview = await read_overview(redis, PREFIX, INBOX)
    assert (overview.dead, overview.newest_dead_ms is not None) == (600, True)
    assert overview.wrong_keys == ((DEAD,) if how == "wrong type" else ())
    await redis.delete(DEAD)
    while await redis.exists(ASIDE):
        await mailbox.move()
    letters = await read_dead(redis)
    assert {letter["sent.event_id"] for letter in letters} == {f"e{number}" for number in range(600)}
    assert {letter["reason"] for letter in letters} == {"invalid_event", "mailbox_unusable"}


async def test_repaired_mailbox_takes_no_older_event_after_a_newer_one(redis: Redis) -> None:
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX)
    await spoil(redis)
    await redis.sadd(f"{PREFIX}:mailbox:ann", "x")  # type: ignore[misc]  # one type for both clients
    await redis.xadd(INBOX, {"customer_id": "ann", "changes": '{"name": "Old"}', "event_id": "old"})
    await mailbox.move()
    await redis.delete(f"{PREFIX}:mailbox:ann")
    await redis.xadd(INBOX, {"customer_id": "ann", "changes": '{"name": "New"}', "event_id": "new"})
    await mailbox.move()
    waiting = await redis.xrange(f"{PREFIX}:mailbox:ann")
    assert [fields[b"event_id"] for _, fields in waiting] == [b"new"]
    outcome = await outcome_of(redis, "old")
    assert outcome is not None
    assert (outcome.status, outcome.reason) == ("dead", "mailbox_unusable")


async def test_event_that_a_sync_gives_up_is_set_aside(world: World) -> None:
    seed(world, "ann")
    await spoil(world.redis)
    await world.redis.xadd(INBOX, {"customer_id": "ann", "changes": "{no json", "event_id": "bad"})
    await change(world, "ann", event_id="good", name="Ann")
    await world.run()
    assert world.autumn.customers["ann"]["name"] == "Ann"
    await world.redis.delete(DEAD)
    await world.run()
    (letter,) = await read_dead(world.redis)
    assert (letter["sent.event_id"], letter["customer"]) == ("bad", "ann")
    assert not await world.redis.exists(ASIDE)


async def test_erase_removes_set_aside_dead_letters(world: World) -> None:
    seed(world, "ann")
    await spoil(world.redis)
    await world.redis.xadd(INBOX, {"customer_id": "ann", "changes": "{no json"})
    await world.redis.xadd(INBOX, {"no": "event"})
    await world.run()
    assert await world.redis.xlen(ASIDE) == 2
    forgotten = await forget(world.redis, inbox=INBOX, prefix=PREFIX, customer_id="ann")
    assert forgotten.dead_letters == 1
    assert await world.redis.xlen(ASIDE) == 1


async def test_error_of_a_replaced_key_states_its_text_once(redis: Redis) -> None:
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX)
    await spoil(redis)
    await redis.xadd(ASIDE, {"reason": "x"}, id=LAST_ID)
    await redis.xadd(INBOX, {"no": "event"})
    with pytest.raises(ResponseError) as raised:
        await mailbox.move()
    text = str(raised.value)
    assert "exhausted the last possible ID" in text
    assert text.count("user_script") == 1
    assert await redis.xlen(INBOX) == 1


async def test_set_aside_dead_letters_respect_the_memory_bound(redis: Redis) -> None:
    mailbox = Mailbox(redis, inbox=INBOX, prefix=PREFIX)
    await redis.xadd(INBOX, {"no": "event"})
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(ResponseError, match="maxmemory"):
            await mailbox.move()
    finally:
        await redis.config_set("maxmemory", 0)
    assert await redis.xlen(INBOX) == 1


async def commands(box: Sandbox) -> dict[str, tuple[int | None, str]]:
    words = ("status", "doctor", "dead list")
    return {each: await ended(box.environment, "customer-sync", *each.split()) for each in words}


@pytest.mark.parametrize("how", ["wrong type", "no id is left"])
async def test_set_aside_dead_letters_show_cause_and_remedy(how: str) -> None:
    cause = f"{DEAD} holds a value of the wrong type" if how == "wrong type" else f"{DEAD} has no id left"
    async with sandbox() as box, Redis.from_url(box.redis.url) as redis, watched(box.environment) as one:
        await spoil(redis, how)
        await redis.xadd(INBOX, {"no": "event"})

        async def is_reported() -> bool:
            status, answer = await one.readiness()
            texts = " ".join(reason["text"] for reason in answer["reasons"])
            is_explained = "1 of them kept in `:dead-aside`, because `:dead` takes none" in texts
            return status == 503 and cause in texts and is_explained

        async def is_measured() -> bool:
            return 'customer_sync_blocked{kind="key"} 1.0' in (await one.get("/metrics"))[1]

        await wait_until(is_reported, what="cause and remedy on /readyz")
        await wait_until(is_measured, what="the key on /metrics")
        outputs = await commands(box)
        assert cause in " ".join(outputs["status"][1].split())
        assert outputs["doctor"][0] == 1
        assert "A key of the wrong type" in outputs["doctor"][1]
        assert "1 more are kept aside" in outputs["dead list"][1]
        await redis.delete(DEAD)

        async def is_restored() -> bool:
            return not await redis.exists(ASIDE)

        await wait_until(is_restored)
        outputs = await commands(box)
        assert outputs["doctor"][0] == 0, outputs["doctor"]
        assert "aside" not in outputs["dead list"][1]
