"""Dependencies between checks, and the verdicts on latency and clocks, without a service."""

import pytest

from worker.checks.check import Check, Checkup, Found
from worker.checks.redis import judge_clock, judge_latency


async def _fine(_: None) -> Found:
    return Found("ok", "fine")


async def _raises(_: None) -> Found:
    raise ConnectionError("no")


def _in_words(error: Exception) -> Found:
    if isinstance(error, ConnectionError):
        return Found("wrong", "away")
    raise error


async def _run(*checks: Check[None]) -> Checkup:
    checkup = Checkup()
    _ = [line async for line in checkup.run(checks, None, _in_words)]
    return checkup


async def test_checks_depending_on_a_failed_check_are_skipped() -> None:
    checkup = await _run(
        Check("first", _raises), Check("second", _fine, ("first",)), Check("third", _fine, ("second",))
    )
    assert [(line.check, line.found) for line in checkup.lines] == [
        ("first", Found("wrong", "away")),
        ("second", Found("skipped", "not checked, because first must pass first")),
        ("third", Found("skipped", "not checked, because second must pass first")),
    ]
    assert not checkup.is_passed


async def test_independent_check_still_runs() -> None:
    checkup = await _run(Check("first", _raises), Check("second", _fine))
    assert [line.found.verdict for line in checkup.lines] == ["wrong", "ok"]


@pytest.mark.parametrize(("seconds", "verdict"), [(0.001, "ok"), (0.010, "ok"), (0.011, "warning")])
def test_slow_redis_is_a_warning(seconds: float, verdict: str) -> None:
    assert judge_latency(seconds).verdict == verdict


@pytest.mark.parametrize(
    ("ahead_seconds", "verdict", "says"),
    [(0.4, "ok", "0.4 s ahead of"), (-1.9, "ok", "1.9 s behind"), (3, "warning", "ahead"), (-60, "warning", "behind")],
)
def test_differing_clocks_are_a_warning(ahead_seconds: float, verdict: str, says: str) -> None:
    found = judge_clock(ahead_seconds)
    assert found.verdict == verdict
    assert says in found.text
