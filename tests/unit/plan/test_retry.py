"""Retries of failed syncs: when, and when not."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import Absent, GiveUp, Halt, TryAgain
from jobs.plan.retry import DeadLettered, History, Retry, decide, is_permanent

DAY = 86_400.0
FIRST = History(attempts=0, failing_seconds=0.0)


def outcome_of(error: Exception, history: History = FIRST, seed: int = 0) -> Retry | DeadLettered:
    return decide(error, history, random.Random(seed))


@given(attempts=st.integers(0, 10_000), seed=st.integers(0, 1000), required=st.none() | st.floats(0, 300))
def test_wait_respects_the_service_and_grows_to_five_minutes(attempts: int, seed: int, required: float | None) -> None:
    retry = outcome_of(TryAgain("autumn", "http_500", after_seconds=required), History(attempts, 1.0), seed)
    assert isinstance(retry, Retry)
    longest = min(300.0, 2.0**attempts) if attempts < 20 else 300.0
    assert retry.at_least_seconds == (required or 0.0)
    assert (required or 0.0) <= retry.after_seconds <= (required or 0.0) + longest


def test_waits_have_jitter() -> None:
    waits = {outcome_of(TryAgain("stripe", "rate_limit"), History(8, 1.0), seed) for seed in range(50)}
    assert len(waits) == 50


@pytest.mark.parametrize("error", [GiveUp("autumn", "customer_not_found"), Absent("autumn", "stripe_customer_missing")])
def test_permanent_refusal_is_dead_lettered_at_once(error: GiveUp | Absent) -> None:
    assert outcome_of(error) == DeadLettered(error.code, error.message)


@pytest.mark.parametrize("error", [Halt("autumn", "invalid_key", "Set a key"), TryAgain("autumn", "http_500")])
def test_failure_of_a_service_is_retried_however_long(error: Halt | TryAgain) -> None:
    assert isinstance(outcome_of(error, History(10_000, 100 * DAY)), Retry)


@pytest.mark.parametrize(
    ("code", "attempts", "others_work", "permanent"),
    [
        ("internal_error", 8, True, True),
        ("internal_error", 7, True, False),
        ("internal_error", 100, False, False),
        ("service_unavailable", 100, True, False),
    ],
)
def test_internal_error_is_permanent_if_other_customers_work(
    code: str, attempts: int, *, others_work: bool, permanent: bool
) -> None:
    assert is_permanent(TryAgain("autumn", code), attempts, others_work=others_work) == permanent


def test_unexpected_error_is_dead_lettered_after_five_tries_without_values() -> None:
    with pytest.raises(KeyError) as raised:
        _look_up("ann@example.com")
    assert all(isinstance(outcome_of(raised.value, History(90, 1.0, unexpected)), Retry) for unexpected in range(4))
    dead_lettered = outcome_of(raised.value, History(0, 1.0, 4))
    assert isinstance(dead_lettered, DeadLettered)
    assert dead_lettered.reason == "unexpected"
    assert dead_lettered.message.startswith("KeyError at plan/test_retry.py:")
    assert "ann@example.com" not in dead_lettered.message


def _look_up(key: str) -> str:
    return dict[str, str]()[key]
