"""The event that apps send: its model, and reading it back from the fields of a stream entry.

The one place that says what a valid customer update is. Needs pydantic and nothing else of ours, because apps import
it.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictStr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import ErrorDetails

CUSTOMER_ID_MAX = 500
"""Autumn sets no limit; a Stripe metadata value, where the id is written as `autumn_id`, holds 500 characters."""
EVENT_ID_MAX = 200
CHANGES_MAX_BYTES = 256 * 1024
EVENT_ID_MAX_BYTES = 4 * EVENT_ID_MAX
UNFIT_TEXT = re.compile("[\\x00\\ud800-\\udfff]")
FIELD_NAME = re.compile(rb"[a-z][a-z0-9_]{0,63}")
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, in the form of version 00, which later versions keep."""
EMAIL = re.compile(r'[^\s@"]{1,64}@[^\s@]{1,255}')
WHOLE_NUMBER_MAX: Final = 2**53 - 1
"""Autumn keeps numbers as JavaScript does, in doubles: it would round a larger whole number."""
PATH_MAX: Final = 200
"""Characters of a field's path that an error names: a key may be as long as the whole event."""

STRIPE_ID = r"[A-Za-z0-9][A-Za-z0-9_.@:+-]{0,254}"
"""What the id of a Stripe customer is made of.

Stripe makes ids that begin with `cus_`. Accounts that were imported also have ids of their own choice, such as an app's
user id or an e-mail address. No id that this matches can change the path of a URL, except for `search`.
"""
STRIPE_MADE_ID = r"cus_[A-Za-z0-9_]{1,251}"
OTHER_STRIPE_OBJECTS: Final = {
    "acct": "account",
    "ba": "bank account",
    "card": "card",
    "ch": "charge",
    "cs": "checkout session",
    "evt": "event",
    "ii": "invoice item",
    "in": "invoice",
    "pi": "payment intent",
    "pk": "API key",
    "plan": "plan",
    "pm": "payment method",
    "price": "price",
    "prod": "product",
    "promo": "promotion code",
    "py": "payment",
    "re": "refund",
    "req": "request",
    "rk": "API key",
    "seti": "setup intent",
    "si": "subscription item",
    "sk": "API key",
    "src": "source",
    "sub": "subscription",
    "tok": "token",
    "whsec": "webhook secret",
}
"""The prefixes of Stripe's ids that an app may send by mistake, each with what it stands for."""


class EventError(ValueError):
    """An event that is not valid. The text names the fields and never repeats their values."""


class _UnfitValueError(ValueError):
    """A value somewhere below a field that Autumn cannot keep; `path` leads there from the field."""

    def __init__(self, path: tuple[str, ...], problem: str) -> None:
        super().__init__(problem)
        self.path = path


def _unfit(value: JsonValue, path: tuple[str, ...] = ()) -> Iterator[_UnfitValueError]:
    """The values in `value` that Autumn cannot keep or JSON cannot express."""
    if isinstance(value, str):
        if UNFIT_TEXT.search(value):
            yield _UnfitValueError(path, "holds a NUL byte or half a surrogate pair")
    elif isinstance(value, float) and math.isnan(value):
        yield _UnfitValueError(path, "is not a number")
    elif isinstance(value, int | float):
        if _is_changed_by_autumn(value):
            yield _UnfitValueError(path, "is a number that Autumn cannot keep exactly: send it as a string")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unfit(item, (*path, str(index)))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unfit(key, (*path, key))
            yield from _unfit(item, (*path, key))


def _is_changed_by_autumn(number: float) -> bool:
    return math.isinf(number) if isinstance(number, float) else abs(number) > WHOLE_NUMBER_MAX


def _storable(value: Any) -> Any:
    for problem in _unfit(value):
        raise problem
    return value


def _not_null(value: Any) -> Any:
    if value is None:
        raise ValueError('null clears nothing: send null for each key, as in {"plan": null}')
    return value


def _true_or_false(value: Any) -> Any:
    if value is None:
        raise ValueError("cannot be null: send false to turn receipts off, or leave the field out")
    return value


def _address(value: str) -> str:
    if not value:
        raise ValueError("is empty: send null to clear the e-mail address")
    if not EMAIL.fullmatch(value):
        raise ValueError("is not a valid e-mail address")
    return value


