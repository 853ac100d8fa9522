"""The charts of the operator's page, computed from the recorded minutes."""

from worker.status.history import Minute
from worker.status.trends import trends_of
from worker.web.views import charts_of

RATES = {"autumn-updates": 20.0, "stripe": 80.0}


def minute(number: int, applied: int, *, dead: int = 0, oldest: int = 0, stripe: int = 0) -> Minute:
    calls = {"stripe": stripe} if stripe else {}
    return Minute(number, {"received": applied, "applied": applied, "dead": dead}, oldest, calls)


def rows(minutes: list[Minute], chart_id: str) -> list[list[str]]:
    (chart,) = [chart for chart in charts_of(trends_of(minutes, RATES)) if chart.id == chart_id]
    return [[at, *values] for at, values in reversed(chart.rows)]


def test_events_are_counter_growth_across_step_edges() -> None:
    minutes = [minute(5, 100), minute(9, 130), minute(10, 140, dead=2), minute(14, 145, dead=2)]
    assert rows(minutes, "events") == [["00:05", "30", "0"], ["00:10", "15", "2"]]


def test_counter_lost_with_redis_restarts_from_zero() -> None:
    assert rows([minute(5, 100), minute(10, 3)], "events")[1] == ["00:10", "0", "0"]


def test_step_without_samples_is_unknown() -> None:
    assert rows([minute(5, 1), minute(15, 9)], "events") == [
        ["00:05", "0", "0"],
        ["00:10", "unknown", "unknown"],
        ["00:15", "0", "0"],
    ]


def test_oldest_event_of_a_step_is_its_maximum() -> None:
    assert rows([minute(5, 1, oldest=3), minute(6, 1, oldest=70), minute(7, 1)], "oldest") == [["00:05", "70"]]


def test_calls_are_the_busiest_minutes_share_of_the_limit() -> None:
    assert rows([minute(5, 1, stripe=2400), minute(6, 1, stripe=600)], "calls") == [["00:05", "0", "50"]]


def test_no_samples_give_no_rows() -> None:
    assert rows([], "events") == []
