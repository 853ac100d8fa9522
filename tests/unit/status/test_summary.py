"""The headline of the operator's page and of `customer-sync status` names every fault."""

from dataclasses import replace

import pytest

from jobs.queue.breaker import OpenBreaker
from jobs.queue.status import Overview
from jobs.scan.report import ScanRun
from tests.support.overviews import IDLE, NOW_MS
from worker.status.health import OUTAGE_SECONDS
from worker.status.shared_state import ScanState, SharedState
from worker.status.summary import Headline, headline_of

HALT = OpenBreaker("halt", NOW_MS, "stripe", "invalid_key", "Stripe refuses STRIPE_API_KEY: set one that is valid")
REFUSED = ScanRun("one", "refused", NOW_MS, NOW_MS, 1, 1)
SCANNED = ScanState(last=replace(REFUSED, state="done"), last_done=None, began_ms=NOW_MS, is_overdue=False)


STRIPE_FAILS = (
    "Stripe has been failing since 2027-01-15 07:59 UTC (http_503). Retrying one customer at a time until it recovers."
)


def outage(seconds: float) -> Overview:
    return replace(IDLE, breaker=OpenBreaker("outage", NOW_MS - int(seconds * 1000), "stripe", "http_503", ""))


def test_new_outage_is_shown_as_warning() -> None:
    headline = headline_of(SharedState(outage(2), {}, SCANNED))
    assert (headline.kind, headline.text) == ("warn", STRIPE_FAILS)


def test_new_outage_is_shown_beside_other_faults() -> None:
    headline = headline_of(SharedState(outage(2), {}, replace(SCANNED, last=REFUSED)))
    assert (headline.kind, headline.text) == ("bad", "The last scan was refused, because it would change too much.")
    assert headline.more == STRIPE_FAILS


def test_long_outage_is_shown_once() -> None:
    headline = headline_of(SharedState(outage(OUTAGE_SECONDS + 1), {}, SCANNED))
    assert headline == Headline("bad", STRIPE_FAILS.replace("07:59", "07:54"))


def test_fix_of_halt_is_shown_beside_other_faults() -> None:
    headline = headline_of(SharedState(replace(IDLE, breaker=HALT), {}, replace(SCANNED, is_overdue=True)))
    assert headline.text == "Syncs have been halted since 2027-01-15 08:00 UTC (stripe invalid_key)."
    assert headline.more == f"{HALT.message}. A scan is overdue; check that a scanner runs."


@pytest.mark.parametrize("scan", [replace(SCANNED, is_overdue=True), replace(SCANNED, last=REFUSED)])
def test_headline_ends_with_one_full_stop(scan: ScanState) -> None:
    headline = headline_of(SharedState(IDLE, {}, scan))
    assert headline.text.rstrip(".?") == headline.text[:-1]
