"""A snapshot on a terminal and as JSON."""

import json
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from jobs.queue.breaker import OpenBreaker
from jobs.queue.dead_letters import DeadLetter
from jobs.queue.record import CustomerRecord
from jobs.queue.status import Overview, Standing
from jobs.scan.report import Changed, ScanRun
from tests.support.overviews import IDLE, NOW_MS
from worker.status.history import Minute
from worker.status.json import snapshot_json
from worker.status.shared_state import ScanState, SharedState
from worker.status.snapshot import WAITING_AT_MOST, Snapshot
from worker.status.terminal import snapshot_lines, sparkline

MINUTE = NOW_MS // 60_000
OVERVIEW = replace(
    IDLE, inbox=1, waiting=2, working=3, oldest_sent_ms=NOW_MS - 5_000, totals={"applied": 5, "merged": 2}
)
NO_SCAN = ScanState(last=None, last_done=None, began_ms=None, is_overdue=True)
HALT = OpenBreaker("halt", NOW_MS - 60_000, "autumn", "invalid_secret_key", "Replace AUTUMN_SECRET_KEY.")
RATES: dict[str, float | None] = {"autumn-updates": 20.0, "stripe": 80.0}
LETTER = DeadLetter(
    "7-0", "5-0", "bob\x1b[31m", "too_long", "said something", 2, None, NOW_MS - 9_000, {b"sent": b"secret"}
)
RUN = ScanRun(
    "one", "failed", NOW_MS, NOW_MS + 1, 10, 9, {"unlinked": 3}, requested=2, changed=Changed(1, 2, 0), error="x"
)


def snapshot(overview: Overview = OVERVIEW, **more: Any) -> Snapshot:
    nothing = {"minutes": (), "waiting": (), "letters": (), "runs": (), "rates": RATES, "mode": "test"}
    return Snapshot(state=SharedState(overview, {"stripe": 0.5}, NO_SCAN), **{**nothing, **more})


def lines(read: Snapshot, **options: bool) -> list[str]:
    output = StringIO()
    console = Console(file=output, width=80)
    for line in snapshot_lines(read, **options):
        console.print(line)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def minute(number: int, applied: int, stripe: int) -> Minute:
    return Minute(number, {"received": applied, "applied": applied, "dead": 0}, 3, {"stripe": stripe})


def waiting(customer: str, error: str = "") -> Standing:
    return Standing(customer, "waiting", NOW_MS, 1, f"{NOW_MS - 120_000}-0", CustomerRecord(last_error=error))


def test_idle_deployment_fits_on_one_screen() -> None:
    assert lines(snapshot()) == [
        "Everything is all right.",
        "5 customers being brought in sync.",
        "",
        "flow of events",
        "  inbox         1  events not yet in a mailbox",
        "  waiting       2  oldest event 5 seconds old",
        "  being synced  3  customers",
        "  applied       5  events, 2 merged into others",
        "  dead letters  0  events",
        "  Stripe's events: not read yet",
        "",
        "the last 6 hours",
        "  No data yet. A worker adds some once a minute.",
        "",
        "waiting customers",
        "  None.",
        "",
        "dead letters: 0",
        "",
        "last scans",
        "  None yet.",
        "",
        "totals since the beginning: applied 5, merged 2",
        "as of 2027-01-15T08:00:00+00:00, test mode",
    ]


def test_totals_of_the_watch_are_added_up_by_outcome() -> None:
    totals = {
        "applied": 5,
        "watch:customer.updated:own": 2,
        "watch:customer.deleted:own": 1,
        "watch:customer.updated:now": 4,
    }
    output = lines(snapshot(replace(OVERVIEW, totals=totals)))
    assert "totals since the beginning: applied 5" in output
    assert "events of Stripe, by what they led to: now 4, own 3" in output


def test_halt_is_shown_with_its_fix_and_without_command() -> None:
    output = lines(snapshot(replace(OVERVIEW, breaker=HALT)))
    assert output[:2] == [
        "Syncs have been halted since 2027-01-15 07:59 UTC (autumn invalid_secret_key).",
        "Replace AUTUMN_SECRET_KEY.",
    ]


def test_old_snapshot_begins_with_fault_of_redis() -> None:
    output = lines(snapshot(), is_old=True)
    assert output[0] == "Redis does not answer within 2 s."
    assert "Everything is all right." not in output
    assert "  inbox         1  events not yet in a mailbox" in output


