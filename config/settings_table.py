"""The table of all settings: `python -m config.settings_table docs/settings.md` writes it into that page.

Made from the settings model and the docstrings of its fields, so a setting is described in `config/settings.py` alone.
"""

import ast
import inspect
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from config import settings
from config.settings import Settings

BEGIN: Final = "<!-- Written by `make settings` from config/settings.py. -->\n"
END: Final = "<!-- End of what `make settings` writes. -->\n"
BOUNDS: Final = {
    "gt": "above {:,}",
    "ge": "{:,} or more",
    "le": "at most {:,}",
    "min_length": "{:,} characters or more",
}


def settings_table() -> str:
    """Return the table in Markdown, required settings first."""
    described = _descriptions()
    fields = sorted(Settings.model_fields.items(), key=lambda named: not named[1].is_required())
    rows = [
        f"| `{_variable(field)}` | {_default(field)} | {_values(field)} | {described[name]} |" for name, field in fields
    ]
    return "\n".join(["| variable | default | values | meaning |", "|---|---|---|---|", *rows]) + "\n"


def with_table(page: str) -> str:
    """Return the page with the table as it is now. Raises ValueError if the page has no place for it."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for the table")
    return f"{before}{BEGIN}\n{settings_table()}\n{END}{after}"


def _descriptions() -> dict[str, str]:
    """Return the first paragraph of each field's docstring. A class that comes later wins, as in the model."""
    found: dict[str, str] = {}
    for each in ast.parse(inspect.getsource(settings)).body:
        body = each.body if isinstance(each, ast.ClassDef) else []
        for pair in pairwise(body):
            match pair:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = inspect.cleandoc(text).partition("\n\n")[0]
    return found


def _variable(field: FieldInfo) -> str:
    return str(field.validation_alias.choices[0])  # type: ignore[union-attr]  # `_setting` gives each one choice


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default in (None, "", ()):
        return ""
    return f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"


def _values(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    bounds = [*_constraints(field.metadata), *_constraints(_metadata_within(field.annotation))]
    return ", ".join(bounds)


def _metadata_within(annotation: Any) -> list[Any]:
    """Return the metadata of the types in a union such as `Annotated[int, Field(ge=1)] | None`."""
    parts = [each for each in get_args(annotation) if get_origin(each) is Annotated]
    return [inner for part in parts for each in get_args(part)[1:] for inner in each.metadata]


def _constraints(metadata: list[Any]) -> list[str]:
    return [
        text.format(bound)
        for name, text in BOUNDS.items()
        for each in metadata
        if isinstance(bound := getattr(each, name, None), int | float) and (name, bound) != ("min_length", 1)
    ]


def main() -> None:
    """Write the table into the page that is named."""
    page = Path(sys.argv[1])
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
