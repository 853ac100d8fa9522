"""Scan reports for tests of the report page: small, large and hostile ones."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from jobs.scan.report import Changed, ScanFinding, ScanReport, ScanRun

STARTED_MS = 1_795_576_620_000
DAY_MS = 86_400_000
FOUND_BEFORE = (31, 30, 34, 52, 47, 40, 38, 36, 33, 29, 26, 24, 21, 22)
SHAPES: Sequence[ScanFinding] = (
    ScanFinding("", "foreign", (), "", None, None, "metadata.autumn_id is user_7", "nothing: needs review", False),
    ScanFinding("", "gone", (), "", None, None, "the linked customer is deleted", "create one and link it", True),
    ScanFinding("", "orphan", (), "", None, None, "Autumn does not know the id", "nothing: needs review", False),
    ScanFinding("", "profile-drift", (), "email", "", None, "the addresses differ", "write email to Stripe", True),
    ScanFinding("", "profile-drift", (), "name", "", "", "the names differ", "write name to Stripe", True),
    ScanFinding("", "receipts-flag-drift", (), "send_email_receipts", "true", None, "not shown", "write it", True),
    ScanFinding("", "unlinked", (), "", None, None, "no stripe_id", "create one and link it", True),
)
NAMES = ("Ann Example", "Zoë Beispiel", "Иван Пример", "Ben d'Exemple")


def finding(number: int) -> ScanFinding:
    """Return the finding of this number. Every seventh is of the same kind."""
    shape = SHAPES[number % len(SHAPES)]
    stripe = () if shape.kind == "unlinked" else (f"cus_{number * 7_919 + 10**13:x}",)
    found = replace(shape, customer=f"user_{number}", stripe_ids=stripe)
    if found.field == "email":
        return replace(found, autumn=f"user_{number}@example.com", stripe=f"old_{number}@example.com")
    if found.field == "name":
        return replace(found, autumn=NAMES[number % len(NAMES)], stripe=NAMES[(number + 1) % len(NAMES)])
    return found


def report_of(findings: Sequence[ScanFinding], *, runs: int = len(FOUND_BEFORE)) -> ScanReport:
    """Return the report of a run with these findings, after a number of earlier runs."""
    before = tuple(
        replace(_run(number), started_ms=STARTED_MS - (number + 1) * DAY_MS, run=f"before-{number}")
        for number in range(runs)
    )
    repairable = sum(found.is_repairable for found in findings)
    this_run = ScanRun(
        run="scan-15",
        state="done",
        started_ms=STARTED_MS,
        ended_ms=STARTED_MS + 41_000,
        autumn_customers=10_240,
        stripe_customers=10_251,
        totals=dict(Counter(found.kind for found in findings)),
        repairable=repairable,
        requested=repairable,
        changed=Changed(new=6, fixed=4, still_there=18),
    )
    return ScanReport(this_run, sorted(findings, key=lambda found: (found.kind, found.customer)), before)


def _run(number: int) -> ScanRun:
    found = FOUND_BEFORE[-1 - number]
    return ScanRun("", "done", 0, 0, 10_200 - number * 3, 10_210, {"gone": found}, repairable=found * 2 // 3)
