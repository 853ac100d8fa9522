"""As much of PromQL as our alerts and our dashboard use, over scrapes of a real worker, in place of a Prometheus.

What it does not know it refuses, so an expression that nothing has evaluated never gets into the docs.
"""

import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from tests.promql_parser import PromQLError, parse

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Value = Vector | float

COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
CALCULATE: Final[dict[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda left, right: left / right if right else math.nan,
}
AGGREGATE: Final[dict[str, Callable[[list[float]], float]]] = {
    "max": max,
    "min": min,
    "sum": sum,
    "avg": lambda values: sum(values) / len(values),
}


@dataclass(frozen=True)
class Scrape:
    """What one scrape showed, by the name of the sample, at a time in seconds since the epoch."""

    at: float
    samples: Mapping[str, Vector]


def scrape(text: str, at: float, instance: str = "worker") -> Scrape:
    """The scrape of what /metrics answered; as Prometheus does, it notes where each sample came from."""
    samples: dict[str, Vector] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = frozenset({**sample.labels, "instance": instance}.items())
            samples.setdefault(sample.name, {})[labels] = sample.value
    return Scrape(at, samples)


def evaluate(expression: str, scrapes: Sequence[Scrape]) -> Value:
    """The value at the time of the last scrape. Raises PromQLError."""
    return _value(parse(expression), scrapes)


def fires(expression: str, scrapes: Sequence[Scrape]) -> bool:
    """Whether an alert of this expression is active at the time of the last scrape. Raises PromQLError."""
    return bool(evaluate(expression, scrapes))


def metrics_of(expression: str) -> set[str]:
    """The names of the samples that an expression selects. Raises PromQLError."""
    found: set[str] = set()
    _gather(parse(expression), found)
    return found


def _gather(tree: Any, found: set[str]) -> None:
    if isinstance(tree, tuple) and tree[0] == "select":
        found.add(tree[1])
    for part in tree if isinstance(tree, tuple | list) else ():
        _gather(part, found)


def _value(tree: Any, scrapes: Sequence[Scrape]) -> Value:
    match tree:
        case ("number", number):
            return float(number)
        case ("select", name, matchers, 0):
            return _select(scrapes[-1], name, matchers)
        case ("aggregate", name, by, inside):
            return _aggregate(AGGREGATE[name], by, _vector(inside, scrapes))
        case ("binary", operation, left, right):
            return _binary(operation, _value(left, scrapes), _value(right, scrapes))
        case ("call", name, arguments):
            return _call(name, arguments, scrapes)
        case _:
            raise PromQLError(f"not known: {tree!r}")


def _vector(tree: Any, scrapes: Sequence[Scrape]) -> Vector:
    value = _value(tree, scrapes)
    if isinstance(value, float):
        raise PromQLError(f"expected a vector: {tree!r}")
    return value


def _select(one: Scrape, name: str, matchers: Mapping[str, str]) -> Vector:
    wanted = set(matchers.items())
    return {labels: value for labels, value in one.samples.get(name, {}).items() if wanted <= labels}


def _aggregate(function: Callable[[list[float]], float], by: list[str], vector: Vector) -> Vector:
    groups: dict[Labels, list[float]] = {}
    for labels, value in vector.items():
        groups.setdefault(frozenset(pair for pair in labels if pair[0] in by), []).append(value)
    return {labels: function(values) for labels, values in groups.items()}


def _binary(operation: str, left: Value, right: Value) -> Value:
    if operation == "and":
        if isinstance(left, float) or isinstance(right, float):
            raise PromQLError("and: takes two vectors")
        return {labels: value for labels, value in left.items() if labels in right}
    if isinstance(left, float) and isinstance(right, float):
        if operation in COMPARE:
            raise PromQLError("two numbers are compared with bool only")
        return CALCULATE[operation](left, right)
    pairs = _pairs(left, right)
    if operation in COMPARE:
        kept = {labels: pair for labels, pair in pairs.items() if COMPARE[operation](*pair)}
        return {labels: pair[1] if isinstance(left, float) else pair[0] for labels, pair in kept.items()}
    return {labels: CALCULATE[operation](*pair) for labels, pair in pairs.items()}


def _pairs(left: Value, right: Value) -> dict[Labels, tuple[float, float]]:
    if isinstance(left, float):
        assert not isinstance(right, float)
        return {labels: (left, value) for labels, value in right.items()}
    if isinstance(right, float):
        return {labels: (value, right) for labels, value in left.items()}
    return {labels: (value, right[labels]) for labels, value in left.items() if labels in right}


def _call(name: str, arguments: list[Any], scrapes: Sequence[Scrape]) -> Value:
    match name, arguments:
        case "time", []:
            return scrapes[-1].at
        case "absent", [inside]:
            return {} if _vector(inside, scrapes) else {frozenset(): 1.0}
        case "rate", [("select", _, _, seconds) as selector] if seconds:
            return _over(selector, scrapes, lambda points: _increase(points) / (points[-1][0] - points[0][0]), least=2)
        case "avg_over_time", [("select", _, _, seconds) as selector] if seconds:
            return _over(selector, scrapes, lambda points: sum(value for _, value in points) / len(points), least=1)
        case "histogram_quantile", [("number", quantile), inside]:
            return _quantile(quantile, _vector(inside, scrapes))
        case _:
            raise PromQLError(f"not known: {name}")


Points = list[tuple[float, float]]


def _over(selector: Any, scrapes: Sequence[Scrape], function: Callable[[Points], float], *, least: int) -> Vector:
    _, name, matchers, seconds = selector
    series: dict[Labels, Points] = {}
    for one in scrapes:
        if one.at >= scrapes[-1].at - seconds:
            for labels, value in _select(one, name, matchers).items():
                series.setdefault(labels, []).append((one.at, value))
    return {labels: function(points) for labels, points in series.items() if len(points) >= least}


def _increase(points: Points) -> float:
    """How much a counter grew; one that fell began anew. Prometheus also extrapolates to both ends of the range."""
    values = [value for _, value in points]
    return sum(later - earlier if later >= earlier else later for earlier, later in itertools.pairwise(values))


def _quantile(quantile: float, buckets: Vector) -> Vector:
    histograms: dict[Labels, list[tuple[float, float]]] = {}
    for labels, value in buckets.items():
        bound = float(dict(labels)["le"])
        histograms.setdefault(frozenset(pair for pair in labels if pair[0] != "le"), []).append((bound, value))
    # Prometheus says NaN of those that saw nothing, which no comparison holds for.
    return {labels: _quantile_of(quantile, sorted(each)) for labels, each in histograms.items() if max(each)[1]}


def _quantile_of(quantile: float, buckets: Sequence[tuple[float, float]]) -> float:
    """By interpolation inside the bucket; in the last one, its lower bound."""
    total = buckets[-1][1]
    lower, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= quantile * total:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (quantile * total - below) / (count - below)
        lower, below = bound, count
    return lower
