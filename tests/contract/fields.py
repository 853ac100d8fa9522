"""The tables of the fields of Autumn's customer and Stripe's objects, with their types.

`autumn_fields.json` describes the twelve fields of Autumn's schema for `customers.update`. A name that ends in `?` may
be absent, `[x]` is a list, `{"*": x}` an object with any names, `{"or null": x}` may be null. `stripe_shapes.json` has
Stripe's example objects with an empty value of the right type in each field.
"""

import json
from pathlib import Path
from typing import Any, Final

Json = Any

FOLDER: Final = Path(__file__).parent / "data"
AUTUMN_FIELDS: Final = FOLDER / "autumn_fields.json"
STRIPE_SHAPES: Final = FOLDER / "stripe_shapes.json"
AUTUMN_SCHEMA: Final = "UpdateCustomerResponse-2026-02-24.json"
STRIPE_EXAMPLES: Final = "stripe-fixtures-2026-07-29.json"
_OBJECTS: Final = ("customer", "deleted_customer", "payment_intent", "charge", "event", "invoice")
_NULL: Final = {"type": "null"}
_ONE_OF, _EXACTLY, _AT_LEAST, _ANYTHING = "one of: ", "exactly: ", " from ", "anything"


def tables(schemas: Path) -> dict[Path, str]:
    """Return the texts of both tables, made from the schema and the examples in the folder `schemas`."""
    schema = json.loads((schemas / AUTUMN_SCHEMA).read_text())
    examples = json.loads((schemas / STRIPE_EXAMPLES).read_text())["resources"]
    shapes = {name: shape(examples[name]) for name in _OBJECTS}
    return {AUTUMN_FIELDS: _lines(compact(schema)), STRIPE_SHAPES: _lines(shapes)}


def autumn_schema() -> Json:
    """Return the JSON schema that the table of Autumn's fields stands for."""
    return expanded(json.loads(AUTUMN_FIELDS.read_text()))


def stripe_shapes() -> dict[str, Json]:
    """Return the shapes of Stripe's objects by name."""
    shapes: dict[str, Json] = json.loads(STRIPE_SHAPES.read_text())
    return shapes


def compact(node: Json) -> Json:
    """Return a JSON schema in the notation of the table."""
    if "anyOf" in node:
        others = [compact(inner) for inner in node["anyOf"] if inner != _NULL]
        found = others[0] if len(others) == 1 else {"any of": others}
        return {"or null": found} if _NULL in node["anyOf"] else found
    if "enum" in node:
        return _ONE_OF + ", ".join(node["enum"])
    if "const" in node:
        return f"{_EXACTLY}{node['const']}"
    if "properties" in node:
        required = node.get("required", [])
        return {name + "?" * (name not in required): compact(inner) for name, inner in node["properties"].items()}
    if node.get("type") == "array":
        return [compact(node["items"])]
    if node.get("type") == "object":
        return {"*": compact(node["additionalProperties"])}
    least = f"{_AT_LEAST}{node['minimum']}" if "minimum" in node else ""
    return str(node.get("type", _ANYTHING)) + least


def expanded(node: Json) -> Json:
    """Return the JSON schema of a node of the table."""
    if isinstance(node, str):
        return _expanded_text(node)
    if isinstance(node, list):
        return {"type": "array", "items": expanded(node[0])}
    if "or null" in node:
        inner = expanded(node["or null"])
        return {"anyOf": [*inner.get("anyOf", [inner]), _NULL]}
    if "any of" in node:
        return {"anyOf": [expanded(inner) for inner in node["any of"]]}
    if "*" in node:
        return {"type": "object", "additionalProperties": expanded(node["*"])}
    return {
        "type": "object",
        "properties": {name.removesuffix("?"): expanded(inner) for name, inner in node.items()},
        "required": [name for name in node if not name.endswith("?")],
    }


def shape(value: Json) -> Json:
    """Return an object with an empty value of the same type in each field. `object` and a true value stay."""
    if isinstance(value, dict):
        return {name: inner if name == "object" else shape(inner) for name, inner in value.items()}
    return value if value is None or value is True else type(value)()


def _expanded_text(text: str) -> Json:
    if text == _ANYTHING:
        return {}
    if text.startswith(_ONE_OF):
        return {"enum": text.removeprefix(_ONE_OF).split(", ")}
    if text.startswith(_EXACTLY):
        return {"const": text.removeprefix(_EXACTLY)}
    kind, _, least = text.partition(_AT_LEAST)
    return {"type": kind} | ({"minimum": int(least)} if least else {})


def _lines(table: dict[str, Json]) -> str:
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in table.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"