def _stripe_customer_id(value: str) -> str:
    if not value:
        return value
    prefix, underscore, _ = value.partition("_")
    if underscore and prefix in OTHER_STRIPE_OBJECTS:
        kind = OTHER_STRIPE_OBJECTS[prefix]
        raise ValueError(f"names a Stripe {kind}, not a customer: send the customer's id, such as cus_NffrFeUfNV2Hib")
    pattern = STRIPE_MADE_ID if prefix == "cus" else STRIPE_ID
    # Stripe's search is at the path where a customer with this id would be.
    if value == "search" or not re.fullmatch(pattern, value):
        raise ValueError("is not the id of a Stripe customer, such as cus_NffrFeUfNV2Hib")
    return value


def valid_traceparent(value: object) -> str | None:
    """The trace context, None where it is no valid one: the specification has it ignored, never the event refused."""
    return value if isinstance(value, str) and TRACEPARENT.fullmatch(value) else None


Text = Annotated[StrictStr, AfterValidator(_storable)]
Email = Annotated[Text, AfterValidator(_address)]
Metadata = Annotated[dict[StrictStr, JsonValue], BeforeValidator(_not_null), AfterValidator(_storable)]
StripeId = Annotated[
    Text,
    AfterValidator(_stripe_customer_id),
    WithJsonSchema({"type": "string", "pattern": f"^({STRIPE_ID})?$"}),
]
Switch = Annotated[StrictBool, BeforeValidator(_true_or_false)]


class Changes(BaseModel):
    """What changed. A field that is left out stays as it is.

    The names and their meaning are those of Autumn's `POST /v1/customers.update`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Text | None = Field(None, description="null clears it.")
    email: Email | None = Field(None, description='null clears it; "" is refused.')
    fingerprint: Text | None = Field(None, description="null clears it.")
    metadata: Metadata = Field(
        {},
        description="Merged by its top-level keys; the null of a key deletes that key. Whole numbers beyond "
        f"{WHOLE_NUMBER_MAX} have to be sent as strings, at any depth, because Autumn would round them.",
    )
    stripe_id: StripeId | None = Field(None, description="The id of a Stripe customer; null unlinks.")
    send_email_receipts: Switch = Field(False, description="false turns receipts off; null is refused.")

    @model_validator(mode="before")
    @classmethod
    def _no_rename(cls, values: Any) -> Any:
        if isinstance(values, dict) and "new_customer_id" in values:
            raise ValueError(
                "new_customer_id: this worker renames nobody, because what waits for the old id would be lost; "
                "rename the customer in Autumn, then send its changes under the new id"
            )
        return values

    def requested(self) -> dict[str, Any]:
        """The fields that were said, nulls among them, and no others."""
        return self.model_dump(exclude_unset=True)


class CustomerUpdate(BaseModel):
    """A customer changed (`customer.updated`), or should be looked at (`customer.reconcile`).

    `event_id` is the app's own id for the event: the same id twice is one event. `traceparent` is the app's trace
    context, as W3C Trace Context writes it, for the worker's traces; one that is not valid is ignored.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    customer_id: Annotated[StrictStr, Field(pattern=r"^[a-zA-Z0-9_:-]+$", min_length=1, max_length=CUSTOMER_ID_MAX)]
    type: Literal["customer.updated", "customer.reconcile"] = "customer.updated"
    changes: Changes | None = None
    event_id: Annotated[Text, Field(min_length=1, max_length=EVENT_ID_MAX)] | None = None
    traceparent: Annotated[str | None, BeforeValidator(valid_traceparent)] = None

    @model_validator(mode="after")
    def _changes_go_with_updated(self) -> "CustomerUpdate":
        said = self.changes.requested() if self.changes is not None else {}
        if self.type == "customer.updated" and not said:
            raise ValueError("changes: has to name at least one field for customer.updated")
        if self.type == "customer.reconcile" and said:
            raise ValueError("changes: has to be left out for customer.reconcile")
        return self

    def fields(self) -> dict[str, str]:
        """The fields of the stream entry, as strings."""
        fields = {"customer_id": self.customer_id, "type": self.type}
        if self.changes is not None:
            fields["changes"] = json.dumps(self.changes.requested(), ensure_ascii=False, separators=(",", ":"))
        if self.event_id is not None:
            fields["event_id"] = self.event_id
        if self.traceparent is not None:
            fields["traceparent"] = self.traceparent
        return fields


