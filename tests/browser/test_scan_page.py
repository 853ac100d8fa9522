"""The scan's report page in a real browser: search, sort, keyboard use, small screens, dark mode and print."""

import re
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.browser.chromium import accessible, open_page, overflowing
from tests.browser.contrast import faint_texts
from tests.browser.reports import finding, report_of
from worker.reports.html import write_page

ENDS_OF_COLUMNS = (
    "(() => {{ document.querySelector('details').open = true;"
    " return [...document.querySelectorAll('details tr:first-child {}.number')]"
    ".map((e) => Math.round(e.getBoundingClientRect().right)) }})()"
)
SHOWN = "document.getElementById('findings-shown').textContent"
ROWS = "document.querySelectorAll('#findings-rows tr').length"
FIRST = "document.querySelector('#findings-rows tr bdi.id:not(.soft)').textContent"
FOCUSED = (
    "(() => { const e = document.activeElement, s = getComputedStyle(e);"
    " return [e.id || e.textContent, s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 1] })()"
)
HOSTILE = "</script><img src=x onerror=\"document.title='gone'\"><b>\u202ebold\x00"
MANY = 100_000


pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def report(page: Page, tmp_path: Path) -> Page:
    """Open a report of 1,400 findings in a page."""
    write_page(report_of([finding(number) for number in range(1400)]), tmp_path / "report.html")
    await page.goto((tmp_path / "report.html").as_uri())
    return page


async def test_search_covers_all_columns_and_shows_the_count(report: Page) -> None:
    assert await report.evaluate(SHOWN) == "1 to 500 of 1,400 findings"
    await report.click("#findings-search")
    await report.keyboard.insert_text("USER_74 profile")
    assert await report.evaluate(SHOWN) == "3 findings found among 1,400"
    assert await report.evaluate(ROWS) == 3
    await report.keyboard.insert_text(" no such thing")
    assert await report.evaluate(SHOWN) == "0 findings found among 1,400"


async def test_findings_are_filtered_by_kind_and_repair(report: Page) -> None:
    await report.select_option("#findings-kind", "gone")
    assert await report.evaluate(SHOWN) == "200 findings found among 1,400"
    await report.select_option("#findings-by", "a person")
    assert await report.evaluate(SHOWN) == "0 findings found among 1,400"


async def test_column_sorts_both_ways_by_keyboard_and_announces_it(report: Page) -> None:
    await report.evaluate("document.querySelector('[data-cell=\"2\"] button').focus()")
    for order, first in (("ascending", "user_0"), ("descending", "user_1399")):
        await report.keyboard.press("Enter")
        assert await report.evaluate("document.querySelector('[data-cell=\"2\"]').ariaSort") == order
        assert await report.evaluate(FIRST) == first


async def test_paging_reaches_the_end_and_returns(report: Page) -> None:
    for shown in ("501 to 1,000 of 1,400 findings", "1,001 to 1,400 of 1,400 findings"):
        await report.click("#findings-on")
        assert await report.evaluate(SHOWN) == shown
    assert await report.evaluate("document.getElementById('findings-on').disabled")
    await report.click("#findings-back")
    assert await report.evaluate(SHOWN) == "501 to 1,000 of 1,400 findings"


async def test_tab_order_is_reading_order_with_visible_focus(report: Page) -> None:
    walked = []
    for _ in range(10):
        await report.keyboard.press("Tab")
        name, is_seen = await report.evaluate(FOCUSED)
        assert is_seen, name
        walked.append(name)
    columns = ["Kind", "Customer", "In Autumn", "In Stripe", "Reason, and what a sync would do", "Fixed by"]
    assert walked == ["These scans as a table", "findings-search", "findings-kind", "findings-by", *columns]


async def test_numbers_of_last_runs_align_with_their_headings(report: Page) -> None:
    headings = await report.evaluate(ENDS_OF_COLUMNS.format("th"))
    assert len(headings) == 4
    assert headings == await report.evaluate(ENDS_OF_COLUMNS.format("td"))


