"""Actions of an operator on the page: replaying and dropping dead letters, and a customer's history."""

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientTimeout
from structlog.testing import capture_logs

from sandbox.redis import EmbeddedRedis
from tests.conftest import World, read_dead
from tests.support.browser import Browser, browsing
from tests.support.operator import bury
from tests.support.processes import hanging
from tests.support.steps import change, seed
from worker.web.access import ANSWER_SECONDS


@pytest.fixture
async def operator(world: World) -> AsyncIterator[Browser]:
    async with browsing(world) as browser:
        await browser.sign_in()
        yield browser


async def test_replay_confirms_first_and_shows_the_result(world: World, operator: Browser) -> None:
    await bury(world, "user_7")
    (letter,) = await read_dead(world.redis)
    _, confirmation = await operator.send("/dead-letters", letter=letter["id"], action="replay")
    assert "Send this dead letter again?" in confirmation
    assert await world.redis.xlen("customer-updates") == 0
    with capture_logs() as logs:
        _, done = await operator.send("/dead-letters/replay", letter=letter["id"])
    assert "Sent again: 1" in done
    assert await read_dead(world.redis) == []
    assert await world.redis.xlen("customer-updates") == 1
    assert [(each["event"], each["letters"]) for each in logs] == [("dead_letters_replayed", [letter["id"]])]


async def test_form_without_an_answer_is_not_sent_again(world: World, redis_server: EmbeddedRedis) -> None:
    # The page has 20 s in all, so an answer before that is due to the shorter wait for Redis.
    in_time = ClientTimeout(total=ANSWER_SECONDS - 5)
    async with browsing(world, read_seconds=1) as browser:
        form = {"token": await browser.token(), "letter": "1-0"}
        with hanging(redis_server):
            async with browser.http.post(f"{browser.url}/dead-letters/replay", data=form, timeout=in_time) as answer:
                assert (answer.status, answer.headers.get("Refresh")) == (503, None)
                assert "The action may have been done" in await answer.text()


async def test_replay_warns_if_it_overwrites_a_newer_change(world: World, operator: Browser) -> None:
    await bury(world, "user_7")
    world.autumn.seed("user_7")
    await change(world, "user_7", name="Newer")
    await world.run()
    (letter,) = await read_dead(world.redis)
    assert (
        "this older change will overwrite them" in (await operator.send("/dead-letters/replay", letter=letter["id"]))[1]
    )


async def test_drop_confirms_first_and_is_permanent(world: World, operator: Browser) -> None:
    await bury(world, "user_7")
    await bury(world, "user_8")
    keep, drop = await read_dead(world.redis)
    _, confirmation = await operator.send("/dead-letters", letter=drop["id"], action="drop")
    assert "Drop this dead letter permanently?" in confirmation
    assert len(await read_dead(world.redis)) == 2
    with capture_logs() as logs:
        _, done = await operator.send("/dead-letters/drop", letter=drop["id"])
    assert "Dropped: 1" in done
    assert await read_dead(world.redis) == [keep]
    assert [(each["event"], each["letters"]) for each in logs] == [("dead_letters_dropped", [drop["id"]])]


async def test_missing_dead_letter_is_reported(operator: Browser) -> None:
    assert (
        "1 of the selected dead letters no longer exists"
        in (await operator.send("/dead-letters/replay", letter="5-0"))[1]
    )
    status, text = await operator.send("/dead-letters", letter="5-0", action="drop")
    assert (status, "Nothing selected" in text) == (400, True)


async def test_customer_page_shows_history_and_both_sides(world: World, operator: Browser) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Ann Example", email="ann@example.com")
    await world.run()
    with capture_logs() as logs:
        _, text = await operator.send("/customer", customer="ann", live="on")
    assert "In sync." in text
    assert text.count("ann@example.com") == 2
    assert "wrote email, name in Autumn" in text or "wrote name, email in Autumn" in text
    assert "ann@example.com" not in json.dumps(logs)
    assert "customer_viewed" in [each["event"] for each in logs]


async def test_drifted_customer_is_shown_with_the_dry_run(world: World, operator: Browser) -> None:
    seed(world, "ann")
    world.autumn.customers["ann"]["name"] = "Ann Example"
    _, text = await operator.send("/customer", customer="ann", live="on")
    assert "Not in sync: a sync has something to write." in text
    assert '<span class="tag is-bad">no</span>' in text
    assert "A sync would" in text


async def test_no_service_is_called_without_a_live_fetch(world: World, operator: Browser) -> None:
    seed(world, "ann")
    calls = len(world.stripe.calls)
    _, text = await operator.send("/customer", customer="ann")
    assert len(world.stripe.calls) == calls
    assert "Not compared yet." in text
    assert "Not known" in text


async def test_customer_unknown_to_autumn_is_reported(operator: Browser) -> None:
    assert (
        "Autumn does not know the customer nobody"
        in (await operator.send("/customer", customer="nobody", live="on"))[1]
    )


@pytest.mark.parametrize("typed", ["", " ", "ann@example.com", "a b", "x" * 2000])
async def test_invalid_customer_id_is_neither_searched_nor_logged(operator: Browser, typed: str) -> None:
    with capture_logs() as logs:
        status, text = await operator.send("/customer", customer=typed, live="on")
    assert (status, "may contain only letters" in text) == (400, True)
    assert logs == []
