"""A scan's report as one HTML page that loads nothing: no network, no fonts, and only its own script.

The page contains personal data, so only its owner may read the file, and nothing of it is logged.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from markupsafe import Markup

from jobs.scan.report import INFORMATION, ScanFinding, ScanReport, ScanRun
from worker.formatting import utc
from worker.reports.files import private_file
from worker.status.summary import Headline
from worker.web.charts import Series, bar, columns, swatch
from worker.web.rendering import asset, json_for_script, source_of, templates, visible

ROWS_AT_MOST = 100_000
"""The most findings on a page: about 25 MB, which a browser opens in a second or two. More are only counted."""
ROWS_WITHOUT_SCRIPT = 500
"""The findings in the document before the script runs: one page of the table."""
RUNS_AT_MOST = 30
BUFFERED_PIECES = 1000
STYLE, SCRIPT = "page.css", "findings.js"


def write_page(report: ScanReport, path: Path) -> None:
    """Write the report to `path` as HTML, readable only by its owner. A failed write leaves no file.

    Raises: OSError.
    """
    with private_file(path) as file:
        pieces = templates().get_template("scan.html").stream(**_values(report))
        pieces.enable_buffering(BUFFERED_PIECES)
        file.writelines(pieces)


def policy() -> str:
    """Return the page's content security policy, which allows only its own style sheet and script."""
    return (
        f"default-src 'none'; style-src {source_of(asset(STYLE))}; script-src {source_of(asset(SCRIPT))}; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def headline_of(run: ScanRun, for_people: int) -> Headline:
    """Return the headline of a scan. Only a person can fix `for_people` of its findings."""
    if run.state in {"refused", "failed"}:
        text = "This scan requested no reconcile." if run.state == "refused" else f"This scan failed: {run.error}."
        return Headline("bad", text, run.text)
    if run.state == "running":
        return Headline("warn", "This scan is still running.")
    seen = f"{run.autumn_customers:,} customers in Autumn and {run.stripe_customers:,} in Stripe"
    if not run.drift and not run.not_checked:
        found = f"Findings that need no action: {run.findings:,}. There are no other findings" if run.findings else ""
        return Headline("good", "Both sides agree.", f"{found or 'There are no findings'} among {seen}.")
    parts = [f"A sync can repair {_so_many(run.repairable, 'customer')}. Reconciles requested: {run.requested:,}."]
    if run.left_out:
        parts.append(f"Left out: {_so_many(run.left_out, 'customer')} with events that wait, or that were just synced.")
    if run.not_checked:
        parts.append(
            f"Not checked: {_so_many(run.not_checked, 'customer')}, because Stripe's list lacks the linked customer."
        )
    if for_people:
        parts.append(f"{_so_many(for_people, 'finding')} can only be fixed by a person.")
    return Headline("warn", f"{_so_many(run.findings, 'finding')} among {seen}.", " ".join(parts))


def _so_many(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _values(report: ScanReport) -> dict[str, object]:
    run = report.this_run
    for_people = sum(not each.is_repairable and each.kind not in INFORMATION for each in report.findings)
    runs = _comparable(report)
    most = max(run.totals.values(), default=0)
    return {
        "policy": policy(),
        "style": STYLE,
        "script": SCRIPT,
        "run": run,
        "headline": headline_of(run, for_people),
        "for_people": for_people,
        "kinds": [(kind, number, bar(number, most)) for kind, number in Counter(run.totals).most_common() if number],
        "runs": runs,
        "chart": _chart(runs),
        "swatches": [swatch(0), swatch(1)],
        "rows": map(cells, islice(report.findings, ROWS_WITHOUT_SCRIPT)),
        "data": _data(report),
        "rows_at_most": ROWS_AT_MOST,
        "rows_without_script": ROWS_WITHOUT_SCRIPT,
    }


def _comparable(report: ScanReport) -> list[ScanRun]:
    """Return the finished scans with the same scope, this one last."""
    runs = [report.this_run, *report.before]
    alike = [run for run in runs if run.scope == report.this_run.scope and run.state in {"done", "refused"}]
    return alike[RUNS_AT_MOST - 1 :: -1]


def _chart(runs: Sequence[ScanRun]) -> Markup:
    labels = [utc(run.started_ms).strftime("%m-%d %H:%M") for run in runs]
    found = Series("findings", [run.findings for run in runs])
    repairable = Series("customers to repair", [run.repairable for run in runs])
    return columns(labels, [found, repairable])


def cells(finding: ScanFinding) -> list[str | None]:
    """Return the texts of a row, in the order of the template. None if a side has no value to compare."""
    nothing = None if finding.field else ""
    return [
        finding.kind,
        visible(finding.field),
        visible(finding.customer),
        visible(" ".join(finding.stripe_ids)),
        nothing if finding.autumn is None else visible(finding.autumn),
        nothing if finding.stripe is None else visible(finding.stripe),
        visible(finding.reason),
        visible(finding.would),
        "a sync" if finding.is_repairable else "a person",
    ]


def _data(report: ScanReport) -> Iterator[Markup]:
    """Yield the rows as parts of a JSON array."""
    yield Markup("[")
    for number, finding in enumerate(islice(report.findings, ROWS_AT_MOST)):
        if number:
            yield Markup(",\n")
        yield json_for_script(cells(finding))
    yield Markup("]")
