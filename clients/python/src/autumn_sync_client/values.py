"""The JSON values that Autumn can store. Only for the event's model, so it needs only pydantic."""

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final

from pydantic import AfterValidator, JsonValue, StrictStr

UNFIT_TEXT = re.compile("[\\x00\\ud800-\\udfff]")
WHOLE_NUMBER_MAX: Final = 2**53 - 1
"""Autumn stores numbers as JavaScript doubles, so it would round a larger whole number."""


class WrongPartError(ValueError):
    """A wrong part of a value. `path` leads to it from the value that is checked."""

    def __init__(self, path: tuple[str, ...], problem: str) -> None:
        super().__init__(problem)
        self.path = path


def _unfit(value: JsonValue, path: tuple[str, ...] = ()) -> Iterator[WrongPartError]:
    """Yield an error for each part of `value` that Autumn cannot store or JSON cannot express."""
    if isinstance(value, str):
        if UNFIT_TEXT.search(value):
            yield WrongPartError(path, "contains a NUL byte or half a surrogate pair")
    elif isinstance(value, float) and math.isnan(value):
        yield WrongPartError(path, "is not a number")
    elif isinstance(value, int | float):
        if _is_changed_by_autumn(value):
            yield WrongPartError(path, "Autumn cannot store this number exactly: send it as a string")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unfit(item, (*path, str(index)))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unfit(key, (*path, key))
            yield from _unfit(item, (*path, key))


def _is_changed_by_autumn(number: float) -> bool:
    return math.isinf(number) if isinstance(number, float) else abs(number) > WHOLE_NUMBER_MAX


def storable(value: Any) -> Any:
    """Return the value. Raises WrongPartError if Autumn cannot store it."""
    for problem in _unfit(value):
        raise problem
    return value


Text = Annotated[StrictStr, AfterValidator(storable)]