def new_update(**fields: Any) -> CustomerUpdate:
    """A CustomerUpdate of these fields. Raises EventError that names each wrong field."""
    try:
        update = CustomerUpdate.model_validate(fields)
    except ValidationError as error:
        raise EventError("; ".join(_explain(error))) from None
    _check_size(len(update.fields().get("changes", "").encode()))
    return update


def unknown_fields(fields: Mapping[bytes, bytes]) -> set[str]:
    """The names of an entry's fields that a later version may know: they are ignored, not refused.

    So that apps and workers need not be deployed at the same time. What looks like no field's name is refused, and so
    is an unknown name within `changes`, where it would be a change that is not made.
    """
    names = {key.decode() for key in fields if FIELD_NAME.fullmatch(key)}
    return names - CustomerUpdate.model_fields.keys()


def read_entry(fields: Mapping[bytes, bytes]) -> CustomerUpdate:
    """The event in a stream entry's fields. Raises EventError that names each wrong field."""
    values: dict[str, Any] = {}
    ignored = unknown_fields(fields)
    for key, raw in fields.items():
        name = key.decode("utf-8", "replace")[:64]
        if name in ignored:
            continue
        values[name] = _read_changes(raw) if name == "changes" else _read_text(name, raw)
    return new_update(**values)


def _read_text(name: str, raw: bytes) -> str:
    # A trace context that is no text is none, and ignored like every other that is not valid.
    try:
        return raw.decode("utf-8", "replace" if name == "traceparent" else "strict")
    except UnicodeDecodeError:
        raise EventError(f"{name}: is not UTF-8 text") from None


def _read_changes(raw: bytes) -> dict[str, JsonValue]:
    _check_size(len(raw))
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise EventError("changes: is not UTF-8 text") from None
    return parse_changes(text)


def parse_changes(text: str) -> dict[str, JsonValue]:
    """The JSON object of a text, not yet validated. Raises EventError for anything else."""
    try:
        parsed: JsonValue = json.loads(text, parse_int=_whole_number, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise EventError(f"changes: is not valid JSON ({error.msg} at character {error.pos})") from None
    except RecursionError:
        raise EventError("changes: is nested too deeply") from None
    if not isinstance(parsed, dict):
        raise EventError("changes: has to be a JSON object")
    return parsed


def _whole_number(digits: str) -> int:
    """The number, or another one that is refused like it: Python converts no number of thousands of digits."""
    return int(digits) if len(digits) <= len(str(-WHOLE_NUMBER_MAX)) else WHOLE_NUMBER_MAX + 1


def _refuse_constant(name: str) -> NoReturn:
    raise EventError(f"changes: is not valid JSON ({name} is not a number of JSON)")


def _check_size(size: int) -> None:
    if size > CHANGES_MAX_BYTES:
        raise EventError(f"changes: is {size} bytes long, {CHANGES_MAX_BYTES} are allowed")


PROBLEMS: Final = {
    "bool_type": "has to be true or false",
    "dict_type": "has to be a JSON object",
    "extra_forbidden": "is no field of an event",
    "model_type": "has to be a JSON object",
    "recursion_depth_exceeded": "is nested too deeply",
    "string_pattern_mismatch": "holds more than letters, digits, _, : and -",
    "string_too_short": "is empty",
    "string_type": "has to be a string",
}
"""Our words for pydantic's types of errors, where its own are of little help."""


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False):
        text = PROBLEMS.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        path = _path_of(problem)
        yield f"{path}: {text}" if path else text


def _path_of(problem: ErrorDetails) -> str:
    cause = problem.get("ctx", {}).get("error")
    below = cause.path if isinstance(cause, _UnfitValueError) else ()
    # What is nested too deeply has a path as long.
    loc = problem["loc"][:3] if problem["type"] == "recursion_depth_exceeded" else problem["loc"]
    path = ".".join(str(part)[:64] for part in (*loc, *below))[:PATH_MAX]
    # The path may hold half a surrogate pair, which nothing can write down.
    return path.encode("utf-8", "replace").decode()
