"""Everything at a glance: what a snapshot comes to on a terminal and for machines."""

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


def lines(seen: Snapshot, **options: bool) -> list[str]:
    output = StringIO()
    console = Console(file=output, width=80)
    for line in snapshot_lines(seen, **options):
        console.print(line)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def minute(number: int, applied: int, stripe: int) -> Minute:
    return Minute(number, {"received": applied, "applied": applied, "dead": 0}, 3, {"stripe": stripe})


def waiting(customer: str, error: str = "") -> Standing:
    return Standing(customer, "waiting", NOW_MS, 1, f"{NOW_MS - 120_000}-0", CustomerRecord(last_error=error))


def test_an_idle_deployment_is_told_on_a_page_of_a_terminal() -> None:
    assert lines(snapshot()) == [
        "Everything is all right.",
        "5 customers being brought in sync.",
        "",
        "the way of the events",
        "  inbox         1  events not yet taken in",
        "  waiting       2  oldest change 5 seconds old",
        "  being synced  3  customers",
        "  applied       5  events, 2 merged into others",
        "  given up      0  dead letters",
        "",
        "the last 6 hours",
        "  Nothing was noted yet: a worker does that once a minute.",
        "",
        "what waits, and why",
        "  Nothing waits.",
        "",
        "dead letters: 0",
        "",
        "the last scans",
        "  There was none yet.",
        "",
        "counted since the beginning: applied 5, merged 2",
        "as of 2027-01-15T08:00:00+00:00, test mode",
    ]


def test_a_halt_is_told_with_what_to_mend_and_without_the_command_that_is_running() -> None:
    told = lines(snapshot(replace(OVERVIEW, breaker=HALT)))
    assert told[:2] == [
        "Syncs have been halted since 2027-01-15 07:59 UTC (autumn invalid_secret_key).",
        "Replace AUTUMN_SECRET_KEY.",
    ]


def test_when_redis_does_not_tell_any_more_nothing_is_said_to_be_all_right() -> None:
    told = lines(snapshot(), is_old=True)
    assert told[0] == "Redis does not answer within 2 s."
    assert "Everything is all right." not in told
    assert "  inbox         1  events not yet taken in" in told


def test_the_last_hours_are_drawn_with_their_most_and_their_last() -> None:
    minutes = [minute(MINUTE - 30, 0, 0), minute(MINUTE - 20, 40, 4800), minute(MINUTE, 50, 1200)]
    drawn = {line[2:22].strip(): line[22:] for line in lines(snapshot(minutes=minutes)) if line.startswith("  ")}
    assert drawn["applied"].split() == ["▁█", "▁", "40", "0"]
    assert drawn["Stripe, % of limit"].split() == ["▁█", "▃", "100", "25"]
    plain = [line for line in lines(snapshot(minutes=minutes), is_plain=True) if "applied  " in line][-1]
    assert plain.isascii()


def test_calls_against_a_limit_that_is_not_known_are_said_to_be_so() -> None:
    seen = snapshot(minutes=[minute(MINUTE, 1, 60)], rates={**RATES, "stripe": None}, mode=None)
    assert any(line.startswith("  Stripe, % of limit  not known without STRIPE_API_KEY") for line in lines(seen))
    assert snapshot_json(seen)["hours"]["steps"][0]["stripe_percent"] is None


@pytest.mark.parametrize(
    ("values", "top", "marks"),
    [([0, 1, 100, None], 100.0, "_17 "), ([200], 100.0, "7"), ([0, 0], None, "__"), ([], None, "")],
)
def test_a_mark_tells_nothing_from_little_and_little_from_not_known(
    values: list[float | None], top: float | None, marks: str
) -> None:
    assert sparkline(values, "_1234567", top) == marks


def test_who_waits_for_the_same_reason_stands_together() -> None:
    told = lines(snapshot(waiting=[waiting("ann"), waiting("bob", "timeout"), waiting("cid")]))
    assert "  ann (2 minutes), cid (2 minutes)" in told
    assert told[told.index("  ann (2 minutes), cid (2 minutes)") + 1] == "    waits for its next sync"
    assert any(line.startswith("    waits for another try at ") for line in told)
    many = lines(snapshot(waiting=[waiting(f"user_{number}") for number in range(WAITING_AT_MOST)]))
    assert f"what waits, and why: the {WAITING_AT_MOST} that have waited longest" in many


def test_dead_letters_and_scans_are_listed_without_what_was_said_and_steer_no_terminal() -> None:
    told = "\n".join(lines(snapshot(replace(OVERVIEW, dead=9), letters=[LETTER], runs=[RUN])))
    assert "dead letters: 9 (of the newest 1: too_long 1)" in told
    assert "bob\N{REPLACEMENT CHARACTER}[31m" in told
    assert "said something" not in told
    assert "failed (x)" in told


def test_machines_get_the_same_and_every_field_is_always_there() -> None:
    empty, full = (
        json.loads(json.dumps(snapshot_json(seen)))
        for seen in (
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
    told = snapshot_json(snapshot(replace(OVERVIEW, dead=4, newest_dead_ms=NOW_MS - 6, breaker=HALT)))
    assert (
        told.items()
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
