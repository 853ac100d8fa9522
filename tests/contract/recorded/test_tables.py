"""The tables in this repository against the recordings and schemas that they are made from."""

import json
from pathlib import Path
from typing import Any, Final

from tests.contract import facts, fields, make_facts, recordings

Json = Any

RECORDINGS: Final = recordings.folder() or Path()
SCHEMAS: Final = RECORDINGS.parent.parent / "schemas"
LEFT_OUT: Final = {"description", "default", "propertyNames"}
"""The keys that the table of fields leaves out, because they refuse nothing."""


def test_table_of_exchanges_matches_the_recordings() -> None:
    assert facts.FILE.read_text() == make_facts.exchanges(recordings.load(RECORDINGS)), "run make contract-facts"


def test_tables_of_fields_match_the_schemas() -> None:
    for path, text in fields.tables(SCHEMAS).items():
        assert path.read_text() == text, "run make contract-facts"


def test_table_of_fields_refuses_what_the_schema_refuses() -> None:
    schema = json.loads((SCHEMAS / fields.AUTUMN_SCHEMA).read_text())

    assert _plain(fields.autumn_schema()) == _plain(schema)


def _plain(node: Json) -> Json:
    """Return the schema in one of its equivalent forms."""
    if isinstance(node, list):
        return [_plain(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    if "properties" in node:
        properties = {name: _plain(inner) for name, inner in node["properties"].items()}
        return {"properties": properties, "required": sorted(node.get("required", []))}
    plain = {name: _plain(inner) for name, inner in node.items() if name not in LEFT_OUT}
    if "anyOf" in plain:
        plain["anyOf"] = sorted(plain["anyOf"], key=json.dumps)
    if "enum" in plain or "const" in plain:
        plain.pop("type", None)
    return plain
