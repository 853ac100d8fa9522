"""Charts as inline SVG: columns and lines over time, and bars beside each other, drawn from numbers.

Pure. Sizes across are percentages, so that a chart is as wide as its place while its text stays as large as text;
colours are classes of the style sheet, because the pages refuse styles of single elements. Whoever shows a chart shows
the numbers as a table beside it: the drawing itself is hidden from screen readers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from markupsafe import Markup

HEIGHT, TOP, BOTTOM = 190, 18, 24
"""CSS pixels of a chart, and of what is kept free above its tallest value and below its base line for the labels."""
TICKS = 3
FULL = 100.0
LEAST_TOP, STEPS = 2.0, (1, 2, 4, 6, 8, 10)
COLUMN_SHARE = 0.62
"""Of the width of a group of columns; the rest parts it from the next."""


@dataclass(frozen=True)
class Series:
    """What one colour stands for, with a value for each label; None where nothing is known."""

    name: str
    values: Sequence[float | None]


def columns(labels: Sequence[str], series: Sequence[Series]) -> Markup:
    """Columns side by side, a group for each label, from left to right."""
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
    """A line for each series, with gaps where nothing is known. The scale ends at `top` where one is given."""
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
    """One bar of a row of a table, as long as its share of the longest."""
    share = FULL * value / most if most else 0.0
    return Markup(
        '<svg aria-hidden="true" focusable="false"><rect class="draw-1" width="{:.2f}%" height="100%" rx="3"/></svg>'
    ).format(max(share, 0.5) if value else 0.0)


def swatch(number: int) -> Markup:
    """A patch of the colour of the series of this number, counted from 0."""
    return Markup(
        '<svg aria-hidden="true" focusable="false"><rect class="draw-{}" width="100%" height="100%" rx="2"/></svg>'
    ).format(number + 1)


def _chart(drawn: Sequence[Markup]) -> Markup:
    return Markup('<svg class="chart" height="{}" aria-hidden="true" focusable="false">{}</svg>').format(
        HEIGHT, Markup("").join(drawn)
    )


def _rules() -> list[Markup]:
    """The rules at nothing, at a half and at the top."""
    rule = Markup('<line class="rule" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>')
    return [rule.format(_height_of(share)) for share in (0.0, 0.5, 1.0)]


def _scale(top: float) -> list[Markup]:
    """The values of the rules at a half and at the top; drawn last, to be read over what is drawn."""
    return [Markup('<text y="{:.1f}">{:,g}</text>').format(_height_of(share) - 4, top * share) for share in (0.5, 1.0)]


def _height_of(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _labels(labels: Sequence[str], places: Sequence[float]) -> list[Markup]:
    """The first label, the last, and few enough between them to be read on a phone."""
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
    """The least of STEPS times a power of ten that no value exceeds, so that its half is a short number."""
    most = max((value or 0.0 for each in series for value in each.values), default=0.0)
    power = 10.0 ** floor(log10(max(most, LEAST_TOP)))
    return max(LEAST_TOP, next(power * step for step in STEPS if power * step >= most))
