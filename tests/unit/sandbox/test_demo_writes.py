"""The demo finds each unexpected and each missing write, receipt and email."""

from typing import Any

import pytest

from sandbox.audit.expected import Profile
from sandbox.autumn.customers import Copied
from sandbox.autumn.server import Call
from sandbox.demo.comparison import (
    Difference,
    addresses_of,
    reverted_by_echoes,
    stray_writes,
    writer_of,
    wrong_receipts,
    wrong_updates,
)
from sandbox.demo.world import Expected, InStripe, Payment, SeededCustomer, Traffic, entry_of
from sandbox.stripe.payments import Mail
from sandbox.stripe.writes import Write

ANN = Profile("Ann", "ann@example.com", send_email_receipts=True)
TRAFFIC = Traffic(
    customers=(
        SeededCustomer("ann", ANN, "cus_a", (InStripe("cus_a", metadata={"autumn_id": "ann"}),)),
        SeededCustomer("new", Profile("New", None, send_email_receipts=False)),
        SeededCustomer("hal", ANN, "cus_gone", (InStripe("cus_gone", deleted=True),), Expected.REPAIRED),
        SeededCustomer("two", Profile("Two", None, send_email_receipts=False), "cus_a", (), Expected.REFUSED),
        SeededCustomer("bye", ANN, "cus_b", (InStripe("cus_b", metadata={"autumn_id": "bye"}),), Expected.UNLINKED),
    ),
    entries=(
        entry_of(0, "ann", {"email": "new@example.com"}, "e-mail"),
        entry_of(0, "ann", {"name": "Never", "email": "bad"}, "wrong e-mail", "invalid_event"),
        entry_of(0, "hal", {"name": "Hal"}, "name"),
    ),
    expected={},
    strangers=(InStripe("cus_other"),),
    payments=(
        Payment("pi_open", "cus_a", "open", addresses=("ann@example.com",)),
        Payment("pi_back", "cus_a", "open", addresses=("ann@example.com", None)),
        Payment("pi_paid", "cus_a", "paid", succeeded_hours_ago=1, addresses=("ann@example.com",)),
        Payment("pi_own", "cus_a", "own", receipt_email="own@example.com"),
    ),
)
KEYS = {
    "update": "autumn:customer-sync:update-1-1:0",
    "create": "autumn:customer-sync:create-0:0",
    "receipt": "autumn:customer-sync:receipt-set-0-0:0",
    "autumn": "stripe-node-retry-0",
    "other": None,
    "customer": "autumn:customer:0",
}


def write(by: str, object_id: str, endpoint: str = "customers.update", /, **changed: Any) -> Write:
    names = {"flag": "metadata.autumn_send_email_receipts", "owner": "metadata.autumn_id"}
    names["mark"] = "metadata.autumn_receipt_email"
    fields = {names.get(name, name): (None, value) for name, value in changed.items()}
    return Write(0.0, "req_0", endpoint, object_id, KEYS[by], fields)


def created(owner: str, object_id: str = "cus_new") -> Write:
    return write("create", object_id, "customers.create", owner=owner)


RIGHT_RECEIPTS = [
    write("receipt", "pi_open", receipt_email="ann@example.com", mark="set-0"),
    write("receipt", "pi_back", receipt_email="ann@example.com", mark="set-0"),
    write("receipt", "pi_paid", receipt_email="ann@example.com", mark="set-0"),
    write("receipt", "pi_back", receipt_email=None, mark="unset-1"),
]
RIGHT_INTENTS: dict[str, dict[str, Any]] = {
    "pi_open": {"receipt_email": "ann@example.com"},
    "pi_back": {"receipt_email": None},
    "pi_paid": {"receipt_email": "ann@example.com"},
    "pi_own": {"receipt_email": "own@example.com"},
}
RIGHT_MAILS = [Mail("pi_paid", "ann@example.com")]


def texts_of(found: list[Difference]) -> list[str]:
    return [str(difference) for difference in found]