def test_last_hours_are_drawn_with_maximum_and_last_value() -> None:
    minutes = [minute(MINUTE - 30, 0, 0), minute(MINUTE - 20, 40, 4800), minute(MINUTE, 50, 1200)]
    drawn = {line[2:22].strip(): line[22:] for line in lines(snapshot(minutes=minutes)) if line.startswith("  ")}
    assert drawn["applied"].split() == ["▁█", "▁", "40", "0"]
    assert drawn["Stripe, % of limit"].split() == ["▁█", "▃", "100", "25"]
    plain = [line for line in lines(snapshot(minutes=minutes), is_plain=True) if "applied  " in line][-1]
    assert plain.isascii()


def test_unknown_rate_limit_is_shown_as_not_known() -> None:
    read = snapshot(minutes=[minute(MINUTE, 1, 60)], rates={**RATES, "stripe": None}, mode=None)
    assert any(line.startswith("  Stripe, % of limit  not known without STRIPE_API_KEY") for line in lines(read))
    assert snapshot_json(read)["hours"]["steps"][0]["stripe_percent"] is None


@pytest.mark.parametrize(
    ("values", "top", "marks"),
    [([0, 1, 100, None], 100.0, "_17 "), ([200], 100.0, "7"), ([0, 0], None, "__"), ([], None, "")],
)
def test_marks_distinguish_zero_small_and_unknown_values(
    values: list[float | None], top: float | None, marks: str
) -> None:
    assert sparkline(values, "_1234567", top) == marks


def test_waiting_customers_are_grouped_by_reason() -> None:
    output = lines(snapshot(waiting=[waiting("ann"), waiting("bob", "timeout"), waiting("cid")]))
    assert "  ann (2 minutes), cid (2 minutes)" in output
    assert output[output.index("  ann (2 minutes), cid (2 minutes)") + 1] == "    waits for its next sync"
    assert any(line.startswith("    waits for another try at ") for line in output)
    many = lines(snapshot(waiting=[waiting(f"user_{number}") for number in range(WAITING_AT_MOST)]))
    assert f"waiting customers: the {WAITING_AT_MOST} that have waited longest" in many


def test_dead_letters_and_scans_are_listed_in_safe_text() -> None:
    output = "\n".join(lines(snapshot(replace(OVERVIEW, dead=9), letters=[LETTER], runs=[RUN])))
    assert "dead letters: 9 (of the newest 1: too_long 1)" in output
    assert "bob\N{REPLACEMENT CHARACTER}[31m" in output
    assert "said something" not in output
    assert "failed (x)" in output


def test_json_has_every_field_and_same_verdict() -> None:
    empty, full = (
        json.loads(json.dumps(snapshot_json(read)))
        for read in (
            snapshot(),
            snapshot(replace(OVERVIEW, breaker=HALT), letters=[LETTER], runs=[RUN], waiting=[waiting("a")]),
        )
    )
    assert empty.keys() == full.keys()
    assert (empty["verdict"], empty["reasons"]) == ("all-right", [])
    assert empty["sentence"] == "Everything is all right. 5 customers being brought in sync."
    assert full["verdict"] == "needs-a-person"
    assert [reason["alert"] for reason in full["reasons"]] == ["CustomerSyncHalted"]
    assert full["longest_waiting"][0]["sentence"] == "waits for its next sync"
    assert (full["newest_dead_letters"][0]["customer"], full["dead_letter_reasons"]) == (
        LETTER.customer,
        {"too_long": 1},
    )
    assert "said something" not in json.dumps(full)
    assert (full["scans"][0]["state"], full["scans"][0]["new"], full["scans"][0]["findings"]) == ("failed", 1, 3)
    outage = replace(OVERVIEW, breaker=replace(HALT, kind="outage", message=""))
    assert snapshot_json(snapshot(outage))["verdict"] == "waiting"


def test_json_has_the_expected_fields() -> None:
    output = snapshot_json(snapshot(replace(OVERVIEW, dead=4, newest_dead_ms=NOW_MS - 6, breaker=HALT)))
    assert (
        output.items()
        >= {
            "inbox": 1,
            "waiting": 2,
            "working": 3,
            "dead_letters": 4,
            "oldest_sent_ms": NOW_MS - 5_000,
            "last_success_ms": None,
            "newest_dead_letter_ms": NOW_MS - 6,
            "breaker": {
                "kind": "halt",
                "since_ms": NOW_MS - 60_000,
                "service": "autumn",
                "reason": "invalid_secret_key",
                "message": "Replace AUTUMN_SECRET_KEY.",
            },
            "totals": {"applied": 5, "merged": 2},
        }.items()
    )
