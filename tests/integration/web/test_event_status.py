"""GET /v1/events/ID: what is known of an event at each place where it may be, and waiting for its outcome."""

import asyncio
from functools import partial
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from jobs.enqueue import send
from jobs.events import new_update
from jobs.inbox import SEARCHED_AT_MOST, SEARCHED_FOR_A_READ
from tests.conftest import INBOX, World
from tests.support.intake import CRM, HGETS_OF_A_SEARCH, SHOP, Port, intake_port, is_read_again
from tests.support.processes import wait_until
from tests.support.raw import exchange, port_of
from tests.support.raw import status_of as http_status
from worker.web.api.events import DOCUMENT_PATH, PATH, WAITS_OF_SOURCE

ANN = {"customer_id": "ann", "changes": {"name": "Ann"}}
SIGNUP = {**ANN, "event_id": "signup-42"}


async def status_of(port: Port, event_id: str) -> str:
    return str((await port.outcome(event_id)).body["status"])


async def test_event_is_waiting_then_applied(world: World) -> None:
    world.autumn.seed("ann")
    async with intake_port(world.redis) as port:
        await port.post(SIGNUP)
        in_inbox = await port.outcome("signup-42")
        ((entry_id, _),) = await world.redis.xrange(INBOX)
        known = {"id": "signup-42", "customer_id": "ann", "entry_id": entry_id.decode(), "reason": None}
        assert (in_inbox.status, in_inbox.body) == (200, {**known, "status": "waiting", "at": None})
        await world.mailbox.move()
        assert (await port.outcome("signup-42")).body == in_inbox.body, "in the mailbox"
        await world.run()
        applied = (await port.outcome("signup-42")).body
        assert applied.pop("at") > 1_700_000_000_000
        assert applied == {**known, "status": "applied"}


async def test_dead_event_has_its_reason_until_it_is_sent_again(world: World) -> None:
    async with intake_port(world.redis) as port:
        await port.post(SIGNUP)
        await world.run()
        dead = (await port.outcome("signup-42")).body
        assert (dead["status"], dead["reason"]) == ("dead", "customer_not_found")
        await port.post(SIGNUP)
        assert await status_of(port, "signup-42") == "waiting"
        world.autumn.seed("ann")
        await world.run()
        assert await status_of(port, "signup-42") == "applied"


async def test_event_without_an_id_is_known_by_its_entry(world: World) -> None:
    world.autumn.seed("ann")
    async with intake_port(world.redis) as port:
        (entry_id,) = (await port.post(ANN)).body["ids"]
        assert await status_of(port, entry_id) == "waiting"
        await world.run()
        assert await status_of(port, entry_id) == "applied"


@pytest.mark.parametrize("event_id", ["a/b", "a\nb", "ä ö?#%&", "1-1", "*", "x" * 200, "\U0001f600" * 200])
async def test_id_may_have_any_character(redis: Redis, event_id: str) -> None:
    async with intake_port(redis) as port:
        await port.post({**SIGNUP, "event_id": event_id})
        async with port.http.get(f"{port.url}{PATH}/{quote(event_id, safe='')}", headers={}) as answer:
            assert answer.status == 401
        found = await port.outcome(quote(event_id, safe=""))
        assert (found.status, found.body["id"]) == (200, event_id)


@pytest.mark.parametrize("path", [b"\xff", b"%FF", b"%00", b"%ED%A0%80", b"..%2f", b"a" * 7000])
async def test_path_that_is_no_id_is_answered(redis: Redis, path: bytes) -> None:
    async with intake_port(redis) as port:
        head = b"GET /v1/events/" + path + f" HTTP/1.0\r\nAuthorization: Bearer {SHOP}\r\n\r\n".encode()
        assert http_status(await exchange(port_of(port.url), head)) in {400, 404}


async def test_unknown_event_is_answered_at_once(redis: Redis) -> None:
    async with intake_port(redis) as port:
        await port.post(SIGNUP)
        async with asyncio.timeout(20):
            answer = await port.outcome("signup-43", wait="30")
    assert (answer.status, answer.body["error"]) == (404, "unknown_event")
    assert "24 hours" in answer.body["message"]


async def test_answer_says_that_a_long_inbox_was_not_searched(redis: Redis) -> None:
    async with intake_port(redis) as port:
        await port.post(SIGNUP)
        await port.post([ANN] * (SEARCHED_AT_MOST - 1))
        assert await status_of(port, "signup-42") == "waiting"
        await port.post([ANN] * 32)
        answer = await port.outcome("signup-42")
    assert (answer.status, answer.body["error"]) == (404, "unknown_event")
    assert "may be in the inbox" in answer.body["message"]


async def test_wait_ends_with_the_outcome(world: World) -> None:
    world.autumn.seed("ann")
    async with intake_port(world.redis) as port:
        await port.post(SIGNUP)
        pending = asyncio.create_task(port.outcome("signup-42", wait="30"))
        await world.run()
        assert (await pending).body["status"] == "applied"
        assert (await port.outcome("signup-42", wait="30")).body["status"] == "applied"


