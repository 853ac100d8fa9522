"""The operator's page in a real browser: acted on by keyboard, renewed by itself, small, dark, readable."""

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from tests.browser.contrast import faint_texts
from tests.browser.tab import Tab
from tests.conftest import World, read_dead
from tests.e2e.processes import wait_until
from tests.integration.steps import change, seed
from tests.operator import bury, busy_day, operator_page, sign_in

FOCUSED = (
    "(() => { const e = document.activeElement, s = getComputedStyle(e);"
    " return [e.getAttribute('aria-label') || (e.labels && e.labels[0] || e).textContent.trim(),"
    " s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 1] })()"
)
HEADING = "document.querySelector('h1').textContent"
UNLABELLED = (
    "[...document.querySelectorAll('input:not([type=hidden]), button, select, a')].filter((e) =>"
    " !(e.labels && e.labels.length || e.textContent.trim() || e.ariaLabel || e.ariaHidden)).length"
)


@pytest.fixture
async def page(tab: Tab, world: World) -> AsyncIterator[Tab]:
    """A tab of an operator on a busy day; nothing may be wrong at the end."""
    await busy_day(world)
    async with operator_page(world) as url:
        await sign_in(tab, url)
        yield tab
    assert tab.problems == []


async def walk(tab: Tab, until: str, most: int = 40) -> list[str]:
    """Press Tab until the element with this name has the focus; the names on the way, each seen to have it."""
    names: list[str] = []
    while len(names) < most:
        await tab.press("Tab")
        name, is_seen = await tab.evaluate(FOCUSED)
        assert is_seen, f"the focus on {name} cannot be seen"
        names.append(name)
        if name == until:
            return names
    raise AssertionError(f"{until} is not among {names}")


async def test_the_first_key_offers_to_skip_to_the_content(page: Tab) -> None:
    assert await walk(page, "To the content") == ["To the content"]
    await page.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "content"


async def test_the_tab_key_goes_through_the_page_in_the_order_it_is_read(page: Tab) -> None:
    names = await walk(page, "Drop the chosen …")
    expected = ["To the content", "Customers in Autumn and in Stripe", "Sign out", "The customer's id in Autumn"]
    expected += ["Look at both services now", "Show", "The story of ann", "The story of user_40", "Choose all shown"]
    assert [name for name in names if name in expected] == expected


async def test_a_letter_is_sent_again_by_keyboard_alone(page: Tab, world: World) -> None:
    newest = (await read_dead(world.redis))[0]
    await walk(page, f"Letter {newest['id']} of org_3")
    await page.press("Space")
    await walk(page, "Send the chosen again …")
    await page.press("Enter")
    await page.has_loaded()
    assert await page.evaluate(HEADING) == "Send this dead letter again?"
    await walk(page, "Send again")
    await page.press("Enter")
    await page.has_loaded()
    assert await page.evaluate(HEADING) == "Sent again: 1"
    assert newest["id"] not in [each["id"] for each in await read_dead(world.redis)]


async def test_all_letters_can_be_chosen_at_once(page: Tab) -> None:
    await page.click("[data-choose-all]")
    assert await page.evaluate("document.querySelectorAll('[name=letter]:checked').length") == 3
    await page.click("[value=drop]")
    await page.has_loaded()
    assert await page.evaluate(HEADING) == "Drop these 3 dead letters for good?"


async def test_a_customer_is_looked_for_by_keyboard_and_its_id_stays_out_of_the_address(page: Tab) -> None:
    await walk(page, "The customer's id in Autumn")
    await page.type("user_40")
    await page.press("Enter")
    await page.has_loaded()
    assert await page.evaluate(HEADING) == "Customer user_40"
    assert "user_40" not in await page.evaluate("location.href")


async def test_the_numbers_renew_themselves(tab: Tab, world: World) -> None:
    seed(world, "ann")
    async with operator_page(world) as url:
        await sign_in(tab, url)
        await change(world, "ann", name="Ann")
        await world.run()

        async def shows_it() -> bool:
            applied: str = await tab.evaluate("document.querySelectorAll('.flow .many')[3].textContent")
            return applied == "1"

        await wait_until(shows_it, what="the number of applied events")
    assert tab.problems == []


