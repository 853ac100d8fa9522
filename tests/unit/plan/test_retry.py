"""Whether and when a failure is tried again: one case a line, and the bounds as properties."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import Absent, GiveUp, Halt, TryAgain
from jobs.plan.retry import Again, Bury, History, decide, is_permanent

DAY = 86_400.0
FIRST = History(attempts=0, failing_seconds=0.0)


def fate(error: Exception, history: History = FIRST, seed: int = 0) -> Again | Bury:
    return decide(error, history, random.Random(seed))


@given(attempts=st.integers(0, 10_000), seed=st.integers(0, 1000), asked=st.none() | st.floats(0, 300))
def test_a_wait_is_never_shorter_than_asked_for_and_grows_up_to_five_minutes(
    attempts: int, seed: int, asked: float | None
) -> None:
    again = fate(TryAgain("autumn", "http_500", after_seconds=asked), History(attempts, 1.0), seed)
    assert isinstance(again, Again)
    longest = min(300.0, 2.0**attempts) if attempts < 20 else 300.0
    assert again.at_least_seconds == (asked or 0.0)
    assert (asked or 0.0) <= again.after_seconds <= (asked or 0.0) + longest


def test_waits_are_spread_out() -> None:
    waits = {fate(TryAgain("stripe", "rate_limit"), History(8, 1.0), seed) for seed in range(50)}
    assert len(waits) == 50


@pytest.mark.parametrize("error", [GiveUp("autumn", "customer_not_found"), Absent("autumn", "stripe_customer_missing")])
def test_a_refusal_for_good_is_buried_at_once(error: GiveUp | Absent) -> None:
    assert fate(error) == Bury(error.code, error.message)


@pytest.mark.parametrize("error", [Halt("autumn", "invalid_secret_key"), TryAgain("autumn", "http_500")])
def test_nothing_is_buried_for_what_its_service_does_wrong_however_long(error: Halt | TryAgain) -> None:
    assert isinstance(fate(error, History(10_000, 100 * DAY)), Again)


@pytest.mark.parametrize(
    ("code", "attempts", "others_work", "permanent"),
    [
        ("internal_error", 8, True, True),
        ("internal_error", 7, True, False),
        ("internal_error", 100, False, False),
        ("service_unavailable", 100, True, False),
    ],
)
def test_an_internal_error_that_stays_while_others_get_through_is_permanent(
    code: str, attempts: int, *, others_work: bool, permanent: bool
) -> None:
    assert is_permanent(TryAgain("autumn", code), attempts, others_work=others_work) == permanent


def test_an_unexpected_error_is_tried_a_few_times_and_then_buried_with_its_place_and_without_its_values() -> None:
    with pytest.raises(KeyError) as raised:
        _look_up("ann@example.com")
    assert all(isinstance(fate(raised.value, History(90, 1.0, unexpected)), Again) for unexpected in range(4))
    buried = fate(raised.value, History(0, 1.0, 4))
    assert isinstance(buried, Bury)
    assert buried.reason == "unexpected"
    assert buried.message.startswith("KeyError at plan/test_retry.py:")
    assert "ann@example.com" not in buried.message


def _look_up(key: str) -> str:
    return dict[str, str]()[key]