def test_writes_to_customers_of_the_traffic_are_accepted() -> None:
    writes = [
        write("update", "cus_a", email="new@example.com"),
        write("autumn", "cus_a"),
        write("update", "cus_a", name="Ann", email="ann@example.com", owner="ann", flag="true"),
        write("update", "cus_a", name=None),
        created("new"),
        created("hal", "cus_hal"),
        write("update", "cus_hal", name="Hal"),
        write("autumn", "cus_hal"),
        *RIGHT_RECEIPTS,
    ]

    assert stray_writes(writes, TRAFFIC) == []


@pytest.mark.parametrize("object_id", ["cus_other", "cus_b", "cus_gone", "pi_own", "pi_of_somebody"])
@pytest.mark.parametrize("by", ["update", "receipt", "autumn", "other"])
def test_any_write_to_anything_else_is_found(by: str, object_id: str) -> None:
    written = write(by, object_id)

    what = f"{object_id}: was written by {written.why}, but no event is about it"
    assert texts_of(stray_writes([written], TRAFFIC)) == [what]


@pytest.mark.parametrize("owner", ["two", "bye", "ann", "nobody"])
def test_unrequested_create_is_found(owner: str) -> None:
    assert len(stray_writes([created(owner)], TRAFFIC)) == 1


def test_second_create_for_one_customer_is_found() -> None:
    writes = [created("new", "cus_1"), created("new", "cus_2")]

    assert texts_of(stray_writes(writes, TRAFFIC)) == ["cus_2: was written by create-0, but no event is about it"]


@pytest.mark.parametrize(
    ("by", "object_id"), [("other", "cus_a"), ("customer", "cus_a"), ("receipt", "cus_a"), ("update", "pi_open")]
)
def test_unexpected_writer_is_found(by: str, object_id: str) -> None:
    written = write(by, object_id)

    what = f"{object_id}: was written by {written.why}, which may not write there"
    assert texts_of(stray_writes([written], TRAFFIC)) == [what]


@pytest.mark.parametrize(
    ("written", "what"),
    [
        (write("update", "cus_a", phone="1"), "cus_a: phone was changed by update-1-1"),
        (write("autumn", "cus_a", flag="true"), "cus_a: metadata.autumn_send_email_receipts was changed"),
        (write("receipt", "pi_open", amount=1), "pi_open: amount was changed by receipt-set-0-0"),
        (write("update", "cus_a", owner="two"), "cus_a: metadata.autumn_id was set to 'two' by update-1-1"),
        (write("autumn", "cus_a", name="Ann"), "cus_a: name was changed by Autumn itself"),
        (write("update", "cus_a", name="Two"), "cus_a: name was set to 'Two' by update-1-1, which no event requested"),
        (
            write("update", "cus_a", name="Never"),
            "cus_a: name was set to 'Never' by update-1-1, which no event requested",
        ),
    ],
)
def test_unrequested_field_or_value_is_found(written: Write, what: str) -> None:
    (found,) = texts_of(stray_writes([written], TRAFFIC))

    assert found.startswith(what)


def test_writer_is_named_without_the_attempt_number() -> None:
    writers = {by: writer_of(write(by, "cus_a")) for by in KEYS}

    assert writers == {
        "update": "update-…",
        "create": "create-…",
        "receipt": "receipt-…",
        "autumn": "Autumn itself",
        "other": "somebody else",
        "customer": "customer",
    }


def test_expected_receipts_have_no_findings() -> None:
    writes = [write("update", "cus_a", email="x@example.com"), *RIGHT_RECEIPTS]

    assert wrong_receipts(TRAFFIC, writes, RIGHT_INTENTS, RIGHT_MAILS) == []


