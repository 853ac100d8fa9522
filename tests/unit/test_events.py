"""Parsing of events, and refusals that name the field and not its value."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from autumn_sync_client.billing import BillingDetails
from autumn_sync_client.faults import FAULTS_MAX
from jobs.events import (
    CHANGES_MAX_BYTES,
    Changes,
    CustomerUpdate,
    EventError,
    Fault,
    new_update,
    read_entry,
    unknown_fields,
)
from jobs.queue.batch import Entry
from tests.support.billing import FULLEST

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)
EXACT = 2**53 - 1
"""The largest integer that JavaScript keeps exactly."""
NUMBERS = st.integers(-EXACT, EXACT) | st.floats(allow_nan=False, allow_infinity=False)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "name": TEXT | st.none(),
        "email": st.sampled_from(["ann@example.com", "jörg@exämple.com"]) | st.none(),
        "fingerprint": TEXT | st.none(),
        "metadata": st.dictionaries(TEXT, TEXT | NUMBERS | st.none() | st.lists(TEXT | NUMBERS), max_size=4),
        "stripe_id": st.sampled_from(["cus_NffrFeUfNV2Hib", "cus_ann_2", "user.1+a@example.com", "42", ""]) | st.none(),
        "send_email_receipts": st.booleans(),
        **{name: st.just(value) for name, value in FULLEST.items()},
    },
).filter(lambda changes: bool(changes) and not ("billing_details" in changes and not changes.get("stripe_id", "cus_a")))


def entry(**fields: str | bytes) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() if isinstance(value, str) else value for name, value in fields.items()}


@given(changes=CHANGES, customer_id=st.from_regex(r"\A[a-zA-Z0-9_:-]+\Z"), event_id=TEXT.filter(bool) | st.none())
def test_event_survives_a_round_trip_through_fields(
    changes: dict[str, Any], customer_id: str, event_id: str | None
) -> None:
    update = new_update(customer_id=customer_id, changes=changes, event_id=event_id)
    assert read_entry(entry(**update.fields())) == update
    assert json.loads(update.fields()["changes"]) == changes


def test_explicit_null_is_kept_and_unset_field_is_omitted() -> None:
    update = new_update(customer_id="ann", changes={"email": None})
    assert update.changes is not None
    assert update.changes.requested() == {"email": None}


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
        ({"customer_id": "ann", "changes": '{"metadata": {"k": {"deep": ["a\\u0000"]}}}'}, "changes.metadata.k.deep.0"),
        ({"customer_id": "ann", "changes": '{"metadata": {"a\\u0000": 1}}'}, "changes.metadata.a\0"),
        ({"customer_id": "ann", "changes": '{"metadata": {"a": ' + "[" * 300 + "]" * 300 + "}}"}, "changes.metadata.a"),
        ({"customer_id": "ann", "changes": '{"metadata": {"a": ' + "[" * 100_000}, "changes"),
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
def test_invalid_event_is_refused_with_the_field_name(fields: dict[str, str | bytes], names: str) -> None:
    with pytest.raises(EventError) as refusal:
        read_entry(entry(**fields))
    assert str(refusal.value).startswith(f"{names}: ")


def test_refusal_does_not_repeat_the_value() -> None:
    with pytest.raises(EventError) as refusal:
        new_update(customer_id="ann", changes={"email": "ann.example.com", "name": ["Ann"], "metadata": "secret"})
    assert str(refusal.value).count("changes.") == 3
    assert "ann.example.com" not in str(refusal.value)
    assert "Ann" not in str(refusal.value)
    assert "secret" not in str(refusal.value)


@given(fields=st.dictionaries(st.binary(max_size=20), st.binary(max_size=60), max_size=6))
def test_garbage_is_parsed_or_refused(fields: dict[bytes, bytes]) -> None:
    try:
        update = read_entry(fields)
    except EventError:
        return
    assert update.customer_id


@pytest.mark.parametrize("metadata", [{"k": "\ud800"}, {"\udfff": 1}, {"k": [{"deep": "a\ud800"}]}])
def test_lone_surrogate_is_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(EventError, match=r"^changes\.metadata"):
        new_update(customer_id="ann", changes={"metadata": metadata})


def test_field_of_a_later_version_is_ignored_and_named() -> None:
    fields = {b"customer_id": b"ann", b"changes": b'{"name": "Ann"}', b"urgency": b"\xff", b"trace_2": b"x"}
    assert read_entry(fields) == new_update(customer_id="ann", changes={"name": "Ann"})
    assert unknown_fields(fields) == {"urgency", "trace_2"}


@pytest.mark.parametrize("name", [b"Urgency", b"unnamed arguments", b"\xff", b"", b"9lives", b"a" * 65])
def test_implausible_field_is_refused(name: bytes) -> None:
    fields = {b"customer_id": b"ann", b"changes": b'{"name": "Ann"}', name: b"x"}
    assert unknown_fields(fields) == set()
    with pytest.raises(EventError):
        read_entry(fields)


def test_misspelt_field_raises_at_once_in_python() -> None:
    with pytest.raises(EventError, match="urgency: unknown field"):
        new_update(customer_id="ann", changes={"name": "Ann"}, urgency="high")


TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CHANGE = {b"customer_id": b"ann", b"changes": b'{"name": "Ann"}'}


def test_trace_context_is_read_written_and_recognised() -> None:
    fields = CHANGE | {b"traceparent": TRACEPARENT.encode()}
    update = read_entry(fields)
    assert update.traceparent == update.fields()["traceparent"] == Entry("1-1", fields).traceparent == TRACEPARENT
    assert unknown_fields(fields) == set()


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
def test_invalid_trace_context_is_ignored_and_event_is_kept(raw: bytes) -> None:
    fields = CHANGE | {b"traceparent": raw}
    assert read_entry(fields) == read_entry(CHANGE)
    assert "traceparent" not in read_entry(fields).fields()
    assert Entry("1-1", fields).traceparent is None


@pytest.mark.parametrize("value", [None, 42, {"00": 1}])
def test_python_app_may_pass_on_any_trace_context(value: object) -> None:
    assert new_update(customer_id="ann", changes={"name": "Ann"}, traceparent=value).traceparent is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            '{"metadata": null}',
            'changes.metadata: cannot be null: send null for each key to delete, as in {"plan": null}',
        ),
        ('{"email": ""}', "changes.email: is empty: send null to clear the e-mail address"),
        (
            '{"send_email_receipts": null}',
            "changes.send_email_receipts: cannot be null: send false to turn receipts off, or leave the field out",
        ),
        ('{"send_email_receipts": ""}', "changes.send_email_receipts: must be true or false"),
        ('{"send_email_receipts": "true"}', "changes.send_email_receipts: must be true or false"),
        ('{"metadata": ""}', "changes.metadata: must be a JSON object"),
        ('{"metadata": []}', "changes.metadata: must be a JSON object"),
        ('{"name": 5}', "changes.name: must be a string"),
        ("null", "changes: must be a JSON object"),
        ("", "changes: is not valid JSON (Expecting value at character 0)"),
    ],
)
def test_empty_or_wrong_value_is_refused_with_remedy(changes: str, message: str) -> None:
    with pytest.raises(EventError) as refusal:
        read_entry(entry(customer_id="ann", changes=changes))
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    "changes", [{"metadata": {}}, {"name": ""}, {"fingerprint": ""}, {"fingerprint": None}, {"stripe_id": ""}]
)
def test_empty_value_that_autumn_accepts_is_accepted(changes: dict[str, Any]) -> None:
    update = new_update(customer_id="ann", changes=changes)
    assert read_entry(entry(**update.fields())).changes == update.changes


@pytest.mark.parametrize("number", ["1546130668394913822", str(EXACT + 1), str(-EXACT - 1), "1e400", "-1e400"])
@pytest.mark.parametrize("digits", ["", "0" * 400, "0" * 5000])
def test_number_that_autumn_would_change_is_refused_with_its_path(number: str, digits: str) -> None:
    order = f'{{"order": {{"ids": [1, {number}{digits}]}}}}'
    with pytest.raises(EventError) as refusal:
        read_entry(entry(customer_id="ann", changes=f'{{"metadata": {order}}}'))
    assert str(refusal.value) == (
        "changes.metadata.order.ids.1: Autumn cannot store this number exactly: send it as a string"
    )


@pytest.mark.parametrize("number", [EXACT + 1, -EXACT - 1, 10**400, -(10**5000), math.inf, -math.inf], ids="abcdef")
def test_number_that_autumn_would_change_raises_in_python(number: float) -> None:
    with pytest.raises(EventError, match=r"^changes\.metadata\.id: .* send it as a string$"):
        new_update(customer_id="ann", changes={"metadata": {"id": number}})


def test_nan_is_refused_with_its_path() -> None:
    with pytest.raises(EventError, match=r"^changes\.metadata\.ratio: is not a number$"):
        new_update(customer_id="ann", changes={"metadata": {"ratio": math.nan}})


@pytest.mark.parametrize("number", ["0", "-0", "-0.0", "1.5", "1e300", "1e-400", str(EXACT), str(-EXACT), "true"])
def test_number_that_autumn_keeps_is_accepted(number: str) -> None:
    update = read_entry(entry(customer_id="ann", changes=f'{{"metadata": {{"n": {number}}}}}'))
    assert update.changes is not None
    assert update.changes.requested() == {"metadata": {"n": json.loads(number)}}


@pytest.mark.parametrize(
    "stripe_id",
    ["cus_NffrFeUfNV2Hib", "cus_ann", "cus_ann_2", "42", "user-42", "ann.lee+1@example.com", "org:7", "inhouse_1"],
)
def test_id_of_a_stripe_customer_is_accepted(stripe_id: str) -> None:
    update = new_update(customer_id="ann", changes={"stripe_id": stripe_id})
    assert update.changes is not None
    assert update.changes.requested() == {"stripe_id": stripe_id}


@pytest.mark.parametrize(
    ("stripe_id", "message"),
    [
        (
            "acct_1032D82eZvKYlo2C",
            "names a Stripe account, not a customer: send the customer's id, such as cus_NffrFeUfNV2Hib",
        ),
        ("sub_1MowQVLkdIwHu7ixeRlqHVzs", "names a Stripe subscription, not a customer: send the customer's id,"),
        ("pi_3MtwBwLkdIwHu7ix28a3tqPa", "names a Stripe payment intent, not a customer: send the customer's id,"),
        ("sk_live_secret", "names a Stripe API key, not a customer: send the customer's id,"),
        *(
            (wrong, "is not the id of a Stripe customer, such as cus_NffrFeUfNV2Hib")
            for wrong in [
                *(".", "..", "...", "search", "a/b", "../v1/charges", "cus_a/../b", "cus_a?x=1", "cus_a#b", "cus_%2e"),
                *("cus_", "cus_a-b", " cus_a", "cus_a\n", "cus_a b", "cus_é", "a\\b", "_", "-", "x" * 256, "a;b"),
            ]
        ),
    ],
)
def test_stripe_id_of_another_object_is_refused(stripe_id: str, message: str) -> None:
    with pytest.raises(EventError) as refusal:
        new_update(customer_id="ann", changes={"stripe_id": stripe_id})
    assert str(refusal.value).startswith(f"changes.stripe_id: {message}")
    assert "secret" not in str(refusal.value)


def test_empty_customer_id_is_named_as_empty() -> None:
    with pytest.raises(EventError, match=r"^customer_id: is empty$"):
        read_entry(entry(customer_id="", changes='{"name": "Ann"}'))


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        ({"changes": {"emial": "x"}}, [Fault("changes.emial", "unknown field (did you mean email?)")]),
        ({"changes": {"name": "Ann"}, "colour": 1}, [Fault("colour", "unknown field")]),
        ({"changes": {"name": "Ann"}, "event-id": "1"}, [Fault("event-id", "unknown field (did you mean event_id?)")]),
        ({}, [Fault("changes", "must contain at least one field for customer.updated")]),
        (
            {"changes": {"name": 5, "email": ""}},
            [
                Fault("changes.name", "must be a string"),
                Fault("changes.email", "is empty: send null to clear the e-mail address"),
            ],
        ),
    ],
)
def test_refusal_lists_each_fault_with_its_field(fields: dict[str, Any], faults: list[Fault]) -> None:
    with pytest.raises(EventError) as refusal:
        new_update(customer_id="ann", **fields)
    assert list(refusal.value.faults) == faults
    assert str(refusal.value) == "; ".join(map(str, faults))


@pytest.mark.parametrize(
    ("event", "names"),
    [
        (
            {"customer_id": "ann", "changes": {"new_customer_id": "x", "emial": 1, "email": ""}},
            {"changes.new_customer_id", "changes.emial", "changes.email"},
        ),
        ({"type": "customer.updated", "foo": 1}, {"customer_id", "foo", "changes"}),
        ({"changes": {}, "foo": 1}, {"customer_id", "foo", "changes"}),
        ({"changes": None, "type": "customer.deleted"}, {"customer_id", "type"}),
        (
            {"customer_id": "a b", "type": "customer.reconcile", "changes": {"emial": 1}},
            {"customer_id", "changes", "changes.emial"},
        ),
        (
            {"changes": {"billing_details": {"adress": 1}, "stripe_id": None, "name": 5}},
            {"customer_id", "changes.billing_details", "changes.billing_details.adress", "changes.name"},
        ),
        (
            {"customer_id": "ann", "changes": {"billing_controls": {"usage_limits": [{"usage": 1, "enabled": 2}]}}},
            {
                f"changes.billing_controls.usage_limits.0.{each}"
                for each in ("feature_id", "enabled", "limit", "interval")
            },
        ),
        (
            {"customer_id": "ann", "changes": {"metadata": {"a": EXACT + 1, "b": ["a\0", 1, math.inf]}, "name": "a\0"}},
            {"changes.metadata.a", "changes.metadata.b.0", "changes.metadata.b.2", "changes.name"},
        ),
    ],
)
def test_refusal_names_every_wrong_field(event: dict[str, Any], names: set[str]) -> None:
    with pytest.raises(EventError) as refusal:
        new_update(**event)
    assert {fault.field for fault in refusal.value.faults} == names
    assert len(refusal.value.faults) == len(names)


def test_rules_hold_for_events_that_are_made_from_the_model() -> None:
    new_update(customer_id="ann", changes=Changes(name="Ann"))
    for event in (
        {"changes": Changes()},
        {"changes": Changes(name="Ann"), "type": "customer.reconcile"},
    ):
        with pytest.raises(ValidationError):
            CustomerUpdate(customer_id="ann", **event)
    with pytest.raises(ValidationError):
        Changes(billing_details=BillingDetails(), stripe_id=None)


def test_refusal_lists_a_bounded_number_of_faults() -> None:
    with pytest.raises(EventError) as refusal:
        new_update(customer_id="ann", changes={f"field_{number}": 1 for number in range(5000)})
    assert len(refusal.value.faults) == FAULTS_MAX
    assert refusal.value.may_have_more
    assert str(refusal.value).endswith("; more may be wrong than is listed")


def test_refusal_of_a_few_faults_has_them_all() -> None:
    with pytest.raises(EventError) as refusal:
        new_update(customer_id="ann", changes={f"field_{number}": 1 for number in range(FAULTS_MAX - 1)})
    assert not refusal.value.may_have_more
    assert "more may be wrong" not in str(refusal.value)


def test_refusal_lists_a_bounded_number_of_wrong_values() -> None:
    with pytest.raises(EventError) as refusal:
        new_update(customer_id="ann", changes={"metadata": {"list": [EXACT + 1] * 5000}})
    assert len(refusal.value.faults) == FAULTS_MAX


def test_source_is_read_and_written() -> None:
    update = read_entry(CHANGE | {b"source": b"shop"})
    assert update.source == update.fields()["source"] == "shop"
    assert unknown_fields(CHANGE | {b"source": b"shop"}) == set()


@pytest.mark.parametrize("source", [b"", b"s" * 101, b"\xff", b"a\x00b"])
def test_invalid_source_is_refused(source: bytes) -> None:
    with pytest.raises(EventError, match=r"^source: "):
        read_entry(CHANGE | {b"source": source})
