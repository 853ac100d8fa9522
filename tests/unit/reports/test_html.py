"""The scan's report page as a document: its structure, its policy, and the escaping of customers' values."""

import json
import re
import stat
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.scan.report import ScanFinding, ScanReport, ScanRun
from tests.browser.reports import finding, report_of
from worker.reports.html import headline_of, write_page
from worker.web.rendering import source_of

HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202egnp\x00\ud800&lt;{{ 7*7 }}<!--"
VOID = {"meta", "input", "img", "br", "link"}


class Document(HTMLParser):
    """The elements of a page with their attributes, and the texts of styles and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.raw: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"script", "style"}:
            self.raw.append((self.open[-1], data))
        elif self.open and self.open[-1] == "bdi":
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(report: ScanReport, folder: Path) -> tuple[str, Document]:
    path = folder / "report.html"
    write_page(report, path)
    text = path.read_text(encoding="utf-8")
    return text, Document(text)


def rows_of(document: Document) -> list[list[str | None]]:
    (data,) = [text for _, text in document.raw if text.startswith("[")]
    rows: list[list[str | None]] = json.loads(data)
    return rows


def test_page_has_one_heading_per_part_and_labelled_fields(tmp_path: Path) -> None:
    _, document = page_of(report_of([finding(number) for number in range(20)]), tmp_path)
    tags = [tag for tag, _ in document.elements]
    assert (tags.count("h1"), tags.count("main")) == (1, 1)
    assert tags.count("h2") == 4
    assert document.all("html") == [{"lang": "en"}]
    assert not document.open, "an element is not closed"
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [attributes["aria-labelledby"] for _, attributes in document.elements if "aria-labelledby" in attributes]
    assert set(named) <= set(ids)
    assert tags.count("label") == tags.count("input") + tags.count("select")
    assert all("scope" in header for header in document.all("th"))


def test_page_requests_nothing_from_a_network(tmp_path: Path) -> None:
    text, document = page_of(report_of([finding(1)]), tmp_path)
    linked = [name for _, attributes in document.elements for name in attributes if name in {"src", "href", "action"}]
    assert linked == []
    assert not re.search(r"https?://|url\(|@import", text)


def test_policy_allows_only_the_pages_own_style_and_script(tmp_path: Path) -> None:
    _, document = page_of(report_of([finding(1)]), tmp_path)
    (policy,) = [
        meta["content"] for meta in document.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    (style,) = [text for tag, text in document.raw if tag == "style"]
    (script,) = [text for tag, text in document.raw if tag == "script" and not text.startswith("[")]
    assert f"style-src {source_of(style)};" in policy
    assert f"script-src {source_of(script)};" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert [
        name for _, attributes in document.elements for name in attributes if name.startswith(("on", "style"))
    ] == []


def test_hostile_values_are_text_with_visible_hidden_characters(tmp_path: Path) -> None:
    hostile = ScanFinding(HOSTILE, "profile-drift", (HOSTILE,), HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, True)
    calm = page_of(report_of([finding(3)]), tmp_path)[1]
    text, document = page_of(report_of([hostile]), tmp_path)
    assert [tag for tag, _ in document.elements] == [tag for tag, _ in calm.elements]
    shown = HOSTILE.replace("\u202e", "\\u202e").replace("\x00", "\\u0000").replace("\ud800", "\\ud800")
    assert rows_of(document) == [["profile-drift", *[shown] * 7, "a sync"]]
    assert document.texts.count(shown) == 7
    assert not set(text) & {"\u202e", "\x00", "\ud800"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(value=st.text(st.characters(categories=None)), other=st.text(st.sampled_from("<>&\"'/!-scriptylbd\n\x00\u2028")))
def test_customer_name_never_changes_document_structure(tmp_path: Path, value: str, other: str) -> None:
    tags = []
    for name, text in (("Ann", "Ben"), (value, other)):
        found = replace(finding(4), customer=name, autumn=text, stripe=name, reason=text, stripe_ids=(text,))
        _, document = page_of(report_of([found]), tmp_path)
        assert len(rows_of(document)) == 1
        tags.append([tag for tag, _ in document.elements])
    assert tags[0] == tags[1]


def test_text_of_any_language_is_unchanged(tmp_path: Path) -> None:
    name = "می\N{ZERO WIDTH NON-JOINER}خواهم Zoë 山田\N{NO-BREAK SPACE}太郎 👩\N{ZERO WIDTH JOINER}💻"
    _, document = page_of(report_of([replace(finding(4), autumn=name)]), tmp_path)
    assert rows_of(document)[0][4] == name


def test_missing_value_and_empty_value_differ(tmp_path: Path) -> None:
    _, document = page_of(report_of([replace(finding(3), autumn="", stripe=None)]), tmp_path)
    assert rows_of(document)[0][4:6] == ["", None]
    assert document.texts.count("none") == 1


def test_file_is_owner_only_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    page_of(report_of([finding(1)]), tmp_path)
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_failed_report_keeps_the_previous_file(tmp_path: Path) -> None:
    class Gone:
        def __iter__(self) -> "Gone":
            raise OSError("the findings are gone")

    path = tmp_path / "report.html"
    path.write_text("the one before", encoding="utf-8")
    whole = report_of([finding(1)])
    with pytest.raises(OSError, match="the findings are gone"):
        write_page(replace(whole, findings=Gone()), path)  # type: ignore[arg-type]  # that is what breaks
    assert path.read_text(encoding="utf-8") == "the one before"
    assert list(tmp_path.iterdir()) == [path]


def test_runs_over_other_customers_are_not_compared(tmp_path: Path) -> None:
    whole = report_of([finding(1)], runs=2)
    before = (replace(whole.before[0], scope="customers of June"), replace(whole.before[1], state="failed"))
    text, _ = page_of(replace(whole, before=before), tmp_path)
    assert "There is no earlier scan to compare with." in text


def test_limits_of_the_run_are_shown_as_options(tmp_path: Path) -> None:
    whole = report_of([finding(1)])
    text, _ = page_of(replace(whole, this_run=replace(whole.this_run, scope="only gone, foreign")), tmp_path)
    assert " 41 s (only gone, foreign)</p>" in text


def test_without_findings_there_is_no_table_and_no_script(tmp_path: Path) -> None:
    text, document = page_of(report_of([]), tmp_path)
    assert "Both sides agree." in text
    assert document.all("script") == []


def test_customers_of_other_processors_need_no_person(tmp_path: Path) -> None:
    elsewhere = replace(finding(1), kind="billed-elsewhere", is_repairable=False)
    text, _ = page_of(report_of([elsewhere, replace(finding(2), kind="gone", is_repairable=False)]), tmp_path)
    assert "1 finding can only be fixed by a person." in text


RUN = ScanRun("1", "done", 0, 0, 1000, 1001, {"gone": 2}, repairable=1, requested=1)


@pytest.mark.parametrize(
    ("run", "kind", "text", "more"),
    [
        (replace(RUN, totals={}), "good", "Both sides agree.", "There are no findings among 1,000 customers in Autumn"),
        (
            RUN,
            "warn",
            "2 findings among 1,000 customers in Autumn and 1,001 in Stripe.",
            "A sync can repair 1 customer",
        ),
        (RUN, "warn", "2 findings", "3 findings can only be fixed by a person."),
        (
            replace(RUN, totals={"billed-elsewhere": 2}),
            "good",
            "Both sides agree.",
            "Findings that need no action: 2. There are no other",
        ),
        (replace(RUN, left_out=2), "warn", "2 findings", "Left out: 2 customers with events that wait"),
        (replace(RUN, totals={}, not_checked=1), "warn", "0 findings", "Not checked: 1 customer"),
        (replace(RUN, state="refused", text="Too many."), "bad", "This scan requested no reconcile.", "Too many."),
        (replace(RUN, state="failed", error="timeout"), "bad", "This scan failed: timeout.", ""),
        (replace(RUN, state="running"), "warn", "This scan is still running.", ""),
    ],
)
def test_first_sentence_sums_up_the_run(run: ScanRun, kind: str, text: str, more: str) -> None:
    headline = headline_of(run, for_people=3)
    assert headline.kind == kind
    assert headline.text.startswith(text)
    assert more in headline.more
