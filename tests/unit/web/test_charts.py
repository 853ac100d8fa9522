"""Charts as drawings of their values."""

import re

import pytest

from worker.web.charts import Series, bar, columns


def heights(drawing: str) -> list[float]:
    return [float(height) for height in re.findall(r'height="([\d.]+)" rx', drawing)]


def test_column_height_is_its_share_of_the_scale() -> None:
    drawing = columns(["a", "b", "c"], [Series("findings", [10, 5, 0])])
    assert heights(drawing) == [148.0, 74.0]
    assert "a: 10 findings" in drawing


def test_small_value_stays_visible() -> None:
    assert min(heights(columns(["a", "b"], [Series("findings", [1_000_000, 1])]))) >= 1


@pytest.mark.parametrize(
    ("most", "half"), [(0, "1"), (1, "1"), (3, "2"), (6, "3"), (7, "4"), (101, "100"), (9_000, "5,000")]
)
def test_scale_ends_at_a_round_number_with_short_half(most: int, half: str) -> None:
    assert re.findall(r">([\d,.]+)</text>", columns(["at"], [Series("findings", [most])]))[0] == half


def test_labels_are_few_enough_for_a_phone() -> None:
    drawing = columns([f"t{number}" for number in range(30)], [Series("findings", [1] * 30)])
    assert re.findall(r">(t\d+)</text>", drawing) == ["t0", "t14", "t29"]


def test_chart_without_values_is_an_empty_scale() -> None:
    assert heights(columns([], [Series("findings", [])])) == []


def test_names_and_labels_are_escaped() -> None:
    drawing = columns(["<b>"], [Series("<i>", [1])])
    assert "<b>" not in drawing
    assert "<i>" not in drawing


@pytest.mark.parametrize(
    ("value", "most", "width"), [(5, 10, "50.00"), (0, 10, "0.00"), (0, 0, "0.00"), (1, 10_000, "0.50")]
)
def test_bar_length_is_its_share(value: int, most: int, width: str) -> None:
    assert f'width="{width}%"' in bar(value, most)
