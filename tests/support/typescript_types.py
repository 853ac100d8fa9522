"""The TypeScript types of the event, generated from the JSON schema. `python -m tests.support.typescript_types` prints
them, and `make schema` writes them to clients/typescript/src/event.ts.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
SCHEMA: Final = ROOT / "docs" / "customer-update.schema.json"
TYPES: Final = ROOT / "clients" / "typescript" / "src" / "event.ts"
CHECKED: Final = {
    *("$ref", "$defs", "type", "enum", "anyOf", "properties", "required", "additionalProperties"),
    *("pattern", "minLength", "maxLength", "items", "maxItems"),
}
"""The keywords that the client checks (clients/typescript/src/schema.ts)."""
DESCRIBING: Final = {"$schema", "title", "description", "default"}
HEADER: Final = """\
// Generated from docs/customer-update.schema.json by `make schema`. Do not edit it.
import type { Schema } from "./schema.js";

/** A value of JSON. A field that is undefined is left out. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue | undefined };
"""
EVENT_TEXT: Final = "An event: a customer changed (`customer.updated`), or both sides should be compared."


def typescript_types(schema: Mapping[str, Any]) -> str:
    """Return the source of the types, and the schema without its texts. Raises ValueError for an unknown keyword."""
    # The header has the type of JsonValue.
    definitions = {name: part for name, part in schema["$defs"].items() if name != "JsonValue"}
    parts = [
        HEADER,
        *(_interface(name, part, part["description"]) for name, part in definitions.items()),
        _interface("CustomerUpdate", schema, EVENT_TEXT),
        f"export const SCHEMA: Schema = {json.dumps(_checked(schema), indent=2)};\n",
    ]
    return "\n".join(parts)


def _interface(name: str, schema: Mapping[str, Any], text: str) -> str:
    required = schema.get("required", [])
    lines = [*_comment(text, ""), f"export interface {name} {{"]
    for field, of_field in schema["properties"].items():
        lines += _comment(of_field.get("description", ""), "  ")
        mark, more = ("", "") if field in required else ("?", " | undefined")
        lines.append(f"  {field}{mark}: {_type(of_field)}{more};")
    return "\n".join([*lines, "}", ""])


def _comment(text: str, indent: str) -> Iterator[str]:
    lines = text.splitlines()
    if len(lines) == 1:
        yield f"{indent}/** {text} */"
    elif lines:
        yield f"{indent}/**"
        yield from (f"{indent} * {line}".rstrip() for line in lines)
        yield f"{indent} */"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix("#/$defs/")
    if "anyOf" in schema:
        return " | ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    match schema.get("type"):
        case list() as types:
            return " | ".join(_type({"type": each}) for each in types)
        case "string" | "number" | "boolean" | "null" as simple:
            return str(simple)
        case "array":
            return f"ReadonlyArray<{_type(schema['items'])}>"
        case "object":
            return f"{{ readonly [name: string]: {_type(schema['additionalProperties'])} | undefined }}"
        case other:
            raise ValueError(f"no type is known for the schema's type {other}")


def _checked(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema without its texts."""
    unknown = schema.keys() - CHECKED - DESCRIBING
    if unknown:
        raise ValueError(f"the client does not check these keywords: {', '.join(sorted(unknown))}")
    kept = {name: value for name, value in schema.items() if name in CHECKED}
    for name in {"properties", "$defs"} & kept.keys():
        kept[name] = {key: _checked(value) for key, value in kept[name].items()}
    for name in {"items", "additionalProperties"} & kept.keys():
        kept[name] = _checked(kept[name]) if isinstance(kept[name], Mapping) else kept[name]
    if "anyOf" in kept:
        kept["anyOf"] = [_checked(option) for option in kept["anyOf"]]
    return kept


def main() -> None:
    """Print the types."""
    sys.stdout.write(typescript_types(json.loads(SCHEMA.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
