"""The JSON schema of the event, for apps in other languages: `python -m jobs.schema` prints it.

Made from the model, which stays the one place that says what a valid event is.
"""

import json
import sys
from typing import Any

from jobs.events import CustomerUpdate

DESCRIPTION = (
    "An entry of the stream customer-updates. Its fields are strings: `changes` is this object as JSON text, "
    "the others are as they are."
)


def event_schema() -> dict[str, Any]:
    """The schema of a CustomerUpdate. A left-out change means unchanged, so no change has a default."""
    schema = CustomerUpdate.model_json_schema()
    for change in schema["$defs"]["Changes"]["properties"].values():
        change.pop("default", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "description": DESCRIPTION}


def main() -> None:
    """Print the schema."""
    sys.stdout.write(json.dumps(event_schema(), indent=2) + "\n")


if __name__ == "__main__":
    main()