async def test_a_page_that_cannot_be_renewed_says_that_it_is_old_until_it_can(tab: Tab, world: World) -> None:
    async with operator_page(world) as url:
        await sign_in(tab, url)

        async def says_so() -> bool:
            text: str = await tab.evaluate("document.querySelector('main').innerText")
            return "What stands below is old" in text

        assert not await says_so()
        await world.redis.client_pause(8000)
        await wait_until(says_so, what="that the page is old")

        async def is_renewed() -> bool:
            return not await says_so()

        await wait_until(is_renewed, what="the page anew")


async def test_nothing_is_renewed_under_the_hands_of_who_reads_a_table(page: Tab) -> None:
    await page.evaluate("(() => { const d = document.querySelector('#live details'); d.open = true; d.mark = 1; })()")
    # What must not happen would have happened by then: it is due every 5 s.
    await page.evaluate("new Promise((done) => setTimeout(done, 5600))")
    assert await page.evaluate("document.querySelector('#live details').mark") == 1


@pytest.mark.parametrize("dark", [False, True])
async def test_every_text_of_every_page_has_contrast(page: Tab, dark: bool) -> None:
    await page.show(dark=dark)
    assert await faint_texts(page) == []
    await page.click("[name=letter]")
    await page.click("[value=drop]")
    await page.has_loaded()
    assert await faint_texts(page) == []


@pytest.mark.parametrize("width", [320, 390, 768, 1024])
async def test_nothing_sticks_out_on_a_small_screen(page: Tab, width: int) -> None:
    await page.show(width=width, height=800)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_on_a_phone_everything_of_a_row_is_still_there(page: Tab) -> None:
    await page.show(width=390, height=800)
    hidden = "[...document.querySelectorAll('.list td')].filter((e) => e.textContent.trim() && !e.offsetHeight).length"
    assert await page.evaluate(hidden) == 0


@pytest.mark.parametrize("width", [390, 820])
async def test_where_a_row_is_a_block_what_chooses_it_begins_where_its_words_do(page: Tab, width: int) -> None:
    await page.show(width=width, height=800)
    left = "(e) => e.getBoundingClientRect().left"
    boxes = await page.evaluate(f"[...document.querySelectorAll('.choice input')].map({left})")
    rows = await page.evaluate(f"[...document.querySelectorAll('.choices tbody tr')].map({left})")
    assert len(rows) == 3
    assert boxes == rows


async def test_screen_readers_get_landmarks_headings_tables_and_names(page: Tab) -> None:
    tree = (await page.call("Accessibility.getFullAXTree"))["nodes"]
    roles = [node["role"]["value"] for node in tree if not node.get("ignored")]
    assert roles.count("main") == 1
    assert {"banner", "search", "heading", "table", "rowheader", "columnheader", "list"} <= set(roles)
    levels = await page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((e) => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert await page.evaluate(UNLABELLED) == 0
    assert await page.evaluate("document.querySelectorAll('[id]').length") == await page.evaluate(
        "new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size"
    )


async def test_without_scripts_everything_but_the_renewal_works(tab: Tab, world: World) -> None:
    await bury(world, "user_7")
    await tab.call("Emulation.setScriptExecutionDisabled", value=True)
    async with operator_page(world) as url:
        await sign_in(tab, url)
        tree = (await tab.call("Accessibility.getFullAXTree"))["nodes"]
        names = [node["name"]["value"] for node in tree if "name" in node and not node.get("ignored")]
        assert "Send the chosen again …" in names
        assert "Choose all shown" not in names


async def test_a_script_that_got_into_the_page_would_not_run(page: Tab) -> None:
    await page.evaluate(
        "(() => { const s = document.createElement('script'); s.textContent = 'document.title = \"gone\"';"
        " document.body.append(s); })()"
    )
    assert await page.evaluate("document.title") != "gone"
    (problem,) = page.problems
    assert "Content Security Policy" in problem
    page.problems.clear()
