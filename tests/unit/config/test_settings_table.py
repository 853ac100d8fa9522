"""The table of docs/settings.md is generated from the settings model."""

from pathlib import Path

import pytest

from config.settings import Settings
from config.settings_table import settings_table, with_table

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_page_contains_the_table_of_the_model() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run: make settings"


def test_table_has_a_row_for_every_setting() -> None:
    rows = [line for line in settings_table().splitlines() if line.startswith("| `")]
    assert len(rows) == len(Settings.model_fields)
    assert rows[0] == "| `REDIS_URL` | required |  | The address of Redis: `redis://`, `rediss://` or `unix://`. |"
    assert rows[-1].startswith("| `LOG_LEVEL` | `INFO` | `DEBUG`, `INFO`, `WARNING`, `ERROR` |")


@pytest.mark.parametrize(
    ("variable", "values"),
    [
        ("AUTUMN_UPDATES_PER_SECOND", "above 0, at most 1,000"),
        ("PORT", "1 or more, at most 65,535"),
        ("OPERATOR_PASSWORD", "12 characters or more"),
    ],
)
def test_table_states_the_bounds_of_a_setting(variable: str, values: str) -> None:
    (row,) = [line for line in settings_table().splitlines() if line.startswith(f"| `{variable}` ")]
    assert f" | {values} | " in row


def test_page_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        with_table("# Settings\n")
