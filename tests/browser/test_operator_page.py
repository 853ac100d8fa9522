"""The operator's page in a real browser: keyboard use, automatic refresh, small screens, dark mode and contrast."""

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, StorageState, expect
from redis.asyncio import Redis

from sandbox.redis import EmbeddedRedis, embedded_redis
from tests.browser.chromium import accessible, open_page, overflowing
from tests.browser.contrast import faint_texts
from tests.conftest import World, opened_world, read_dead
from tests.support.operator import bury, busy_day, operator_page, sign_in
from tests.support.processes import hanging
from tests.support.steps import change, seed

FOCUSED = (
    "(() => { const e = document.activeElement, s = getComputedStyle(e);"
    " return [e.getAttribute('aria-label') || (e.labels && e.labels[0] || e).textContent.trim(),"
    " s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 1] })()"
)
UNLABELLED = (
    "[...document.querySelectorAll('input:not([type=hidden]), button, select, a')].filter((e) =>"
    " !(e.labels && e.labels.length || e.textContent.trim() || e.ariaLabel || e.ariaHidden)).length"
)


pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def operator_signed_in(chromium: Browser) -> AsyncIterator[tuple[str, StorageState]]:
    """Serve the page of a busy day, which no test changes; yield its URL and the cookies of a signed-in operator."""
    with embedded_redis(aof=False) as server:
        async with Redis.from_url(server.url) as redis, opened_world(redis) as world:
            await busy_day(world)
            letters = await read_dead(redis)
            async with operator_page(world) as url:
                async with open_page(chromium, []) as page:
                    await sign_in(page, url)
                    cookies = await page.context.storage_state()
                yield url, cookies
            assert await read_dead(redis) == letters, "a test changed the day that others read"


@pytest_asyncio.fixture(loop_scope="session")
async def day(
    chromium: Browser, problems: list[str], operator_signed_in: tuple[str, StorageState]
) -> AsyncIterator[Page]:
    """Open the overview of the busy day in a new page, only to read."""
    url, cookies = operator_signed_in
    async with open_page(chromium, problems, storage_state=cookies) as page:
        await page.goto(url)
        await has_heading(page, "Overview")
        yield page


async def walk(page: Page, until: str, most: int = 40) -> list[str]:
    """Press Tab until the element `until` has the focus; return the names of the elements focused on the way."""
    names: list[str] = []
    while len(names) < most:
        await page.keyboard.press("Tab")
        name, is_seen = await page.evaluate(FOCUSED)
        assert is_seen, f"the focus on {name} cannot be seen"
        names.append(name)
        if name == until:
            return names
    raise AssertionError(f"{until} is not among {names}")


async def has_heading(page: Page, text: str) -> None:
    await expect(page.locator("h1")).to_have_text(text)


async def leave(page: Page) -> None:
    """Leave the page, because a refresh without its server would add an error to `problems`."""
    await page.goto("about:blank")


async def test_first_tab_stop_skips_to_content(day: Page) -> None:
    assert await walk(day, "Skip to the content") == ["Skip to the content"]
    await day.keyboard.press("Enter")
    assert await day.evaluate("document.activeElement.id") == "content"


async def test_tab_order_is_reading_order(day: Page) -> None:
    names = await walk(day, "Drop selected …")
    expected = ["Skip to the content", "Customers in Autumn and Stripe", "Sign out", "The customer's id in Autumn"]
    expected += ["Compare both sides now", "Show", "Show customer ann", "Show customer user_40", "Select all shown"]
    assert [name for name in names if name in expected] == expected


async def test_dead_letter_is_replayed_by_keyboard_alone(page: Page, world: World) -> None:
    await busy_day(world)
    newest = (await read_dead(world.redis))[0]
    async with operator_page(world) as url:
        await sign_in(page, url)
        await walk(page, f"Dead letter {newest['id']} of org_3")
        await page.keyboard.press("Space")
        await walk(page, "Send selected again …")
        await page.keyboard.press("Enter")
        await has_heading(page, "Send this dead letter again?")
        await walk(page, "Send again")
        await page.keyboard.press("Enter")
        await has_heading(page, "Sent again: 1")
    assert newest["id"] not in [each["id"] for each in await read_dead(world.redis)]


async def test_all_dead_letters_can_be_selected_at_once(day: Page) -> None:
    await day.click("[data-choose-all]")
    assert await day.evaluate("document.querySelectorAll('[name=letter]:checked').length") == 3
    await day.click("[value=drop]")
    await has_heading(day, "Drop these 3 dead letters permanently?")


