"""The tables in this repository against the recordings and schemas that they are made from."""

import json
from pathlib import Path
from typing import Any, Final

from tests.contract import facts, fields, make_facts, recordings

Json = Any

RECORDINGS: Final = recordings.folder() or Path()
SCHEMAS: Final = RECORDINGS.parent.parent / "schemas"
SAID_ELSEWHERE: Final = {"description", "default", "propertyNames"}
"""What the table of fields leaves out, because it refuses nothing."""


def test_the_table_of_exchanges_is_what_the_recordings_prove() -> None:
    assert facts.FILE.read_text() == make_facts.exchanges(recordings.load(RECORDINGS)), "run make contract-facts"


def test_the_tables_of_fields_are_what_the_schemas_say() -> None:
    for path, text in fields.tables(SCHEMAS).items():
        assert path.read_text() == text, "run make contract-facts"


def test_the_table_of_fields_refuses_what_the_schema_refuses() -> None:
    schema = json.loads((SCHEMAS / fields.AUTUMN_SCHEMA).read_text())

    assert _plain(fields.autumn_schema()) == _plain(schema)


def _plain(node: Json) -> Json:
    """The schema in one of its equivalent forms."""
    if isinstance(node, list):
        return [_plain(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    if "properties" in node:
        properties = {name: _plain(inner) for name, inner in node["properties"].items()}
        return {"properties": properties, "required": sorted(node.get("required", []))}
    said = {name: _plain(inner) for name, inner in node.items() if name not in SAID_ELSEWHERE}
    if "anyOf" in said:
        said["anyOf"] = sorted(said["anyOf"], key=json.dumps)
    if "enum" in said or "const" in said:
        said.pop("type", None)
    return said
