"""The part of PromQL that stands in for Prometheus in the tests.

Each expected value is what promtool says of the same samples, but for `rate`, which does not extrapolate here.
"""

import pytest

from tests.promql import Scrape, Value, evaluate, metrics_of, scrape
from tests.promql_parser import PromQLError

TEXT = """
# TYPE depth gauge
depth{queue="a"} 4
depth{queue="b"} 6
# TYPE lag_seconds histogram
lag_seconds_bucket{le="0.1"} {low}
lag_seconds_bucket{le="1.0"} {high}
lag_seconds_bucket{le="+Inf"} {high}
lag_seconds_sum 1
lag_seconds_count {high}
# TYPE made_total counter
made_total{kind="x"} {made}
"""


def at(seconds: float, low: int = 0, high: int = 0, made: int = 0) -> Scrape:
    filled = TEXT.replace("{low}", str(low)).replace("{high}", str(high)).replace("{made}", str(made))
    return scrape(filled, seconds)


SCRAPES = [at(1000.0, made=10), at(1060.0, low=50, high=60, made=40), at(1120.0, low=90, high=100, made=5)]


def only(value: Value) -> float:
    assert not isinstance(value, float)
    (number,) = value.values()
    return number


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("max(depth)", 6),
        ("min(depth)", 4),
        ("sum(depth)", 10),
        ("avg(depth)", 5),
        ('max(depth{queue="a"})', 4),
        ("time() - max(depth)", 1114),
        ("max(depth) > 5 and min(depth) == 4", 6),
        ("2 + max(depth) * 3", 20),
        ("sum(depth) / max(depth)", 10 / 6),
        ("absent(nothing)", 1),
        ("max(avg_over_time(made_total[5m]))", 55 / 3),
        ("max(avg_over_time(made_total[1m]))", 45 / 2),
        ("max(rate(made_total[5m]))", 35 / 120),
        ("histogram_quantile(0.95, sum by (le) (lag_seconds_bucket))", 0.55),
    ],
)
def test_an_expression_has_its_value(expression: str, expected: float) -> None:
    assert only(evaluate(expression, SCRAPES)) == pytest.approx(expected)


@pytest.mark.parametrize("expression", ["max(depth) > 6", "absent(depth)", "max(depth) and max(nothing)", "nothing"])
def test_an_expression_is_about_nothing(expression: str) -> None:
    assert evaluate(expression, SCRAPES) == {}


def test_labels_are_kept_as_they_are_asked_for() -> None:
    value = evaluate("max by (queue) (depth)", SCRAPES)
    assert value == {frozenset({("queue", "a")}): 4.0, frozenset({("queue", "b")}): 6.0}


def test_the_metrics_of_an_expression_are_known() -> None:
    assert metrics_of("time() - max(one) > 5 and max(rate(two_total[5m])) < 1") == {"one", "two_total"}


@pytest.mark.parametrize(
    "expression",
    ["", "max(", "max(depth) >", "max(depth) extra", "deriv(depth[5m])", "depth[5m]", "rate(depth)", "a ? b", "1 < 2"],
)
def test_what_is_not_known_is_refused(expression: str) -> None:
    with pytest.raises(PromQLError):
        evaluate(expression, SCRAPES)
