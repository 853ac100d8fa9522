"""The JSON values that Autumn can store. Only for the event's model, so it needs only pydantic."""

import math
import re
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Final

from pydantic import AfterValidator, JsonValue, StrictStr

from autumn_sync_client.faults import FAULTS_MAX, Problem, refuse

UNFIT_TEXT = re.compile("[\\x00\\ud800-\\udfff]")
WHOLE_NUMBER_MAX: Final = 2**53 - 1
"""Autumn stores numbers as JavaScript doubles, so it would round a larger whole number."""


def _unfit(value: JsonValue, path: tuple[str, ...] = ()) -> Iterator[Problem]:
    """Yield a problem for each part of `value` that Autumn cannot store or JSON cannot express."""
    if isinstance(value, str):
        if UNFIT_TEXT.search(value):
            yield path, "contains a NUL byte or half a surrogate pair"
    elif isinstance(value, float) and math.isnan(value):
        yield path, "is not a number"
    elif isinstance(value, int | float):
        if _is_changed_by_autumn(value):
            yield path, "Autumn cannot store this number exactly: send it as a string"
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
    """Return the value. Raises ValidationError with each part that Autumn cannot store, at most FAULTS_MAX."""
    problems = list(islice(_unfit(value), FAULTS_MAX))
    if problems:
        refuse(problems)
    return value


Text = Annotated[StrictStr, AfterValidator(storable)]
