"""What a valid event is, and that a wrong one is refused with the field's name and without its value."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.events import CHANGES_MAX_BYTES, EventError, fields_not_known, new_update, read_entry
from jobs.mail import Entry

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "name": TEXT | st.none(),
        "email": st.sampled_from(["ann@example.com", "jörg@exämple.com"]) | st.none(),
        "fingerprint": TEXT | st.none(),
        "metadata": st.dictionaries(TEXT, TEXT | st.integers() | st.none() | st.lists(TEXT), max_size=4) | st.none(),
        "stripe_id": TEXT | st.none(),
        "send_email_receipts": st.booleans(),
    },
).filter(bool)


def entry(**fields: str | bytes) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() if isinstance(value, str) else value for name, value in fields.items()}


@given(changes=CHANGES, customer_id=st.from_regex(r"\A[a-zA-Z0-9_:-]+\Z"), event_id=TEXT.filter(bool) | st.none())
def test_an_event_comes_back_from_its_fields_as_it_was(
    changes: dict[str, Any], customer_id: str, event_id: str | None
) -> None:
    update = new_update(customer_id=customer_id, changes=changes, event_id=event_id)
    assert read_entry(entry(**update.fields())) == update
    assert json.loads(update.fields()["changes"]) == changes


def test_a_null_that_was_said_is_kept_and_what_was_not_said_is_left_out() -> None:
    update = new_update(customer_id="ann", changes={"email": None})
    assert update.changes is not None
    assert update.changes.said() == {"email": None}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"changes": '{"name": "x"}'}, "customer_id"),
        ({"customer_id": "a b", "changes": '{"name": "x"}'}, "customer_id"),
        ({"customer_id": "ann\n", "changes": '{"name": "x"}'}, "customer_id"),
        ({"customer_id": "é", "changes": '{"name": "x"}'}, "customer_id"),
        ({"customer_id": "", "changes": '{"name": "x"}'}, "customer_id"),
        ({"customer_id": "a" * 501, "changes": '{"name": "x"}'}, "customer_id"),
        ({"customer_id": b"\xff\xfe", "changes": '{"name": "x"}'}, "customer_id"),
        ({"customer_id": "ann"}, "changes"),
        ({"customer_id": "ann", "changes": "{}"}, "changes"),
        ({"customer_id": "ann", "changes": "[]"}, "changes"),
        ({"customer_id": "ann", "changes": '{"name": '}, "changes"),
        ({"customer_id": "ann", "changes": "{" * 100_000}, "changes"),
        ({"customer_id": "ann", "changes": '{"metadata": {"a": NaN}}'}, "changes"),
        ({"customer_id": "ann", "changes": b'{"name": "\xff"}'}, "changes"),
        ({"customer_id": "ann", "changes": '{"name": "' + "x" * CHANGES_MAX_BYTES + '"}'}, "changes"),
        ({"customer_id": "ann", "changes": '{"emial": "ann@example.com"}'}, "changes.emial"),
        ({"customer_id": "ann", "changes": '{"email": ""}'}, "changes.email"),
        ({"customer_id": "ann", "changes": '{"email": "not-an-email"}'}, "changes.email"),
        ({"customer_id": "ann", "changes": '{"email": 5}'}, "changes.email"),
        ({"customer_id": "ann", "changes": '{"name": 5}'}, "changes.name"),
        ({"customer_id": "ann", "changes": '{"name": "a\\u0000b"}'}, "changes.name"),
        ({"customer_id": "ann", "changes": '{"metadata": {"k": {"deep": ["a\\u0000"]}}}'}, "changes.metadata"),
        ({"customer_id": "ann", "changes": '{"metadata": {"a\\u0000": 1}}'}, "changes.metadata"),
        ({"customer_id": "ann", "changes": '{"metadata": "x"}'}, "changes.metadata"),
        ({"customer_id": "ann", "changes": '{"send_email_receipts": null}'}, "changes.send_email_receipts"),
        ({"customer_id": "ann", "changes": '{"send_email_receipts": "true"}'}, "changes.send_email_receipts"),
        ({"customer_id": "ann", "changes": '{"send_email_receipts": 1}'}, "changes.send_email_receipts"),
        ({"customer_id": "ann", "type": "customer.deleted", "changes": '{"name": "x"}'}, "type"),
        ({"customer_id": "ann", "type": "customer.reconcile", "changes": '{"name": "x"}'}, "changes"),
        ({"customer_id": "ann", "changes": '{"name": "x"}', "event-id": "1"}, "event-id"),
        ({"customer_id": "ann", "changes": '{"name": "x"}', "event_id": ""}, "event_id"),
        ({"customer_id": "ann", "changes": '{"name": "x"}', "event_id": "e" * 201}, "event_id"),
    ],
)
def test_a_wrong_event_is_refused_with_the_name_of_the_field(fields: dict[str, str | bytes], names: str) -> None:
    with pytest.raises(EventError) as refusal:
        read_entry(entry(**fields))
    assert str(refusal.value).startswith(f"{names}: ")


def test_a_refusal_does_not_repeat_the_value() -> None:
    with pytest.raises(EventError) as refusal:
        new_update(customer_id="ann", changes={"email": "ann.example.com", "name": ["Ann"], "metadata": "secret"})
    assert str(refusal.value).count("changes.") == 3
    assert "ann.example.com" not in str(refusal.value)
    assert "Ann" not in str(refusal.value)
    assert "secret" not in str(refusal.value)


@given(fields=st.dictionaries(st.binary(max_size=20), st.binary(max_size=60), max_size=6))
def test_garbage_is_an_event_or_refused_and_never_anything_else(fields: dict[bytes, bytes]) -> None:
    try:
        update = read_entry(fields)
    except EventError:
        return
    assert update.customer_id


@pytest.mark.parametrize("metadata", [{"k": "\ud800"}, {"\udfff": 1}, {"k": [{"deep": "a\ud800"}]}])
def test_half_a_surrogate_pair_is_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(EventError, match=r"^changes\.metadata"):
        new_update(customer_id="ann", changes={"metadata": metadata})


def test_a_field_of_a_later_version_is_ignored_and_named() -> None:
    fields = {b"customer_id": b"ann", b"changes": b'{"name": "Ann"}', b"urgency": b"\xff", b"trace_2": b"x"}
    assert read_entry(fields) == new_update(customer_id="ann", changes={"name": "Ann"})
    assert fields_not_known(fields) == {"urgency", "trace_2"}


@pytest.mark.parametrize("name", [b"Urgency", b"unnamed arguments", b"\xff", b"", b"9lives", b"a" * 65])
def test_a_field_that_no_version_would_have_is_refused(name: bytes) -> None:
    fields = {b"customer_id": b"ann", b"changes": b'{"name": "Ann"}', name: b"x"}
    assert fields_not_known(fields) == set()
    with pytest.raises(EventError):
        read_entry(fields)


def test_an_app_in_python_learns_of_a_misspelt_field_at_once() -> None:
    with pytest.raises(EventError, match="urgency: is no field of an event"):
        new_update(customer_id="ann", changes={"name": "Ann"}, urgency="high")


TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CHANGE = {b"customer_id": b"ann", b"changes": b'{"name": "Ann"}'}


def test_a_trace_context_is_read_written_and_known() -> None:
    fields = CHANGE | {b"traceparent": TRACEPARENT.encode()}
    update = read_entry(fields)
    assert update.traceparent == update.fields()["traceparent"] == Entry("1-1", fields).traceparent == TRACEPARENT
    assert fields_not_known(fields) == set()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"garbage",
        TRACEPARENT.upper().encode(),
        TRACEPARENT.encode() + b"\n",
        b"ff" + TRACEPARENT[2:].encode(),
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-" + b"0" * 16 + b"-01",
        b"x" * 100_000,
    ],
)
def test_a_trace_context_that_is_not_valid_is_ignored_and_the_event_is_not(raw: bytes) -> None:
    fields = CHANGE | {b"traceparent": raw}
    assert read_entry(fields) == read_entry(CHANGE)
    assert "traceparent" not in read_entry(fields).fields()
    assert Entry("1-1", fields).traceparent is None


@pytest.mark.parametrize("value", [None, 42, {"00": 1}])
def test_an_app_in_python_may_hand_on_whatever_its_tracer_gave_it(value: object) -> None:
    assert new_update(customer_id="ann", changes={"name": "Ann"}, traceparent=value).traceparent is None
