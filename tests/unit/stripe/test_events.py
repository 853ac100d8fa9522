"""The models of Stripe's events, with every form that an answer may have."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.stripe.events import EventAnswer, EventData, EventRequest
from tests.support.examples import examples

EVENT: dict[str, Any] = {
    "id": "evt_1",
    "object": "event",
    "api_version": "2026-07-29",
    "type": "customer.updated",
    "created": 1_700_000_000,
    "livemode": True,
    "pending_webhooks": 1,
    "request": {"id": "req_1", "idempotency_key": "key"},
    "data": {"object": {"id": "cus_1", "name": "Ann"}, "previous_attributes": {"name": None}},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_event_is_read_without_what_is_extra() -> None:
    assert EventAnswer.model_validate(EVENT) == EventAnswer(
        id="evt_1",
        type="customer.updated",
        created=1_700_000_000,
        livemode=True,
        request=EventRequest(id="req_1", idempotency_key="key"),
        data=EventData(object={"id": "cus_1", "name": "Ann"}, previous_attributes={"name": None}),
    )


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("id", None),
        ("id", "evt 1"),
        ("id", "evt_1\n"),
        ("id", "e" * 101),
        ("type", 1),
        ("type", "customer updated"),
        ("created", "1700000000"),
        ("created", -1),
        ("created", True),
        ("created", 10**30),
        ("livemode", 1),
        ("data", []),
        ("data", {}),
        ("data", {"object": {}, "previous_attributes": "name"}),
    ],
)
def test_part_of_unknown_form_is_named(part: str, value: object) -> None:
    assert EventAnswer.model_validate({**EVENT, part: value}).wrong == (part,)


@pytest.mark.parametrize("request_part", ["req_1", 1, {"id": 1}, {"id": "req_1", "idempotency_key": []}])
def test_request_of_unknown_form_is_a_request_without_a_key(request_part: object) -> None:
    read = EventAnswer.model_validate({**EVENT, "request": request_part})
    assert (read.request, read.wrong) == (EventRequest(id="unknown"), ())


def test_personal_values_are_not_shown() -> None:
    assert "Ann" not in repr(EventAnswer.model_validate(EVENT))


@settings(max_examples=examples(200))
@given(JSON, st.dictionaries(st.sampled_from(sorted(EVENT)), JSON))
def test_any_json_is_read_without_an_error(body: object, changed: dict[str, object]) -> None:
    EventAnswer.model_validate(body)
    wrong = EventAnswer.model_validate({**EVENT, **changed}).wrong
    assert set(wrong) <= set(changed)
