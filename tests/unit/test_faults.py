"""The texts of faults: each kind of wrong value, at each place of an event, is described in our own words."""

import copy
import re
from collections import UserDict
from collections.abc import ItemsView
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from pydantic import ValidationError

from autumn_sync_client.events import PROBLEMS
from jobs.events import CustomerUpdate, EventError, Fault, new_update
from tests.support.billing import FULLEST, places, with_value

EVENT: Final[dict[str, Any]] = {
    **{"customer_id": "ann", "type": "customer.updated", "event_id": "e", "source": "shop", "traceparent": None},
    "changes": {
        **{"name": "Ann", "email": "ann@example.com", "fingerprint": "f", "metadata": {"a": {"b": [1]}}},
        **{"stripe_id": "cus_ann", "send_email_receipts": True},
        **FULLEST,
    },
}
"""An event with every field."""
WORDS_OF_PYDANTIC: Final = re.compile(
    r"(Input|String|List|Value|Keys) should|Value error|Field required|Extra inputs|Recursion error|input was|"
    r"valid (string|boolean|list|dictionary|mapping)|after validation|match pattern"
)


class Unreadable(UserDict[str, Any]):
    """A mapping that fails when it is read."""

    def items(self) -> ItemsView[str, Any]:
        """Raise."""
        raise RuntimeError("unreadable")


def deep(levels: int) -> list[Any]:
    return [deep(levels - 1)] if levels else []


def cycle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


WRONG: Final[dict[str, Any]] = {
    **{"null": None, "whole": -5, "number": 1.5, "nan": float("nan"), "large": 10**400, "true": True},
    **{"empty": "", "long": "x" * 1000, "half": "\ud800", "nul": "a\0", "bytes": b"\xff", "word": "no-such-word"},
    **{"array": [], "nulls": [None], "many": [{}] * 6, "deep": deep(400), "cycle": cycle(), "class": int},
    **{"object": {}, "field": {"zzz": 1}, "number key": {5: 1}, "half a key": {"\ud800": 1}, "bytes key": {b"x": 1}},
    **{"time": datetime.now(UTC), "time inside": [datetime.now(UTC)], "unreadable": Unreadable(a=1)},
}


def without(path: tuple[str | int, ...], extra: Any = None) -> dict[str, Any]:
    """Return the event without the value at a path, and with an `extra` key beside it."""
    event = copy.deepcopy(EVENT)
    place: Any = event
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    if extra is not None and isinstance(place, dict):
        place[extra] = 1
    return event


def problems(event: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the kinds and texts of pydantic's errors."""
    try:
        CustomerUpdate.model_validate(event)
    except ValidationError as error:
        return [(each["type"], each["msg"]) for each in error.errors()]
    return []


def faults(event: dict[str, Any]) -> tuple[Fault, ...]:
    """Return the faults of an event."""
    try:
        new_update(**event)
    except EventError as refusal:
        return refusal.faults
    return ()


def check(event: dict[str, Any]) -> set[str]:
    """Assert that each fault has our own text. Return the kinds of pydantic's errors."""
    found = problems(event)
    for (kind, theirs), fault in zip(found, faults(event), strict=bool(found)):
        assert fault.message, fault
        assert kind == "value_error" or fault.message != theirs, fault
        assert not WORDS_OF_PYDANTIC.search(fault.message), fault
        assert "{" not in fault.message.replace('{"plan": null}', ""), fault
    return {kind for kind, _ in found}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_value_at_any_place_is_described_in_our_words(wrong: str) -> None:
    kinds = set[str]()
    for path in places(EVENT):
        kinds |= check(with_value(EVENT, path, WRONG[wrong]))
    assert kinds - PROBLEMS.keys() <= {"value_error", "mapping_type"}


@pytest.mark.parametrize("extra", [None, "zzz", "\ud800"], ids=["missing", "unknown", "half a key"])
def test_missing_or_unknown_field_at_any_place_is_described_in_our_words(extra: str | None) -> None:
    for path in places(EVENT):
        assert check(without(path, extra)) <= {*PROBLEMS, "value_error"}


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("customer_id", "x" * 501, "has more than 500 characters: send a shorter one"),
        ("customer_id", "a b", "may contain only letters, digits, _, : and -"),
        ("customer_id", "\ud800", "contains half a surrogate pair"),
        ("event_id", "x" * 201, "has more than 200 characters: send a shorter one"),
        ("event_id", "", "is empty"),
        ("source", "x" * 101, "has more than 100 characters: send a shorter one"),
        ("type", "customer.deleted", "must be customer.updated or customer.reconcile"),
        ("changes.billing_details.tax_exempt", "yes", "must be none, exempt or reverse"),
        ("changes.billing_controls.spend_limits.0.limit_type", None, "must be absolute or usage_percentage"),
        (
            "changes.billing_details.invoice_settings.custom_fields",
            [{"name": "a", "value": "b"}] * 5,
            "has more than 4 items: send fewer",
        ),
        (
            "changes.billing_details.invoice_settings.custom_fields.0.name",
            "x" * 41,
            "has more than 40 characters: send a shorter one",
        ),
        ("changes.billing_details.invoice_settings.custom_fields.0.name", "", "is empty"),
        (
            "changes.billing_details.invoice_settings.custom_fields.0.value",
            "x" * 141,
            "has more than 140 characters: send a shorter one",
        ),
        ("changes.metadata.a", datetime.now(UTC), "is not a value of JSON"),
        ("changes.metadata.a.b.0", datetime.now(UTC), "is not a value of JSON"),
        ("changes.metadata.a.b", datetime.now(UTC), "is not a value of JSON"),
        ("changes.metadata.a", deep(400), "is nested too deeply"),
        ("changes.config", Unreadable(), "is not a valid value"),
    ],
)
def test_fault_says_what_is_wrong_with_which_field(path: str, value: Any, text: str) -> None:
    steps = tuple(int(step) if step.isdigit() else step for step in path.split("."))
    assert faults(with_value(EVENT, steps, value)) == (Fault(path, text),)


def test_value_that_contains_itself_is_named() -> None:
    assert faults(with_value(EVENT, ("changes", "metadata", "a"), cycle())) == (
        Fault("changes.metadata.a.0", "contains itself"),
    )


def test_key_that_is_not_text_is_named() -> None:
    assert faults(with_value(EVENT, ("changes", "config"), {5: True})) == (
        Fault("changes.config.5", "the name of a field must be a string"),
    )
