"""Documents for property tests: drawn from a JSON schema, or changed at one place."""

import copy
import json
from collections.abc import Iterator
from typing import Final

from hypothesis import strategies as st
from pydantic import ValidationError

from jobs.autumn.models import UpdateCustomerResponse
from tests.contract.fields import Json

Steps = tuple[str | int, ...]


def relaxed(node: Json) -> Json:
    """Return the schema with the three intended differences of the models, and no other.

    Enums are open; `remaining` may be negative; a field that may be absent may be null.
    """
    if "enum" in node:
        return {"type": "string"}
    easier = {key: value for key, value in node.items() if key != "minimum"}
    if "properties" in node:
        easier["properties"] = {
            name: relaxed(inner) if name in node.get("required", []) else {"anyOf": [relaxed(inner), {"type": "null"}]}
            for name, inner in node["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if key in node:
            easier[key] = relaxed(node[key])
    if "anyOf" in node:
        easier["anyOf"] = [relaxed(inner) for inner in node["anyOf"]]
    return easier


def fullest(node: Json) -> Json:
    """Return a document with each field of the schema. Each list and each map has one item."""
    if "anyOf" in node:
        return fullest(node["anyOf"][0])
    if "enum" in node:
        return node["enum"][0]
    if "properties" in node:
        return {name: fullest(inner) for name, inner in node["properties"].items()}
    simple = {"string": "text", "number": 1.5, "boolean": True, "null": None}
    if node.get("type") in simple:
        return simple[node["type"]]
    if node.get("type") == "array":
        return [fullest(node["items"])]
    return {"key": fullest(node["additionalProperties"])} if node.get("type") == "object" else "anything"


def places(document: Json, here: Steps = ()) -> Iterator[Steps]:
    """Return the paths to each value below `document`."""
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    for step, value in inner:
        yield (*here, step)
        if isinstance(value, (dict, list)):
            yield from places(value, (*here, step))


OTHERS: Final[list[Json]] = [None, True, 0, -1, 1.5, "inf", "", [], {}, [1], {"a": 1}, ["a"]]
DROPPED: Final = object()


def mutated(document: Json, way: Steps, value: object) -> Json:
    """Return the document with another value at one place, or without it. The original does not change."""
    first, rest = way[0], way[1:]
    changed = copy.copy(document)
    if rest:
        changed[first] = mutated(document[first], rest, value)
    elif value is DROPPED:
        del changed[first]
    else:
        changed[first] = value
    return changed


def drawn(node: Json) -> st.SearchStrategy[Json]:
    """A strategy for documents that the schema `node` allows. It covers the part of JSON schema that Autumn uses."""
    if "anyOf" in node:
        return st.one_of([drawn(inner) for inner in node["anyOf"]])
    if "enum" in node or "const" in node:
        return st.sampled_from(node.get("enum", [node.get("const")]))
    if "properties" in node:
        fields = {name: drawn(inner) for name, inner in node["properties"].items()}
        required = {name: fields.pop(name) for name in node.get("required", [])}
        return st.fixed_dictionaries(required, optional={**fields, "a_field_of_tomorrow": ANYTHING})
    if node.get("type") == "array":
        return st.lists(drawn(node["items"]), max_size=2)
    if node.get("type") == "object":
        return st.dictionaries(st.text(max_size=5), drawn(node["additionalProperties"]), max_size=2)
    least = node.get("minimum")
    simple: dict[str, st.SearchStrategy[Json]] = {
        "string": st.text(max_size=10),
        "number": st.floats(least, allow_nan=False, allow_infinity=False) | st.integers(least),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return simple[node["type"]] if node else ANYTHING


ANYTHING: Final = st.sampled_from([*OTHERS, {"deep": [{"er": None}]}])


def accepts(document: Json) -> bool:
    try:
        UpdateCustomerResponse.model_validate_json(json.dumps(document))
    except ValidationError:
        return False
    return True
