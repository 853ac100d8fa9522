"""The event that apps send: its model, and the code that reads it from the fields of a stream entry.

This package alone defines a valid customer update. Apps and the worker use it, so it needs only pydantic.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    StrictBool,
    StrictStr,
    ValidationError,
    WithJsonSchema,
)

from autumn_sync_client.billing import ABSENT, BillingControls, BillingDetails, Config, Currency
from autumn_sync_client.faults import PROBLEMS, EventError, Fault, Problem, Ruled, faults_in
from autumn_sync_client.values import WHOLE_NUMBER_MAX, Text, storable

__all__ = [
    "CHANGES_MAX_BYTES",
    "CUSTOMER_ID_MAX",
    "EVENT_ID_MAX",
    "EVENT_ID_MAX_BYTES",
    "PROBLEMS",
    "STRIPE_ID",
    "Changes",
    "CustomerUpdate",
    "EventError",
    "Fault",
    "check_size",
    "new_update",
    "parse_changes",
    "parse_json",
    "read_entry",
    "unknown_fields",
    "valid_traceparent",
]

CUSTOMER_ID_MAX = 500
"""Autumn sets no limit. The id is also the Stripe metadata value `autumn_id`, which holds 500 characters."""
EVENT_ID_MAX = 200
SOURCE_MAX = 100
CHANGES_MAX_BYTES = 256 * 1024
EVENT_ID_MAX_BYTES = 4 * EVENT_ID_MAX
FIELD_NAME = re.compile(rb"[a-z][a-z0-9_]{0,63}")
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, version 00. Later versions keep this form."""
EMAIL = re.compile(r'[^\s@"]{1,64}@[^\s@]{1,255}')

STRIPE_ID = r"[A-Za-z0-9][A-Za-z0-9_.@:+-]{0,254}"
"""The pattern of a Stripe customer's id.

Stripe makes ids that begin with `cus_`. Imported accounts also have other ids, such as an app's user id or an e-mail
address. An id that matches cannot change the path of a URL, except for `search`.
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
"""Prefixes of other Stripe ids that an app may send by mistake, and the object that each one names."""


def _not_null(value: Any) -> Any:
    if value is None:
        raise ValueError('cannot be null: send null for each key to delete, as in {"plan": null}')
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
    # A customer with the id `search` would have the same path as Stripe's search.
    if value == "search" or not re.fullmatch(pattern, value):
        raise ValueError("is not the id of a Stripe customer, such as cus_NffrFeUfNV2Hib")
    return value


def valid_traceparent(value: object) -> str | None:
    """Return the trace context, or None if it is invalid. The specification says to ignore an invalid one."""
    return value if isinstance(value, str) and TRACEPARENT.fullmatch(value) else None


EventId = Annotated[StrictStr, Field(min_length=1, max_length=EVENT_ID_MAX), AfterValidator(storable)]
Source = Annotated[StrictStr, Field(min_length=1, max_length=SOURCE_MAX), AfterValidator(storable)]
Email = Annotated[Text, AfterValidator(_address)]
Metadata = Annotated[dict[StrictStr, JsonValue], BeforeValidator(_not_null), AfterValidator(storable)]
StripeId = Annotated[
    Text,
    AfterValidator(_stripe_customer_id),
    WithJsonSchema({"type": "string", "pattern": f"^({STRIPE_ID})?$"}),
]
Switch = Annotated[StrictBool, BeforeValidator(_true_or_false)]


class Changes(Ruled):
    """The requested changes. A field that is left out stays as it is.

    The names and their meaning are those of Autumn's `POST /v1/customers.update`.
    """

    name: Text | None = Field(None, description="null clears it.")
    email: Email | None = Field(None, description='null clears it; "" is refused.')
    fingerprint: Text | None = Field(None, description="null clears it.")
    metadata: Metadata = Field(
        {},
        description="Merged by top-level key; null deletes the key. Send whole numbers beyond "
        f"{WHOLE_NUMBER_MAX} as strings, at any depth, because Autumn would round them.",
    )
    stripe_id: StripeId | None = Field(None, description="The id of a Stripe customer; null unlinks.")
    send_email_receipts: Switch = Field(False, description="false turns receipts off; null is refused.")
    currency: Currency | None = Field(None, description="null returns to the organisation's currency.")
    config: Config = ABSENT
    billing_controls: BillingControls = ABSENT
    billing_details: BillingDetails = ABSENT

    @classmethod
    def broken_rules(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """See Ruled."""
        if "billing_details" in given and "stripe_id" in given and given["stripe_id"] in (None, ""):
            text = "needs a linked Stripe customer, so it cannot be sent with a stripe_id that unlinks"
            yield ("billing_details",), text

    def requested(self) -> dict[str, Any]:
        """Return only the fields that the event sets, including nulls."""
        return self.model_dump(exclude_unset=True)


class CustomerUpdate(Ruled):
    """An event: a customer changed (`customer.updated`), or both sides should be compared (`customer.reconcile`).

    `event_id` is the app's own id for the event: the same id twice is one event. `traceparent` is the app's W3C trace
    context, for the worker's traces; an invalid one is ignored. `source` names the app that sent the event. Over HTTP,
    the name of its token replaces it.
    """

    customer_id: Annotated[StrictStr, Field(pattern=r"^[a-zA-Z0-9_:-]+$", min_length=1, max_length=CUSTOMER_ID_MAX)]
    type: Literal["customer.updated", "customer.reconcile"] = "customer.updated"
    changes: Changes | None = None
    event_id: EventId | None = None
    traceparent: Annotated[str | None, BeforeValidator(valid_traceparent)] = None
    source: Source | None = None

    @classmethod
    def broken_rules(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """See Ruled."""
        kind, changes = given.get("type", "customer.updated"), given.get("changes")
        requested = changes.model_fields_set if isinstance(changes, Changes) else {} if changes is None else changes
        if not isinstance(requested, dict | set):
            return
        if kind == "customer.updated" and not requested:
            yield ("changes",), "must contain at least one field for customer.updated"
        if kind == "customer.reconcile" and requested:
            yield ("changes",), "must be left out for customer.reconcile"

    def fields(self) -> dict[str, str]:
        """Return the fields of the stream entry, as strings."""
        fields = {"customer_id": self.customer_id, "type": self.type}
        if self.changes is not None:
            fields["changes"] = json.dumps(self.changes.requested(), ensure_ascii=False, separators=(",", ":"))
        if self.event_id is not None:
            fields["event_id"] = self.event_id
        if self.traceparent is not None:
            fields["traceparent"] = self.traceparent
        if self.source is not None:
            fields["source"] = self.source
        return fields


def new_update(**fields: Any) -> CustomerUpdate:
    """Return a CustomerUpdate with these fields. Raises EventError, which names each wrong field."""
    try:
        update = CustomerUpdate.model_validate(fields)
    except ValidationError as error:
        raise EventError(*faults_in(error, CustomerUpdate)) from None
    check_size(len(update.fields().get("changes", "").encode()))
    return update


def unknown_fields(fields: Mapping[bytes, bytes]) -> set[str]:
    """Return the names of an entry's unknown fields, which are ignored because a later version may know them.

    So apps and workers need not be deployed at the same time. A name that no field can have is refused. An unknown
    name in `changes` is refused too, because the worker would not make that change.
    """
    names = {key.decode() for key in fields if FIELD_NAME.fullmatch(key)}
    return names - CustomerUpdate.model_fields.keys()


def read_entry(fields: Mapping[bytes, bytes]) -> CustomerUpdate:
    """Return the event in a stream entry's fields. Raises EventError, which names each wrong field."""
    values: dict[str, Any] = {}
    ignored = unknown_fields(fields)
    for key, raw in fields.items():
        name = key.decode("utf-8", "replace")[:64]
        if name in ignored:
            continue
        values[name] = _read_changes(raw) if name == "changes" else _read_text(name, raw)
    return new_update(**values)


