"""The faults of an event: their texts, and the way to name all of them. Only for the event's model.

pydantic checks the fields of a model one by one and names each wrong one. `Ruled` does the same for rules about several
fields.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final, NoReturn, Self, get_args

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

PATH_MAX: Final = 200
"""The longest field path in an error, in characters. A key may be as long as the whole event."""
FAULTS_MAX: Final = 100
"""The most faults that an error names. An event may have thousands of unknown fields."""
MORE: Final = "more may be wrong than is listed"
"""The end of an error that names FAULTS_MAX faults."""

Problem = tuple[tuple[int | str, ...], str]
"""The path of a wrong part, from the value that is checked, and what is wrong with it."""


@dataclass(frozen=True)
class Fault:
    """One fault of an event. `field` is the path of the field, "" for the whole event."""

    field: str
    message: str

    def __str__(self) -> str:
        """Return both as one text."""
        return f"{self.field}: {self.message}" if self.field else self.message


class EventError(ValueError):
    """An invalid event. The text and the faults name the fields and never repeat their values.

    `may_have_more` is True if the error has as many faults as it can name.
    """

    def __init__(self, *faults: Fault) -> None:
        """Make the text of the faults."""
        self.faults = faults
        self.may_have_more = len(faults) >= FAULTS_MAX
        super().__init__("; ".join([*map(str, faults), *([MORE] if self.may_have_more else [])]))


PROBLEMS: Final = {
    "bool_type": "must be true or false",
    "dict_type": "must be a JSON object",
    "extra_forbidden": "unknown field",
    "invalid-json-value": "is not a value of JSON",
    "invalid_key": "the name of a field must be a string",
    "list_type": "must be a JSON array",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "model_type": "must be a JSON object",
    "recursion_depth_exceeded": "is nested too deeply",
    "recursion_loop": "contains itself",
    "string_pattern_mismatch": "may contain only letters, digits, _, : and -",
    "string_too_long": "has more than {max_length} characters: send a shorter one",
    "string_too_short": "is empty",
    "string_type": "must be a string",
    "string_unicode": "contains half a surrogate pair",
    "too_long": "has more than {max_length} characters: send a shorter one",
    "too_many": "has more than {max_length} items: send fewer",
    "too_short": "is empty",
}
"""Our texts for pydantic's error types. `too_many` is `too_long` for a list."""
RENAME: Final = ("changes", "new_customer_id")
RENAME_REFUSED: Final = (
    "this worker cannot rename a customer, because events that wait for the old id would be lost: "
    "rename the customer in Autumn, then send its changes with the new id"
)
"""Our text for the one field that is unknown here and known to Autumn."""


class Ruled(BaseModel):
    """A model with rules about several fields. A broken rule is named beside the wrong fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @classmethod
    @abstractmethod
    def broken_rules(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield a problem for each rule that these values break. Each value may be of any type."""

    @model_validator(mode="wrap")
    @classmethod
    def _check_rules(cls, given: Any, check_fields: ModelWrapValidatorHandler[Self]) -> Self:
        broken = list(cls.broken_rules(given)) if isinstance(given, dict) else []
        try:
            checked = check_fields(given)
        except ValidationError as error:
            if broken:
                refuse(broken, error)
            raise
        if broken:
            refuse(broken)
        return checked


def refuse(problems: Iterable[Problem], others: ValidationError | None = None) -> NoReturn:
    """Raise one ValidationError of these problems, and of the `others` that pydantic found."""
    found = others.errors(include_url=False, include_input=False) if others is not None else []
    lines = [_line(each["type"], each["msg"], each["loc"], each.get("ctx")) for each in found]
    lines += [_line("value_error", text, path, {"error": ValueError(text)}) for path, text in problems]
    raise ValidationError.from_exception_data("event", lines, hide_input=True)


def _line(kind: str, message: str, path: tuple[int | str, ...], context: dict[str, Any] | None) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError(kind, message, context), loc=path, input=None)


def faults_in(error: ValidationError, model: type[BaseModel]) -> Iterator[Fault]:
    """Yield our faults for an error of this model, at most FAULTS_MAX."""
    for problem in islice(error.errors(include_url=False, include_input=False), FAULTS_MAX):
        yield Fault(_path_of(problem), _text_of(problem, model))


def _text_of(problem: ErrorDetails, model: type[BaseModel]) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        path = problem["loc"]
        return RENAME_REFUSED if path == RENAME else PROBLEMS[kind] + _nearest(path, model)
    if kind == "too_long" and context["field_type"] == "List":
        kind = "too_many"
    expected = str(context.get("expected")).replace("'", "")
    return PROBLEMS.get(kind, "is not a valid value").format(**{**context, "expected": expected})


def _nearest(path: Sequence[int | str], model: Any) -> str:
    """Return the field that an unknown one may stand for, as the end of a sentence; "" if none is similar."""
    for part in path[:-1]:
        if isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation)
    similar = get_close_matches(str(path[-1])[:64], model.model_fields, n=1)
    return f" (did you mean {similar[0]}?)" if similar else ""


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a field's type, such as that of the items of a list; None if it has none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each)) is not None), None)


def _path_of(problem: ErrorDetails) -> str:
    loc = problem["loc"]
    if problem["type"] in {"invalid-json-value", "recursion_loop"}:
        # Below a key of `metadata`, pydantic also names the type of each value, list or dict.
        loc = (*loc[:3], *loc[4::2])
    elif problem["type"] == "recursion_depth_exceeded":
        # A value that is nested too deeply has an equally long path.
        loc = loc[:3]
    path = ".".join(str(part)[:64] for part in loc)[:PATH_MAX]
    # The path may contain half a surrogate pair, which cannot be encoded.
    return path.encode("utf-8", "replace").decode()
