"""Whether and when a failure is tried again: one case a line, and the bounds as properties."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import Absent, GiveUp, Halt, TryAgain
from jobs.retry import Again, Bury, History, decide

DAY = 86_400.0
FIRST = History(attempts=0, failing_seconds=0.0)


def fate(error: Exception, history: History = FIRST, seed: int = 0) -> Again | Bury:
    return decide(error, history, DAY, random.Random(seed))


@given(attempts=st.integers(0, 10_000), seed=st.integers(0, 1000), asked=st.none() | st.floats(0, 300))
def test_a_wait_is_never_shorter_than_asked_for_and_grows_up_to_five_minutes(
    attempts: int, seed: int, asked: float | None
) -> None:
    again = fate(TryAgain("autumn", "http_500", after_seconds=asked), History(attempts, 1.0), seed)
    assert isinstance(again, Again)
    longest = min(300.0, 2.0**attempts) if attempts < 20 else 300.0
    assert (asked or 0.0) <= again.after_seconds <= (asked or 0.0) + longest
    assert again.counts


def test_waits_are_spread_out() -> None:
    waits = {fate(TryAgain("stripe", "rate_limit"), History(8, 1.0), seed) for seed in range(50)}
    assert len(waits) == 50


def test_what_fails_too_long_is_buried() -> None:
    assert isinstance(fate(TryAgain("stripe", "rate_limit"), History(3, DAY - 1)), Again)
    buried = fate(TryAgain("stripe", "rate_limit"), History(900, DAY))
    assert isinstance(buried, Bury)
    assert buried.reason == "rate_limit"


@pytest.mark.parametrize("error", [GiveUp("autumn", "customer_not_found"), Absent("autumn", "stripe_customer_missing")])
def test_a_refusal_for_good_is_buried_at_once(error: GiveUp | Absent) -> None:
    assert fate(error) == Bury(error.code, error.message)


def test_a_halt_buries_nothing_however_long_it_takes_and_counts_no_try() -> None:
    again = fate(Halt("autumn", "invalid_secret_key"), History(10_000, 100 * DAY))
    assert isinstance(again, Again)
    assert not again.counts
    assert again.after_seconds <= 60


def test_an_unexpected_error_is_tried_a_few_times_and_then_buried_with_its_place_and_without_its_values() -> None:
    with pytest.raises(KeyError) as raised:
        _look_up("ann@example.com")
    assert all(isinstance(fate(raised.value, History(attempts, 1.0)), Again) for attempts in range(4))
    buried = fate(raised.value, History(4, 1.0))
    assert isinstance(buried, Bury)
    assert buried.reason == "unexpected"
    assert buried.message.startswith("KeyError at test_retry.py:")
    assert "ann@example.com" not in buried.message


def _look_up(key: str) -> str:
    return dict[str, str]()[key]