async def test_wait_ends_with_its_time(redis: Redis) -> None:
    async with intake_port(redis) as port:
        await port.post(SIGNUP)
        assert (await port.outcome("signup-42", wait="0.05")).body["status"] == "waiting"


@pytest.mark.parametrize("wait", ["", "x", "-1", "30.1", "nan", "inf"])
async def test_invalid_wait_is_refused(redis: Redis, wait: str) -> None:
    async with intake_port(redis) as port:
        answer = await port.outcome("signup-42", wait=wait)
    assert (answer.status, answer.body["error"]) == (400, "invalid_request")
    assert answer.body["message"].startswith("wait: ")


async def test_waits_leave_connections_for_others(redis: Redis) -> None:
    async with intake_port(redis) as port:
        await port.post(SIGNUP)
        waiting = [asyncio.create_task(port.outcome("signup-42", wait="30")) for _ in range(WAITS_OF_SOURCE + 1)]
        (refused,), _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert refused.result().status == 429
        assert int(refused.result().headers["Retry-After"]) >= 1
        assert await status_of(port, "signup-42") == "waiting"
        of_other = await port.get(f"{PATH}/signup-42", token=CRM, wait="0.01")
        assert of_other.body["status"] == "waiting", "another source may still wait"
        assert (await port.get(DOCUMENT_PATH, token=None)).status == 200
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_event_that_was_added_to_the_stream_is_known(redis: Redis) -> None:
    await send(redis, new_update(**SIGNUP))
    async with intake_port(redis) as port:
        assert await status_of(port, "signup-42") == "waiting"


async def test_broken_keys_hide_no_event(redis: Redis) -> None:
    await redis.set(INBOX, "x")
    async with intake_port(redis) as port:
        assert (await port.outcome("signup-42")).status == 404


async def test_waiting_searches_the_inbox_once(redis: Redis) -> None:
    async with intake_port(redis) as port:
        await port.post(SIGNUP)
        await redis.config_resetstat()
        assert (await port.outcome("signup-42", wait="0.5")).body["status"] == "waiting"
        calls = await redis.info("commandstats")
    assert calls["cmdstat_xrevrange"]["calls"] == 1
    assert calls["cmdstat_hget"]["calls"] > HGETS_OF_A_SEARCH, "it read the outcome again"


async def test_waiting_for_an_event_that_is_sent_again_ignores_its_dead_entry(world: World) -> None:
    async with intake_port(world.redis) as port:
        await port.post(SIGNUP)
        await world.run()
        assert await status_of(port, "signup-42") == "dead"
        await port.post(SIGNUP)
        await world.redis.config_resetstat()
        pending = asyncio.create_task(port.outcome("signup-42", wait="30"))
        await wait_until(partial(is_read_again, world.redis))
        assert not pending.done()
        world.autumn.seed("ann")
        await world.run()
        assert (await pending).body["status"] == "applied"


async def test_reads_have_a_rate_and_a_search_costs_more(redis: Redis) -> None:
    async with intake_port(redis, reads_per_second=2 * SEARCHED_FOR_A_READ) as port:
        await port.post([ANN] * SEARCHED_AT_MOST)
        # As searches they need 20 seconds, as reads they are within the burst.
        answers = await asyncio.gather(*(port.outcome("unknown") for _ in range(100)))
        assert {answer.status for answer in answers} == {404, 429}
        refused = next(answer for answer in answers if answer.status == 429)
        assert refused.body["error"] == "rate_limited"
        assert "shop" in refused.body["message"]
        assert int(refused.headers["Retry-After"]) >= 1
        assert (await port.get(f"{PATH}/unknown", token=CRM)).status == 404
        assert (await port.post(ANN)).status == 202, "reads and events have rates of their own"


async def test_outcome_is_read_from_a_redis_that_takes_no_writes(redis: Redis) -> None:
    async with intake_port(redis) as port:
        await port.post(SIGNUP)
        await redis.config_set("maxmemory", 1)
        try:
            assert await status_of(port, "signup-42") == "waiting"
        finally:
            await redis.config_set("maxmemory", 0)


async def test_wait_for_an_event_deep_in_the_inbox_ends_with_its_outcome(world: World) -> None:
    world.autumn.seed("ann")
    async with intake_port(world.redis) as port:
        await port.post(SIGNUP)
        await world.redis.xadd(INBOX, {"customer_id": "bob"})
        for _ in range(SEARCHED_AT_MOST // 500 + 1):
            await port.post([{"customer_id": "bob", "type": "customer.reconcile"}] * 500)
        await world.redis.config_resetstat()
        pending = asyncio.create_task(port.outcome("signup-42", wait="30"))
        await wait_until(partial(is_read_again, world.redis))
        assert not pending.done()
        await world.mailbox.move()
        await world.run()
        assert (await pending).body["status"] == "applied"