@pytest.mark.parametrize("missing", range(len(RIGHT_RECEIPTS)))
def test_address_not_set_or_not_reset_is_found(missing: int) -> None:
    writes = [each for number, each in enumerate(RIGHT_RECEIPTS) if number != missing]

    (found,) = wrong_receipts(TRAFFIC, writes, RIGHT_INTENTS, RIGHT_MAILS)
    assert found.about == RIGHT_RECEIPTS[missing].object_id


def test_address_set_twice_is_found() -> None:
    (found,) = wrong_receipts(TRAFFIC, [*RIGHT_RECEIPTS, RIGHT_RECEIPTS[0]], RIGHT_INTENTS, RIGHT_MAILS)

    assert found.about == "pi_open"


@pytest.mark.parametrize(
    ("payment", "address"), [("pi_own", None), ("pi_own", "ann@example.com"), ("pi_open", None), ("pi_back", "x")]
)
def test_wrong_final_address_is_found(payment: str, address: str | None) -> None:
    intents = {**RIGHT_INTENTS, payment: {"receipt_email": address}}

    (found,) = wrong_receipts(TRAFFIC, RIGHT_RECEIPTS, intents, RIGHT_MAILS)
    assert found.about == payment


@pytest.mark.parametrize(
    ("mails", "what"),
    [
        ([], "pi_paid: 0 receipts were mailed to ann@example.com, should be 1"),
        (RIGHT_MAILS * 2, "pi_paid: 2 receipts were mailed to ann@example.com, should be 1"),
        (
            [*RIGHT_MAILS, Mail("pi_old", "a@example.com")],
            "pi_old: 1 receipts were mailed to a@example.com, should be 0",
        ),
    ],
)
def test_missing_or_extra_email_is_found(mails: list[Mail], what: str) -> None:
    assert texts_of(wrong_receipts(TRAFFIC, RIGHT_RECEIPTS, RIGHT_INTENTS, mails)) == [what]


def test_addresses_of_a_payment_are_in_write_order() -> None:
    assert addresses_of(TRAFFIC.payments[1], RIGHT_RECEIPTS) == ("ann@example.com", None)


def test_value_that_a_webhook_brought_to_autumn_is_lost() -> None:
    echo = Copied(0.0, "evt_1", "ann", {"name": ("Ann", "Old"), "email": ("ann@example.com", "old@example.com")})

    assert texts_of(reverted_by_echoes([echo])) == [
        "ann: name in Autumn was changed from 'Ann' to 'Old' by evt_1",
        "ann: email in Autumn was changed from 'ann@example.com' to 'old@example.com' by evt_1",
    ]
    assert reverted_by_echoes([]) == []


def update(customer_id: str, status: int = 200, **body: Any) -> Call:
    return Call("POST", "/v1/customers.update", {"customer_id": customer_id, **body}, status, 0.0, 0.0)


HEALED_ROWS = {"hal": {"stripe_id": "cus_hal"}}
HEALING = update("hal", name="Hal", stripe_id="cus_hal")


def test_link_is_repaired_by_one_update_after_refusals() -> None:
    calls = [update("hal", 400, name="Hal"), update("ann", email="new@example.com"), HEALING]

    assert wrong_updates(TRAFFIC, calls, HEALED_ROWS) == []


@pytest.mark.parametrize(
    "calls",
    [
        [],
        [update("hal", stripe_id="cus_hal")],
        [update("hal", stripe_id="cus_hal"), update("hal", name="Hal")],
        [update("hal", name="Hal", stripe_id="cus_other")],
        [HEALING, HEALING],
    ],
)
def test_link_repaired_in_another_way_is_found(calls: list[Call]) -> None:
    what = "hal: was not linked again by one update with the change and the new link"
    assert texts_of(wrong_updates(TRAFFIC, calls, HEALED_ROWS)) == [what]


def test_update_of_a_write_protected_customer_is_found() -> None:
    assert texts_of(wrong_updates(TRAFFIC, [HEALING, update("two", 400)], HEALED_ROWS)) == [
        "two: was updated in Autumn, but must not be written"
    ]
