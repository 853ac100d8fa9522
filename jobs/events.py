"""The event that apps send: its model, and reading it back from the fields of a stream entry.

The one place that says what a valid customer update is. Needs pydantic and nothing else of ours, because apps import
it.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import pydantic_core
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
    model_validator,
)

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


class EventError(ValueError):
    """An event that is not valid. The text names the fields and never repeats their values."""


def _unfit(value: JsonValue, path: str) -> Iterator[str]:
    """The paths below `value` that Autumn cannot store or JSON cannot say, each with what is wrong there."""
    if isinstance(value, str):
        if UNFIT_TEXT.search(value):
            yield f"{path}: holds a NUL byte or half a surrogate pair"
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"{path}: is not a finite number"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unfit(item, f"{path}.{index}")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unfit(key, f"{path}, a key")
            yield from _unfit(item, f"{path}.{key}")


def _whole(value: Any) -> Any:
    for problem in _unfit(value, ""):
        path, _, text = problem.rpartition(": ")
        raise ValueError(f"{text} at {path.lstrip('.')[:64]!a}" if path else text)
    return value


def _address(value: str) -> str:
    if not EMAIL.fullmatch(value):
        raise ValueError("is not a valid e-mail address")
    return value


def valid_traceparent(value: object) -> str | None:
    """The trace context, None where it is no valid one: the specification has it ignored, never the event refused."""
    return value if isinstance(value, str) and TRACEPARENT.fullmatch(value) else None


Text = Annotated[StrictStr, AfterValidator(_whole)]
Email = Annotated[Text, AfterValidator(_address)]
Metadata = Annotated[dict[StrictStr, JsonValue], AfterValidator(_whole)]


class Changes(BaseModel):
    """What changed. A field that is left out stays as it is; null clears it.

    The names and their meaning are those of Autumn's `POST /v1/customers.update`. Metadata merges by key, and a
    key's null deletes it; `stripe_id` null unlinks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Text | None = None
    email: Email | None = None
    fingerprint: Text | None = None
    metadata: Metadata | None = None
    stripe_id: Text | None = None
    send_email_receipts: StrictBool = False

    @model_validator(mode="before")
    @classmethod
    def _no_rename(cls, values: Any) -> Any:
        if isinstance(values, dict) and "new_customer_id" in values:
            raise ValueError(
                "new_customer_id: this worker renames nobody, because what waits for the old id would be lost; "
                "rename the customer in Autumn, then send its changes under the new id"
            )
        return values

    def said(self) -> dict[str, Any]:
        """The fields that were said, nulls among them, and no others."""
        return self.model_dump(exclude_unset=True)


class CustomerUpdate(BaseModel):
    """A customer changed (`customer.updated`), or should be looked at (`customer.reconcile`).

    `event_id` is the app's own id for the event: the same id twice is one event. `traceparent` is the app's trace
    context, as W3C Trace Context writes it, for the worker's traces; one that is not valid is ignored.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    customer_id: Annotated[StrictStr, Field(pattern=r"^[a-zA-Z0-9_:-]+$", max_length=CUSTOMER_ID_MAX)]
    type: Literal["customer.updated", "customer.reconcile"] = "customer.updated"
    changes: Changes | None = None
    event_id: Annotated[Text, Field(min_length=1, max_length=EVENT_ID_MAX)] | None = None
    traceparent: Annotated[str | None, BeforeValidator(valid_traceparent)] = None

    @model_validator(mode="after")
    def _changes_go_with_updated(self) -> "CustomerUpdate":
        said = self.changes.said() if self.changes is not None else {}
        if self.type == "customer.updated" and not said:
            raise ValueError("changes: has to name at least one field for customer.updated")
        if self.type == "customer.reconcile" and said:
            raise ValueError("changes: has to be left out for customer.reconcile")
        return self

    def fields(self) -> dict[str, str]:
        """The fields of the stream entry, as strings."""
        fields = {"customer_id": self.customer_id, "type": self.type}
        if self.changes is not None:
            fields["changes"] = json.dumps(self.changes.said(), ensure_ascii=False, separators=(",", ":"))
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


def fields_not_known(fields: Mapping[bytes, bytes]) -> set[str]:
    """The names of an entry's fields that a later version may know: they are ignored, not refused.

    So that apps and workers need not be deployed at the same time. What looks like no field's name is refused, and so
    is an unknown name within `changes`, where it would be a change that is not made.
    """
    names = {key.decode() for key in fields if FIELD_NAME.fullmatch(key)}
    return names - CustomerUpdate.model_fields.keys()


def read_entry(fields: Mapping[bytes, bytes]) -> CustomerUpdate:
    """The event in a stream entry's fields. Raises EventError that names each wrong field."""
    values: dict[str, Any] = {}
    ignored = fields_not_known(fields)
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


def _read_changes(raw: bytes) -> JsonValue:
    _check_size(len(raw))
    try:
        parsed: JsonValue = pydantic_core.from_json(raw, allow_inf_nan=False)
    except ValueError:
        raise EventError("changes: is not valid JSON") from None
    if not isinstance(parsed, dict):
        raise EventError("changes: has to be a JSON object")
    return parsed


def _check_size(size: int) -> None:
    if size > CHANGES_MAX_BYTES:
        raise EventError(f"changes: is {size} bytes long, {CHANGES_MAX_BYTES} are allowed")


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False):
        path = ".".join(str(part)[:64] for part in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            text = "is no field of an event"
        elif problem["type"] == "model_type":
            text = "has to be a JSON object"
        elif problem["type"] == "string_pattern_mismatch":
            text = "holds more than letters, digits, _, : and -"
        yield f"{path}: {text}" if path else text
