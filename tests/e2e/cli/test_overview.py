"""`customer-sync status` without arguments shows the operator's page as text and as JSON."""

import html
import json
import re
from pathlib import Path

import pytest
from redis.asyncio import Redis

from sandbox.redis import EmbeddedRedis
from tests.conftest import World
from tests.e2e.cli.test_app import Terminal
from tests.support.browser import browsing
from tests.support.operator import busy_day
from tests.support.processes import wait_until
from tests.support.steps import autumn_goes_down, change, seed

SECRET = re.compile(r"ecret|ann@|Customer 4|Somebody|example\.com")


@pytest.fixture
async def terminal(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> Terminal:
    assert await redis.dbsize() == 0
    return Terminal(redis_server.url, tmp_path)


async def test_busy_day_is_shown_at_80_columns(terminal: Terminal, world: World) -> None:
    await busy_day(world)
    code, output, errors = await terminal.run("status")
    assert (code, errors) == (0, "")
    assert max(map(len, output.splitlines())) <= 80
    for part in (
        r"^Dead letters: 3, the newest \d+ s old\.$",
        r"^  applied       8  events, ",
        r"^  applied             [▁▂▃▄▅▆▇█]{30,37}",
        r"^  Autumn, % of limit  [▁▂▃▄▅▆▇█]{30,37}  +\d+ +\d+",
        r"^  ann \(\d+ seconds?\), user_40 \(\d+ seconds?\), ",
        r"^    waits: Autumn has been failing since ",
        r"^dead letters: 3 \(customer_not_found 3\)$",
        r"^  \d+-0  20\S+ \S+  org_3     customer_not_found ",
        r"^  20\S+ \S+  done +10,240 +24 +\d+ +\d+ +16",
        r"^as of 20",
    ):
        assert re.search(part, output, re.MULTILINE), f"{part} in\n{output}"
    assert SECRET.search(output) is None


async def test_page_terminal_and_json_give_the_same_verdict(terminal: Terminal, world: World) -> None:
    async with browsing(world) as browser:
        _, page = await browser.sign_in()
        assert "Everything is all right." in page
        assert (await terminal.run("status"))[1].startswith("Everything is all right.\n")
        await autumn_goes_down(world)
        first, rest, *_ = map(str.rstrip, (await terminal.run("status"))[1].splitlines())
        assert first.startswith("Autumn has been failing since 20")
        assert rest == "Retrying one customer at a time until it recovers."

        async def is_on_the_page() -> bool:
            return first in html.unescape((await browser.get())[1])

        await wait_until(is_on_the_page, what="the page to say so: what it read is good for a second")
        shown = json.loads((await terminal.run("status", "--json"))[1])
        assert (shown["verdict"], shown["sentence"]) == ("waiting", f"{first} {rest}")


async def test_json_is_complete_without_personal_data(terminal: Terminal, world: World) -> None:
    await busy_day(world)
    code, output, errors = await terminal.run("status", "--json", STRIPE_API_KEY="sk_test_of_nobody")
    assert (code, errors, output.count("\n")) == (0, "", 1)
    shown = json.loads(output)
    assert (shown["verdict"], shown["mode"], shown["dead_letters"]) == ("needs-a-person", "test", 3)
    assert len(shown["hours"]["steps"]) > 60
    assert shown["hours"]["steps"][-1]["stripe_percent"] > 0
    assert {each["customer"] for each in shown["longest_waiting"]} == {"ann", "user_40", "user_41", "user_42"}
    assert {each["customer"] for each in shown["newest_dead_letters"]} == {"user_7", "user_19", "org_3"}
    assert SECRET.search(output) is None
    assert "sk_test" not in output


async def test_sent_names_appear_nowhere(terminal: Terminal, world: World) -> None:
    seed(world, "ann")
    await change(world, "ann", name="Secret Name" * 100, email="ann@example.com")
    await change(world, "nobody", name="Secret Name", email="ann@example.com")
    await world.run()
    for words in (["status"], ["status", "--json"]):
        output = (await terminal.run(*words))[1]
        assert "customer_not_found" in output
        assert SECRET.search(output) is None


async def test_output_without_unicode_gets_ascii(terminal: Terminal, world: World) -> None:
    await busy_day(world)
    code, output, errors = await terminal.run("status", PYTHONIOENCODING="ascii")
    assert (code, errors) == (0, "")
    assert output.isascii()
    assert re.search(r"^  applied             [_1-7]{30,37}", output, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "value"),
    [("SCAN_SCHEDULE", "at night"), ("STRIPE_REQUESTS_PER_SECOND", "0"), ("REDIS_URL", "redis://h:x")],
)
async def test_error_names_the_wrong_setting(terminal: Terminal, name: str, value: str) -> None:
    code, output, errors = await terminal.run("status", **{name: value})
    assert (code, output) == (78, "")
    assert errors.startswith(f"{name}: ")
    assert errors.count("\n") == 1
