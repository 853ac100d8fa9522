"""Scrapes of a worker's /metrics, also as input series for promtool. It evaluates no expression."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]

INTERVAL_SECONDS: Final = 60
"""The time between two scrapes in the series, however fast the tests made them."""
GROWING: Final = {"counter", "histogram", "summary"}
MOMENT: Final = "_timestamp_seconds"


@dataclass(frozen=True)
class Scrape:
    """One scrape, by the name of the sample, at a time in seconds since the epoch.

    `growing` are the names of the samples that only grow.
    """

    at: float
    samples: Mapping[str, Vector]
    growing: frozenset[str] = frozenset()


def scrape(text: str, at: float, instance: str = "worker") -> Scrape:
    """Parse the text of /metrics. As in Prometheus, each sample has the instance that it came from."""
    samples: dict[str, Vector] = {}
    growing: set[str] = set()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = frozenset({**sample.labels, "instance": instance}.items())
            samples.setdefault(sample.name, {})[labels] = sample.value
            if family.type in GROWING:
                growing.add(sample.name)
    return Scrape(at, samples, frozenset(growing))


def input_series(scrapes: Sequence[Scrape], more: int) -> list[dict[str, str]]:
    """Return the scrapes as promtool's `input_series`, one for each interval, and `more` intervals after the last.

    Growing samples continue to grow as between the last two scrapes. The series begin at 0 s, so times in the samples
    are moved to keep their age at each scrape.
    """
    names = {(name, labels) for one in scrapes for name, vector in one.samples.items() for labels in vector}
    growing = frozenset[str]().union(*(one.growing for one in scrapes))
    series = []
    for name, labels in sorted(names, key=lambda pair: (pair[0], sorted(pair[1]))):
        moved = [
            index * INTERVAL_SECONDS - one.at if name.endswith(MOMENT) else 0.0 for index, one in enumerate(scrapes)
        ]
        shown = [one.samples.get(name, {}).get(labels) for one in scrapes]
        points = [None if value is None else value + move for value, move in zip(shown, moved, strict=True)]
        selector = ",".join(f"{label}={json.dumps(value)}" for label, value in sorted(labels))
        values = _values(points, more, grows=name in growing)
        series.append({"series": f"{name}{{{selector}}}", "values": values})
    return series


def _values(points: Sequence[float | None], more: int, *, grows: bool) -> str:
    """Return the values in promtool's notation. As in Prometheus, a series that ends is marked as stale."""
    words = [
        ("_" if before is None else "stale") if value is None else _number(value)
        for before, value in itertools.pairwise([None, *points])
    ]
    last = points[-1]
    if last is None:
        return " ".join([*words, f"_x{more}"])
    before = points[-2] if len(points) > 1 else None
    growth = max(0.0, last - before) if grows and before is not None else 0.0
    return " ".join([*words[:-1], f"{_number(last)}+{_number(growth)}x{more}"])


def _number(value: float) -> str:
    return f"{value:.6f}" if math.isfinite(value) else str(value).capitalize()