async def test_customer_search_by_keyboard_keeps_id_out_of_url(day: Page) -> None:
    await walk(day, "The customer's id in Autumn")
    await day.keyboard.insert_text("user_40")
    await day.keyboard.press("Enter")
    await has_heading(day, "Customer user_40")
    assert "user_40" not in await day.evaluate("location.href")


async def test_numbers_refresh_by_themselves(page: Page, world: World) -> None:
    seed(world, "ann")
    async with operator_page(world) as url:
        await sign_in(page, url)
        await change(world, "ann", name="Ann")
        await world.run()
        await expect(page.locator(".flow .many").nth(3)).to_have_text("1")
        await leave(page)


async def test_page_says_it_is_stale_until_refresh_works(page: Page, world: World, redis_server: EmbeddedRedis) -> None:
    async with operator_page(world) as url:
        await sign_in(page, url)
        warning = page.locator("main").get_by_text("The page below is old")
        await warning.wait_for(state="hidden")
        with hanging(redis_server):
            await warning.wait_for()
        await warning.wait_for(state="hidden")
        await leave(page)


async def test_page_reloads_until_redis_answers(page: Page, world: World, redis_server: EmbeddedRedis) -> None:
    async with operator_page(world, read_seconds=1) as url:
        with hanging(redis_server):
            await page.goto(url)
            await has_heading(page, "Redis does not answer")
        await has_heading(page, "Sign in")


async def test_refresh_pauses_while_a_table_is_in_use(day: Page) -> None:
    await day.evaluate("(() => { const d = document.querySelector('#live details'); d.open = true; d.mark = 1; })()")
    # A refresh is due every 5 s, so one would have happened by then.
    await day.evaluate("new Promise((done) => setTimeout(done, 5600))")
    assert await day.evaluate("document.querySelector('#live details').mark") == 1


async def test_every_text_of_every_page_has_contrast(day: Page) -> None:
    assert await faint_texts(day) == {"light": [], "dark": []}
    await day.click("[name=letter]")
    await day.click("[value=drop]")
    await has_heading(day, "Drop this dead letter permanently?")
    assert await faint_texts(day) == {"light": [], "dark": []}


async def test_nothing_overflows_a_small_screen(day: Page) -> None:
    assert await overflowing(day, widths=(320, 390, 768, 1024)) == {}


async def test_phone_layout_keeps_every_cell_of_a_row(day: Page) -> None:
    await day.set_viewport_size({"width": 390, "height": 800})
    hidden = "[...document.querySelectorAll('.list td')].filter((e) => e.textContent.trim() && !e.offsetHeight).length"
    assert await day.evaluate(hidden) == 0


async def test_checkbox_aligns_with_text_when_rows_are_blocks(day: Page) -> None:
    left = "(e) => e.getBoundingClientRect().left"
    for width in (390, 820):
        await day.set_viewport_size({"width": width, "height": 800})
        boxes = await day.evaluate(f"[...document.querySelectorAll('.choice input')].map({left})")
        rows = await day.evaluate(f"[...document.querySelectorAll('.choices tbody tr')].map({left})")
        assert len(rows) == 3, f"at a width of {width}"
        assert boxes == rows, f"at a width of {width}"


async def test_screen_readers_get_landmarks_headings_tables_and_names(day: Page) -> None:
    roles = [role for role, _ in await accessible(day)]
    assert roles.count("main") == 1
    assert {"banner", "search", "heading", "table", "rowheader", "columnheader", "list"} <= set(roles)
    levels = await day.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((e) => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert await day.evaluate(UNLABELLED) == 0
    assert await day.evaluate("document.querySelectorAll('[id]').length") == await day.evaluate(
        "new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size"
    )


async def test_everything_but_refresh_works_without_scripts(
    chromium: Browser, problems: list[str], world: World
) -> None:
    await bury(world, "user_7")
    async with operator_page(world) as url, open_page(chromium, problems, java_script_enabled=False) as page:
        await sign_in(page, url)
        names = [name for _, name in await accessible(page)]
        assert "Send selected again …" in names
        assert "Select all shown" not in names
    assert problems == []


async def test_injected_script_does_not_run(day: Page, problems: list[str]) -> None:
    await day.evaluate(
        "(() => { const s = document.createElement('script'); s.textContent = 'document.title = \"gone\"';"
        " document.body.append(s); })()"
    )
    assert await day.evaluate("document.title") != "gone"
    (problem,) = problems
    assert "Content Security Policy" in problem
    problems.clear()
