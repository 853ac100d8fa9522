"""The JSON schema of the event, for apps in other languages. `python -m jobs.schema` prints it.

It is generated from the model in jobs.events.
"""

import json
import sys
from typing import Any

from pydantic.json_schema import DEFAULT_REF_TEMPLATE

from jobs.events import CustomerUpdate

DESCRIPTION = (
    "An entry on the stream customer-updates. Its fields are strings: `changes` is this object as JSON text, "
    "the other fields are plain strings."
)


def event_schema(ref_template: str = DEFAULT_REF_TEMPLATE) -> dict[str, Any]:
    """Return the schema of a CustomerUpdate. A field without a value stays as it is, so no change has a default."""
    schema = CustomerUpdate.model_json_schema(ref_template=ref_template)
    for definition in schema["$defs"].values():
        for change in definition.get("properties", {}).values():
            change.pop("default", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "description": DESCRIPTION}


def main() -> None:
    """Print the schema."""
    sys.stdout.write(json.dumps(event_schema(), indent=2) + "\n")


if __name__ == "__main__":
    main()