async def test_every_text_has_contrast(report: Page) -> None:
    assert await faint_texts(report) == {"light": [], "dark": []}


async def test_nothing_overflows_a_small_screen(report: Page) -> None:
    assert await overflowing(report, widths=(320, 390, 768)) == {}


async def test_tables_stay_tables_for_screen_readers_on_a_phone(report: Page) -> None:
    await report.set_viewport_size({"width": 390, "height": 800})
    roles = [role for role, _ in await accessible(report)]
    assert roles.count("rowheader") >= 500
    assert roles.count("columnheader") >= 6
    assert {"main", "search", "table", "status", "heading"} <= set(roles)


async def test_print_is_white_with_the_table_and_no_fields(report: Page) -> None:
    await report.emulate_media(media="print")
    assert await report.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert await report.evaluate("getComputedStyle(document.getElementById('findings-form')).display") == "none"
    assert await report.evaluate("getComputedStyle(document.querySelector('#findings thead')).display") != "none"
    pages = re.findall(rb"/Type\s*/Page\b", _readable(await report.pdf(format="A4")))
    assert len(pages) > 10


def _readable(pdf: bytes) -> bytes:
    """Return a PDF followed by its decompressed streams."""
    parts = [pdf]
    for packed in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            parts.append(zlib.decompressobj().decompress(packed))
        except zlib.error:
            continue
    return b"".join(parts)


async def test_hostile_customers_are_shown_as_text(page: Page, tmp_path: Path) -> None:
    hostile = replace(finding(4), customer=HOSTILE, autumn=HOSTILE, reason=HOSTILE)
    write_page(report_of([hostile, *map(finding, range(600))]), tmp_path / "report.html")
    await page.goto((tmp_path / "report.html").as_uri())
    await page.click("#findings-search")
    await page.keyboard.insert_text("onerror")
    assert await page.evaluate(SHOWN) == "1 finding found among 601"
    assert await page.evaluate(FIRST) == HOSTILE.replace("\u202e", "\\u202e").replace("\x00", "\\u0000")
    assert (await page.evaluate("document.title")).startswith("Scan of")
    assert await page.evaluate("document.images.length") == 0


async def test_content_policy_blocks_injected_content(report: Page, problems: list[str]) -> None:
    await report.evaluate(
        "(() => { const s = document.createElement('style'); s.textContent = 'body { display: none }';"
        " document.head.append(s); })()"
    )
    assert await report.evaluate("getComputedStyle(document.body).display") == "block"
    (problem,) = problems
    assert "Content Security Policy" in problem
    problems.clear()


async def test_first_findings_show_without_the_script(chromium: Browser, problems: list[str], tmp_path: Path) -> None:
    write_page(report_of([finding(number) for number in range(1400)]), tmp_path / "report.html")
    async with open_page(chromium, problems, java_script_enabled=False) as page:
        await page.goto((tmp_path / "report.html").as_uri())
        roles = [role for role, _ in await accessible(page)]
    assert roles.count("rowheader") >= 500
    assert "searchbox" not in roles


async def test_hundred_thousand_findings_are_searched_with_few_rows_shown(page: Page, tmp_path: Path) -> None:
    """A search or sort of quadratic cost would exceed the test's time-out."""
    write_page(report_of([finding(number) for number in range(MANY + 5)]), tmp_path / "report.html")
    await page.goto((tmp_path / "report.html").as_uri())
    assert await page.evaluate("document.body.textContent.includes('This page contains the first 100,000.')")
    assert await page.evaluate(ROWS) == 500
    search = "const e = document.getElementById('findings-search'); e.value = '{}'; e.dispatchEvent(new Event('input'))"
    await page.evaluate(f"(() => {{ {search.format('9999')} }})()")
    assert 0 < await page.evaluate(ROWS) < 500
    await page.evaluate(f"(() => {{ {search.format('')} }})()")
    assert await page.evaluate(ROWS) == 500
    await page.evaluate("document.querySelector('[data-cell=\"2\"] button').click()")
    assert await page.evaluate(ROWS) == 500
    assert await page.evaluate(FIRST) == "user_0"
