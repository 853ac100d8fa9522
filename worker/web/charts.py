"""Charts as inline SVG: columns and lines over time, and bars. Pure.

Widths are percentages, so a chart fills its place and its text keeps its size. Colours are classes of the style sheet,
because the pages' policy forbids inline styles. Charts are hidden from screen readers, so show the numbers as a table
too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from markupsafe import Markup

HEIGHT, TOP, BOTTOM = 190, 18, 24
"""The height of a chart, and of the free space above and below for the labels, in CSS pixels."""
TICKS = 3
FULL = 100.0
LEAST_TOP, STEPS = 2.0, (1, 2, 4, 6, 8, 10)
COLUMN_SHARE = 0.62
"""The share of a group's width that its columns use. The rest is the gap to the next group."""


@dataclass(frozen=True)
class Series:
    """One colour of a chart: its name, and a value for each label. None means unknown."""

    name: str
    values: Sequence[float | None]


def columns(labels: Sequence[str], series: Sequence[Series]) -> Markup:
    """Return a chart of columns, with a group for each label."""
    top = _nice_top(series)
    group = FULL / max(len(labels), 1)
    width = group * COLUMN_SHARE / len(series)
    drawn = [*_rules(), *_labels(labels, [group * (place + 0.5) for place in range(len(labels))])]
    for number, each in enumerate(series):
        for place, value in enumerate(each.values):
            if value:
                x = group * place + group * (1 - COLUMN_SHARE) / 2 + width * number
                drawn.append(_column(x, width, value / top, number, f"{labels[place]}: {value:,g} {each.name}"))
    return _chart([*drawn, *_scale(top)])


def _column(x: float, width: float, share: float, number: int, title: str) -> Markup:
    height = max(share * (HEIGHT - TOP - BOTTOM), 1.5)
    return Markup(
        '<rect class="draw-{}" x="{:.3f}%" y="{:.1f}" width="{:.3f}%" height="{:.1f}" rx="2"><title>{}</title></rect>'
    ).format(number + 1, x, HEIGHT - BOTTOM - height, width, height, title)


def lines(labels: Sequence[str], series: Sequence[Series], *, top: float | None = None) -> Markup:
    """Return a chart with a line for each series, and gaps for unknown values. `top` sets the end of the scale."""
    top = top or _nice_top(series)
    step = FULL / max(len(labels) - 1, 1)
    drawn = [*_rules(), *_labels(labels, [step * place for place in range(len(labels))])]
    paths = [
        Markup('<path class="line stroke-{}" d="{}"/>').format(number + 1, _path(each.values, step, top))
        for number, each in enumerate(series)
    ]
    drawn.append(
        Markup('<svg y="{}" width="100%" height="{}" viewBox="0 0 100 100" preserveAspectRatio="none">{}</svg>').format(
            TOP, HEIGHT - TOP - BOTTOM, Markup("").join(paths)
        )
    )
    return _chart([*drawn, *_scale(top)])


def _path(values: Sequence[float | None], step: float, top: float) -> str:
    parts, is_drawing = [], False
    for place, value in enumerate(values):
        if value is not None:
            parts.append(f"{'L' if is_drawing else 'M'}{step * place:.2f} {FULL - value / top * FULL:.2f}")
        is_drawing = value is not None
    return "".join(parts)


def bar(value: float, most: float) -> Markup:
    """Return one bar for a table row, with `most` as the longest."""
    share = FULL * value / most if most else 0.0
    return Markup(
        '<svg aria-hidden="true" focusable="false"><rect class="draw-1" width="{:.2f}%" height="100%" rx="3"/></svg>'
    ).format(max(share, 0.5) if value else 0.0)


def swatch(number: int) -> Markup:
    """Return a patch in the colour of a series, counted from 0."""
    return Markup(
        '<svg aria-hidden="true" focusable="false"><rect class="draw-{}" width="100%" height="100%" rx="2"/></svg>'
    ).format(number + 1)


def _chart(drawn: Sequence[Markup]) -> Markup:
    return Markup('<svg class="chart" height="{}" aria-hidden="true" focusable="false">{}</svg>').format(
        HEIGHT, Markup("").join(drawn)
    )


def _rules() -> list[Markup]:
    """Return the rules at zero, at half and at the top."""
    rule = Markup('<line class="rule" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>')
    return [rule.format(_height_of(share)) for share in (0.0, 0.5, 1.0)]


def _scale(top: float) -> list[Markup]:
    """Return the values of the rules at half and at the top. Draw them last, so that they stay readable."""
    return [Markup('<text y="{:.1f}">{:,g}</text>').format(_height_of(share) - 4, top * share) for share in (0.5, 1.0)]


def _height_of(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _labels(labels: Sequence[str], places: Sequence[float]) -> list[Markup]:
    """Return the first and the last label, and only so many between them that a phone can show them."""
    last = len(labels) - 1
    shown = sorted({round(last * tick / (TICKS - 1)) for tick in range(TICKS)}) if last > 0 else [0] * len(labels)
    anchors = {0: "start", last: "end"} if last > 0 else {}
    ends = {"start": 0.0, "end": FULL}
    return [
        Markup('<text x="{:.2f}%" y="{}" text-anchor="{}">{}</text>').format(
            ends.get(anchors.get(place, ""), places[place]), HEIGHT - 6, anchors.get(place, "middle"), labels[place]
        )
        for place in shown
    ]


def _nice_top(series: Sequence[Series]) -> float:
    """Return the smallest of STEPS times a power of ten that no value exceeds, so that its half is a short number."""
    most = max((value or 0.0 for each in series for value in each.values), default=0.0)
    power = 10.0 ** floor(log10(max(most, LEAST_TOP)))
    return max(LEAST_TOP, next(power * step for step in STEPS if power * step >= most))
