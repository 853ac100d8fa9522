"""The decision about each event of Stripe: whether and when its customer is reconciled."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.plan.customer import Mode
from jobs.stripe.client import idempotency_key
from jobs.stripe.events import EventAnswer
from jobs.watch.events import TYPES, Cause, Edited, Hint, StripeEvent, from_answer, judge
from tests.support.examples import examples

Json = dict[str, Any]
BY_HAND: Json = {"id": "req_1", "idempotency_key": None}
NOTHING = Hint("irrelevant")
NOW = Hint("requested", "now")
ANN: Json = {"id": "cus_1", "name": "Ann", "email": "ann@example.com", "metadata": {"autumn_id": "ann"}}
PAYMENT: Json = {"id": "pi_1", "customer": "cus_1", "receipt_email": None, "metadata": {}}
CHARGE: Json = {"id": "ch_1", "customer": "cus_1", "payment_intent": "pi_1", "receipt_email": None, "metadata": {}}
INVOICE: Json = {"id": "in_1", "customer": "cus_1", "customer_email": "ann@example.com"}
PAYMENTS = tuple(kind for kind in TYPES if kind.startswith("payment_intent."))


def answer(kind: str, shown: object, before: object = None, **changed: Any) -> EventAnswer:
    """Return an event as Stripe answers it."""
    data = {"object": shown, "previous_attributes": before}
    return EventAnswer.model_validate(
        {"id": "evt_1", "type": kind, "created": 5, "livemode": False, "request": BY_HAND, "data": data, **changed}
    )


def event(kind: str, shown: object, before: object = None, **changed: Any) -> StripeEvent:
    found = from_answer(answer(kind, shown, before, **changed))
    assert found is not None
    return found


def hint(kind: str, shown: object, before: object = None, *, mode: Mode = "test", **changed: Any) -> Hint:
    return judge(event(kind, shown, before, **changed), metadata_keys=("plan",), mode=mode)


UPDATES: dict[str, tuple[Json, Json, Hint]] = {
    "nothing": ({}, {}, NOTHING),
    "other field": ({}, {"phone": None}, NOTHING),
    "other metadata": ({"metadata": {"colour": "red"}}, {"metadata": {"colour": None}}, NOTHING),
    "name edited": ({}, {"name": "Bea"}, Hint("deferred", "later", {"name": Edited("Ann", "Bea")})),
    "name set": ({}, {"name": None}, Hint("deferred", "later", {"name": Edited("Ann", None)})),
    "e-mail edited": (
        {},
        {"email": "b@example.com"},
        Hint("deferred", "later", {"email": Edited("ann@example.com", "b@example.com")}),
    ),
    "name and e-mail edited": (
        {},
        {"name": "Bea", "email": "b@example.com"},
        Hint(
            "deferred",
            "later",
            {"name": Edited("Ann", "Bea"), "email": Edited("ann@example.com", "b@example.com")},
        ),
    ),
    "name emptied": ({"name": None}, {"name": "Ann"}, NOW),
    "name blank": ({"name": " "}, {"name": "Ann"}, NOW),
    "e-mail emptied": ({"email": ""}, {"email": "ann@example.com"}, NOW),
    "e-mail emptied, name edited": (
        {"email": None},
        {"email": "ann@example.com", "name": "Bea"},
        Hint("requested", "now+later", {"name": Edited("Ann", "Bea")}),
    ),
    "owner removed": ({"metadata": {}}, {"metadata": {"autumn_id": "ann"}}, NOW),
    "owner set": ({}, {"metadata": {"autumn_id": None}}, NOW),
    "flag removed": ({}, {"metadata": {"autumn_send_email_receipts": "true"}}, NOW),
    "copied metadata": ({}, {"metadata": {"plan": "pro"}}, NOW),
    "copied metadata, name edited": (
        {},
        {"metadata": {"plan": "pro"}, "name": "Bea"},
        Hint("requested", "now+later", {"name": Edited("Ann", "Bea")}),
    ),
    "all metadata of unknown form": ({}, {"metadata": None}, NOW),
}


@pytest.mark.parametrize("case", UPDATES)
def test_update_of_a_customer(case: str) -> None:
    after, before, expected = UPDATES[case]
    assert hint("customer.updated", {**ANN, **after}, before) == expected


OTHERS: dict[str, tuple[str, Json, Hint]] = {
    "customer deleted": ("customer.deleted", ANN, NOW),
    "unknown customer deleted": ("customer.deleted", {"id": "cus_1", "deleted": True}, NOW),
    "customer created with an owner": ("customer.created", ANN, NOW),
    "customer created without an owner": ("customer.created", {**ANN, "metadata": {}}, NOTHING),
    "invoice finalized without an e-mail": (
        "invoice.finalized",
        {**INVOICE, "customer_email": None},
        Hint("invoice_without_email", "now"),
    ),
    "invoice finalized": ("invoice.finalized", INVOICE, NOTHING),
    "charge": ("charge.succeeded", CHARGE, NOW),
    "charge with an address": ("charge.succeeded", {**CHARGE, "receipt_email": "ann@example.com"}, NOTHING),
    "charge with our mark": ("charge.succeeded", {**CHARGE, "metadata": {"autumn_receipt_email": "set-0-0"}}, NOTHING),
    "charge with a receipt": ("charge.succeeded", {**CHARGE, "receipt_number": "1-2"}, Hint("receipt_sent")),
    "charge updated": ("charge.updated", CHARGE, NOTHING),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_event(case: str) -> None:
    kind, shown, expected = OTHERS[case]
    assert hint(kind, shown) == expected


@pytest.mark.parametrize("kind", PAYMENTS)
def test_payment_is_looked_at_once(kind: str) -> None:
    assert hint(kind, PAYMENT) == NOW
    assert hint(kind, {**PAYMENT, "receipt_email": "ann@example.com"}) == NOTHING
    assert hint(kind, {**PAYMENT, "metadata": {"autumn_receipt_email": "unset-1"}}) == NOTHING


@pytest.mark.parametrize("kind", TYPES)
def test_event_of_the_other_mode_leads_to_nothing(kind: str) -> None:
    assert hint(kind, ANN, mode="live") == Hint("other_mode")
    assert hint(kind, ANN, livemode=True) == Hint("other_mode")
    assert hint(kind, ANN, livemode=True, mode="live") != Hint("other_mode")


@pytest.mark.parametrize(
    ("request_part", "cause"),
    [
        (None, Cause.STRIPE),
        ({"id": None, "idempotency_key": None}, Cause.STRIPE),
        ({"id": None, "idempotency_key": "key"}, Cause.STRIPE),
        ({"id": "req_1", "idempotency_key": "key"}, Cause.APP),
        ({"id": "req_1", "idempotency_key": "stripe-node-retry-1"}, Cause.APP),
        ({"id": "req_1", "idempotency_key": "Autumn:1"}, Cause.APP),
        ({"id": "req_1", "idempotency_key": ""}, Cause.DASHBOARD),
        (BY_HAND, Cause.DASHBOARD),
        ("req_1", Cause.DASHBOARD),
        ({"id": "req_1", "idempotency_key": "autumn:customer:1"}, Cause.AUTUMN),
        ({"id": "req_1", "idempotency_key": "autumn:customer-sync"}, Cause.AUTUMN),
        ({"id": "req_1", "idempotency_key": idempotency_key("ann", ("1-0",), "update-1-1")}, Cause.SYNC),
        ({"id": None, "idempotency_key": idempotency_key("ann", (), "create-0")}, Cause.SYNC),
    ],
)
def test_cause_is_told_by_the_request(request_part: object, cause: Cause) -> None:
    assert event("customer.updated", ANN, request=request_part).cause is cause


@pytest.mark.parametrize(("key", "outcome"), [("autumn:customer-sync:update-1:0", "own"), ("autumn:1", "autumn")])
@pytest.mark.parametrize("kind", ["customer.updated", "customer.deleted"])
def test_own_and_autumns_writes_of_customers_lead_to_nothing(kind: str, key: str, outcome: str) -> None:
    found = hint(kind, ANN, {"name": "Bea", "email": None}, request={"id": "req_1", "idempotency_key": key})
    assert (found.outcome, found.when, found.edits) == (outcome, "", {})


def test_customer_that_autumn_created_is_reconciled() -> None:
    assert hint("customer.created", ANN, request={"id": "req_1", "idempotency_key": "autumn:1"}) == NOW
    ours = {"id": "req_1", "idempotency_key": "autumn:customer-sync:create-0:0"}
    assert hint("customer.created", ANN, request=ours) == Hint("own")


def test_payment_that_autumn_began_gets_its_address() -> None:
    assert hint("payment_intent.created", PAYMENT, request={"id": "req_1", "idempotency_key": "autumn:1"}) == NOW


def test_receipt_that_our_write_mailed_is_noted() -> None:
    charge = {**CHARGE, "receipt_number": "1-2"}
    request = {"id": "req_1", "idempotency_key": "autumn:customer-sync:receipt-set-0-0:0"}
    assert hint("charge.updated", charge, {"receipt_number": None}, request=request) == Hint("receipt_sent")


def test_later_change_of_charge_notes_no_receipt_again() -> None:
    assert hint("charge.updated", {**CHARGE, "receipt_number": "1-2"}, {"refunded": False}) == NOTHING


def test_event_of_a_customer_has_its_fields() -> None:
    after = {**ANN, "email": None, "metadata": {"autumn_id": "bob", "plan": "pro"}}
    before = {"name": "Bea", "email": "b@example.com", "phone": None, "metadata": {"autumn_id": "ann", "plan": None}}
    assert event("customer.updated", after, before) == StripeEvent(
        "evt_1",
        "customer.updated",
        5,
        Cause.DASHBOARD,
        live=False,
        stripe_id="cus_1",
        owners=("bob", "ann"),
        changed=frozenset({"name", "email", "phone", "metadata.autumn_id", "metadata.plan"}),
        emptied=frozenset({"email"}),
        edited={"name": Edited("Ann", "Bea")},
    )


@pytest.mark.parametrize(
    ("after", "before", "owners"),
    [
        ("ann", "ann", ("ann",)),
        ("", "ann", ("ann",)),
        (None, None, ()),
        (["ann"], 1, ()),
        ("an id that Autumn cannot have", "a" * 501, ()),
        ("ann\n", "\ud800", ()),
    ],
)
def test_owner_is_an_id_that_an_event_may_have(after: object, before: object, owners: tuple[str, ...]) -> None:
    shown = {"id": "cus_1", "metadata": {"autumn_id": after}}
    assert event("customer.updated", shown, {"metadata": {"autumn_id": before}}).owners == owners


@pytest.mark.parametrize("customer", ["cus_1", {"id": "cus_1", "object": "customer"}])
@pytest.mark.parametrize("intent", ["pi_1", {"id": "pi_1"}])
def test_objects_may_be_shown_as_a_whole_or_by_id(customer: object, intent: object) -> None:
    charge = event("charge.succeeded", {**CHARGE, "customer": customer, "payment_intent": intent})
    payment = event("payment_intent.created", {**PAYMENT, "customer": customer})
    invoice = event("invoice.finalized", {**INVOICE, "customer": customer})
    assert [(each.stripe_id, each.intent_id) for each in (charge, payment, invoice)] == [
        ("cus_1", "pi_1"),
        ("cus_1", "pi_1"),
        ("cus_1", ""),
    ]


@pytest.mark.parametrize("customer", [None, "", "cus 1", "../cus_1", {}, {"id": 1}, ["cus_1"]])
def test_event_without_a_customer_has_no_stripe_id(customer: object) -> None:
    for kind, shown in (
        ("charge.updated", CHARGE),
        ("payment_intent.created", PAYMENT),
        ("invoice.finalized", INVOICE),
    ):
        assert event(kind, {**shown, "customer": customer}).stripe_id == ""


def test_only_charges_have_a_receipt_number() -> None:
    for kind in TYPES:
        number = event(kind, {"receipt_number": "1234-5678"}).receipt_number
        assert number == ("1234-5678" if kind.startswith("charge.") else None)


@pytest.mark.parametrize(
    "strange",
    [
        answer("customer.source.created", ANN),
        answer("customer", ANN),
        answer("customer.updated", None),
        answer("customer.updated", ANN, "name"),
        answer("customer.updated", ANN, created=0),
        answer("customer.updated", ANN, livemode=None),
    ],
)
def test_event_of_unknown_form_or_type_is_skipped(strange: EventAnswer) -> None:
    assert from_answer(strange) is None


def test_personal_values_are_not_shown() -> None:
    shown = {**ANN, "name": "Zoe"}
    edited = event("customer.updated", shown, {"name": "Bea", "email": None})
    text = repr(edited) + repr(judge(edited, metadata_keys=(), mode="test"))
    assert not any(value in text for value in ("Zoe", "Bea", "ann@example.com"))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5)
JSON = st.recursive(
    SCALARS | st.sampled_from(["ann", "cus_1", "ann@example.com"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PAYMENT_NAMES = ("customer", "payment_intent", "receipt_email", "receipt_number", "customer_email")
NAMES = ("id", "name", "email", "metadata", *PAYMENT_NAMES)
KEYS = ("autumn_id", "autumn_send_email_receipts", "autumn_receipt_email", "plan")
METADATA = st.dictionaries(st.sampled_from(KEYS), JSON) | JSON
OBJECTS = st.dictionaries(st.sampled_from(NAMES), JSON | METADATA) | JSON
REQUESTS = JSON | st.fixed_dictionaries({"id": JSON, "idempotency_key": JSON | st.sampled_from(["key", "autumn:1"])})
EVENTS = st.fixed_dictionaries(
    {"id": st.just("evt_1"), "type": st.sampled_from(TYPES), "created": st.just(5), "livemode": st.booleans()},
    optional={
        "request": REQUESTS,
        "data": JSON | st.fixed_dictionaries({"object": OBJECTS, "previous_attributes": OBJECTS}),
    },
)


@settings(max_examples=examples(500))
@given(EVENTS | JSON, st.sampled_from(["live", "test"]))
def test_any_json_is_judged_without_an_error(body: object, mode: Mode) -> None:
    found = from_answer(EventAnswer.model_validate(body))
    if found is not None:
        hinted = judge(found, metadata_keys=("plan",), mode=mode)
        assert ("later" in hinted.when) is bool(hinted.edits)
        assert found.emptied.isdisjoint(found.edited)
        assert all(each.value for each in found.edited.values())


@settings(max_examples=examples(300))
@given(EVENTS, st.text(max_size=20), st.lists(st.text(max_size=5)), st.text(max_size=10), JSON)
def test_own_key_never_leads_to_a_request(
    body: Json, customer_id: str, entries: list[str], step: str, request_id: object
) -> None:
    key = idempotency_key(customer_id, entries, step)
    request = {"id": request_id if isinstance(request_id, str) else None, "idempotency_key": key}
    found = from_answer(EventAnswer.model_validate({**body, "request": request}))
    if found is not None:
        assert found.cause is Cause.SYNC
        hinted = judge(found, metadata_keys=("plan",), mode="test")
        assert hinted.when == "" or not found.type.startswith("customer.")