def _read_text(name: str, raw: bytes) -> str:
    # Decode an invalid trace context too: it is ignored later, and must not make the event invalid.
    try:
        return raw.decode("utf-8", "replace" if name == "traceparent" else "strict")
    except UnicodeDecodeError:
        raise EventError(Fault(name, "is not UTF-8 text")) from None


def _read_changes(raw: bytes) -> dict[str, JsonValue]:
    check_size(len(raw))
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise EventError(Fault("changes", "is not UTF-8 text")) from None
    return parse_changes(text)


def parse_changes(text: str) -> dict[str, JsonValue]:
    """Return the JSON object in a text, not yet validated. Raises EventError if it is not an object."""
    try:
        parsed = parse_json(text)
    except ValueError as error:
        raise EventError(Fault("changes", str(error))) from None
    if not isinstance(parsed, dict):
        raise EventError(Fault("changes", PROBLEMS["dict_type"]))
    return parsed


def parse_json(text: str) -> JsonValue:
    """Return the value in a JSON text. Raises ValueError, without a value, if the text is not JSON."""
    try:
        parsed: JsonValue = json.loads(text, parse_int=_whole_number, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not valid JSON ({error.msg} at character {error.pos})") from None
    except RecursionError:
        raise ValueError(PROBLEMS["recursion_depth_exceeded"]) from None
    return parsed


def _whole_number(digits: str) -> int:
    """Return the number, or a too large one if it has more digits than Python converts. Both are refused later."""
    return int(digits) if len(digits) <= len(str(-WHOLE_NUMBER_MAX)) else WHOLE_NUMBER_MAX + 1


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"is not valid JSON ({name} is not a number of JSON)")


def check_size(size: int) -> None:
    """Raise EventError if `changes` has more than CHANGES_MAX_BYTES. `size` is that of its JSON in UTF-8."""
    if size > CHANGES_MAX_BYTES:
        raise EventError(Fault("changes", f"is {size} bytes long; at most {CHANGES_MAX_BYTES} are allowed"))
