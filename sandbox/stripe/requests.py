"""The endpoints of the simulated Stripe, their parameters, and the parser of the bracketed form.

The table has every endpoint of the simulator; a test compares it with the parameter types of Stripe's SDK.
The effects of a request belong elsewhere.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl

from sandbox.stripe.errors import Json, invalid, not_expandable, unknown_parameter

Kind = Literal["text", "email", "integer", "boolean", "list", "map", "range", "address", "exemption"]

MOST_METADATA = 50
_LONGEST = {"email": 512, "receipt_email": 512, "name": 256, "phone": 20}
_LONGEST_TEXT = 5000
_LONGEST_METADATA_KEY = 40
_LONGEST_METADATA_VALUE = 500
_ADDRESS = {"city", "country", "line1", "line2", "postal_code", "state"}
_EXEMPTIONS = ("", "exempt", "none", "reverse")
_RANGE = {"gt", "gte", "lt", "lte"}
_EMAIL = re.compile(r"[^\s@]+@[^\s@.]+(\.[^\s@.]+)+")


@dataclass(frozen=True)
class Endpoint:
    """One endpoint. Limits count all ids in its path together."""

    name: str
    method: str
    path: str
    takes: Mapping[str, Kind]
    required: tuple[str, ...] = ()
    permission: str = ""
    expands: tuple[str, ...] = ()
    """The paths that `expand` may name."""


_PAGE: dict[str, Kind] = {
    "ending_before": "text",
    "expand": "list",
    "limit": "integer",
    "starting_after": "text",
}
_PROFILE: dict[str, Kind] = {
    "address": "address",
    "description": "text",
    "email": "email",
    "expand": "list",
    "metadata": "map",
    "name": "text",
    "phone": "text",
    "tax_exempt": "exemption",
}
_PAYMENT: dict[str, Kind] = {
    "description": "text",
    "expand": "list",
    "metadata": "map",
    "receipt_email": "email",
}
# The paths that Autumn expands. Each is null on every customer of the simulator.
_OF_A_CUSTOMER = ("discount.source.coupon.applies_to", "invoice_settings.default_payment_method", "test_clock")
_OF_CUSTOMERS = tuple(f"data.{path}" for path in _OF_A_CUSTOMER)
_CUSTOMER, _PAYMENT_INTENT = "/v1/customers/{id}", "/v1/payment_intents/{id}"

ENDPOINTS = (
    Endpoint(
        "customers.create",
        "POST",
        "/v1/customers",
        _PROFILE,
        permission="rak_customer_write",
        expands=_OF_A_CUSTOMER,
    ),
    Endpoint(
        "customers.list",
        "GET",
        "/v1/customers",
        {"created": "range", "email": "text", **_PAGE},
        permission="rak_customer_read",
        expands=_OF_CUSTOMERS,
    ),
    Endpoint(
        "customers.search",
        "GET",
        "/v1/customers/search",
        {"expand": "list", "limit": "integer", "page": "text", "query": "text"},
        required=("query",),
        permission="rak_customer_read",
        expands=_OF_CUSTOMERS,
    ),
    Endpoint(
        "customers.retrieve",
        "GET",
        _CUSTOMER,
        {"expand": "list"},
        permission="rak_customer_read",
        expands=_OF_A_CUSTOMER,
    ),
    Endpoint(
        "customers.update",
        "POST",
        _CUSTOMER,
        _PROFILE,
        permission="rak_customer_write",
        expands=_OF_A_CUSTOMER,
    ),
    Endpoint("customers.delete", "DELETE", _CUSTOMER, {}, permission="rak_customer_write"),
    Endpoint(
        "payment_intents.create",
        "POST",
        "/v1/payment_intents",
        {"amount": "integer", "currency": "text", "customer": "text", **_PAYMENT},
        required=("amount", "currency"),
        permission="rak_payment_intent_write",
        expands=("latest_charge",),
    ),
    Endpoint(
        "payment_intents.list",
        "GET",
        "/v1/payment_intents",
        {"created": "range", "customer": "text", **_PAGE},
        permission="rak_payment_intent_read",
        expands=("data.latest_charge",),
    ),
    Endpoint(
        "payment_intents.retrieve",
        "GET",
        _PAYMENT_INTENT,
        {"expand": "list"},
        permission="rak_payment_intent_read",
        expands=("latest_charge",),
    ),
    Endpoint(
        "payment_intents.update",
        "POST",
        _PAYMENT_INTENT,
        _PAYMENT,
        permission="rak_payment_intent_write",
        expands=("latest_charge",),
    ),
    Endpoint(
        "charges.list",
        "GET",
        "/v1/charges",
        {"created": "range", "customer": "text", "payment_intent": "text", **_PAGE},
        permission="rak_charge_read",
    ),
    Endpoint("charges.retrieve", "GET", "/v1/charges/{id}", {"expand": "list"}, permission="rak_charge_read"),
    Endpoint(
        "events.list",
        "GET",
        "/v1/events",
        {"created": "range", "type": "text", "types": "list", **_PAGE},
        permission="rak_event_read",
    ),
    Endpoint("events.retrieve", "GET", "/v1/events/{id}", {"expand": "list"}, permission="rak_event_read"),
    Endpoint(
        "subscriptions.list",
        "GET",
        "/v1/subscriptions",
        {"customer": "text", "status": "text", **_PAGE},
        permission="rak_subscription_read",
    ),
    Endpoint(
        "subscription_schedules.list",
        "GET",
        "/v1/subscription_schedules",
        {"customer": "text", "scheduled": "boolean", **_PAGE},
        permission="rak_subscription_read",
    ),
    Endpoint(
        "account.retrieve", "GET", "/v1/account", {"expand": "list"}, permission="rak_accounts_kyc_id_numbers_read"
    ),
)


def parse_form(encoded: str) -> Json:
    """Parse `a=1&metadata[k]=v&expand[0]=x` into nested dictionaries; a list becomes one by position."""
    parsed: Json = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        first, *rest = [name.partition("[")[0], *re.findall(r"\[([^\[\]]*)\]", name)]
        place = parsed
        for part in rest:
            inner = place.setdefault(first, {})
            if not isinstance(inner, dict):
                raise invalid(name, f"Invalid {name}: it is given both as a value and as an object.")
            place, first = inner, part or str(len(inner))
        place[first] = value
    return parsed


def validate(endpoint: Endpoint, raw: Json) -> Json:
    """Return the parameters with their types.

    Raises: StripeError for an unknown or invalid parameter.
    """
    for name in endpoint.required:
        if not raw.get(name):
            raise invalid(name, f"Missing required param: {name}.", "parameter_missing")
    checked: Json = {}
    for name, value in raw.items():
        kind = endpoint.takes.get(name)
        if kind is None:
            raise unknown_parameter(name)
        checked[name] = _CHECKS[kind](name, value)
    for path in checked.get("expand", ()):
        if path not in endpoint.expands:
            raise not_expandable(path)
    return checked


def normalized(raw: Json) -> Json:
    """Return parameters of a customer in a normalized form.

    The name is trimmed and in Unicode form NFC, the e-mail trimmed and in lower case, each metadata value trimmed.
    """
    kept = dict(raw)
    if isinstance(name := raw.get("name"), str):
        kept["name"] = unicodedata.normalize("NFC", name.strip())
    if isinstance(metadata := raw.get("metadata"), dict):
        kept["metadata"] = {key: each.strip() if isinstance(each, str) else each for key, each in metadata.items()}
    if isinstance(email := raw.get("email"), str):
        kept["email"] = email.strip().lower()
    return kept


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise invalid(name, f"Invalid string: {value}", "parameter_invalid_string")
    longest = _LONGEST.get(name, _LONGEST_TEXT)
    if len(value) > longest:
        raise invalid(name, f"Invalid string: must be at most {longest} characters", "parameter_invalid_string_length")
    return value


def _email(name: str, value: Any) -> str:
    text = _text(name, value)
    if text and not _EMAIL.fullmatch(text):
        raise invalid(name, f"Invalid email address: {text}", "email_invalid")
    return text


def _integer(name: str, value: Any) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise invalid(name, f"Invalid integer: {value}", "parameter_invalid_integer")
    return int(value)


def _boolean(name: str, value: Any) -> bool:
    if value not in ("true", "false"):
        raise invalid(name, f"Invalid boolean: {value}")
    return bool(value == "true")


def _list(name: str, value: Any) -> list[str]:
    if not isinstance(value, dict):
        raise invalid(name, "Invalid array", "parameter_invalid")
    return [_text(name, item) for item in value.values()]


def _map(name: str, value: Any) -> dict[str, str] | None:
    """Return the metadata; None stands for "", which unsets all of it."""
    if value == "":
        return None
    if not isinstance(value, dict):
        raise invalid(name, "Invalid object", "parameter_invalid")
    for key, item in value.items():
        if not isinstance(item, str):
            raise invalid(f"{name}[{key}]", f"Invalid string: {item}", "parameter_invalid_string")
        for what, text, most in (("key", key, _LONGEST_METADATA_KEY), ("value", item, _LONGEST_METADATA_VALUE)):
            if len(text) > most:
                raise invalid(
                    f"{name}[{key}]",
                    f"Metadata {what}s can have up to {most} characters, but you passed in a {what} that is "
                    f"{len(text)} characters. Invalid {what}: {text}",
                )
    return value


def _address(name: str, value: Any) -> dict[str, str | None] | None:
    """Return the address, which replaces the old one; None stands for "", which unsets it."""
    if value == "":
        return None
    if not isinstance(value, dict):
        raise invalid(name, "Invalid object", "parameter_invalid")
    for part in value.keys() - _ADDRESS:
        raise unknown_parameter(f"{name}[{part}]")
    return {part: _text(f"{name}[{part}]", value.get(part, "")) or None for part in sorted(_ADDRESS)}


def _exemption(name: str, value: Any) -> str:
    if value not in _EXEMPTIONS:
        raise invalid(name, f"Invalid {name}: must be one of exempt, none, or reverse")
    return value or "none"


def _range(name: str, value: Any) -> dict[str, int]:
    if not isinstance(value, dict):
        moment = _integer(name, value)
        return {"gte": moment, "lte": moment}
    for bound in value.keys() - _RANGE:
        raise unknown_parameter(f"{name}[{bound}]")
    return {bound: _integer(f"{name}[{bound}]", moment) for bound, moment in value.items()}


_CHECKS = {
    "text": _text,
    "email": _email,
    "integer": _integer,
    "boolean": _boolean,
    "list": _list,
    "map": _map,
    "range": _range,
    "address": _address,
    "exemption": _exemption,
}
