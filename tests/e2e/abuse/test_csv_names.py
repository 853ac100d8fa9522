"""Names that a spreadsheet would run as a formula, in the CSV of the real scan command."""

import csv
from pathlib import Path
from typing import Final

import pytest

from sandbox.redis import EmbeddedRedis
from tests.conftest import World
from tests.e2e.cli.test_scan import DRIFT, Scans
from tests.support.planting import Field

CALL: Final = "HYPERLINK(1)"
SAFE: Final = {
    "\uff1d": "'\uff1d",
    "\uff0b": "'\uff0b",
    "\uff0d": "'\uff0d",
    "\uff20": "'\uff20",
    "=": "'=",
    "\n": "'\n",
    "\n=": "'\n'=",
    "\r\n+": "'\r\n'+",
    "\u200b\uff1d": "'\u200b\uff1d",
}
"""Full-width and plain signs, line breaks, and a sign behind an invisible character, each with its cell in the file."""
STARTS: Final = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


@pytest.fixture
async def scans(world: World, redis_server: EmbeddedRedis, tmp_path: Path) -> Scans:
    return Scans(redis_server.url, tmp_path, world)


async def test_no_cell_of_a_scans_csv_is_a_formula(scans: Scans, world: World, tmp_path: Path) -> None:
    field, names = Field(world.autumn, world.stripe), [f"{sign}{CALL}" for sign in SAFE]
    for number, name in enumerate(names):
        field.agreeing(f"in_stripe_{number}", name=name)
        stripe_id = field.agreeing(f"in_autumn_{number}")
        world.autumn.customers[f"in_autumn_{number}"]["name"] = name
        assert world.autumn.customers[f"in_autumn_{number}"]["stripe_id"] == stripe_id
    for owner in names:
        world.stripe.seed_customer(metadata={"autumn_id": owner})
    code, _, errors = await scans.run("scan", "--csv", "scan.csv")
    assert (code, errors) == (DRIFT, "")
    with (tmp_path / "scan.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    safe = {f"{written}{CALL}" for written in SAFE.values()}
    assert {row["stripe"] for row in rows if row["customer"].startswith("in_stripe")} == safe
    assert {row["autumn"] for row in rows if row["customer"].startswith("in_autumn")} == safe
    assert {row["customer"] for row in rows if row["kind"] == "orphan"} == safe
    assert [cell for row in rows for cell in row.values() if cell.strip("\u200b\r\n ").startswith(STARTS)] == []
