"""Autumn's table of errors, row by row, and a translation that no answer can break."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.autumn.errors import LATE_SECONDS, MESSAGE_MAX, RETRY_AFTER_MAX_SECONDS, error_from
from jobs.errors import Absent, GiveUp, Halt, Limited, SyncError, TryAgain

DATA = Path(__file__).parents[2] / "data" / "autumn"
ERRORS: dict[str, dict[str, Any]] = {row["name"]: row for row in json.loads((DATA / "errors.json").read_text())}

EXPECTED: dict[str, tuple[type[SyncError], str]] = {
    "update: a wrong value": (GiveUp, "invalid_inputs"),
    "get_or_create: neither id nor e-mail": (GiveUp, "invalid_request"),
    "update: the organisation has no Stripe": (Halt, "invalid_request"),
    "list: a broken cursor": (GiveUp, "invalid_cursor"),
    "update: an unknown version": (Halt, "invalid_api_version"),
    "update: not a customer of Stripe": (Absent, "stripe_customer_missing"),
    "update: Stripe cannot be reached": (TryAgain, "stripe_error"),
    "update: Stripe has a fault": (TryAgain, "stripe_error"),
    "update: Stripe refuses the key": (Halt, "stripe_error"),
    "update: Stripe's key may not write": (Halt, "stripe_error"),
    "update: Stripe was disconnected": (Halt, "stripe_error"),
    "update: Stripe refuses the e-mail": (GiveUp, "stripe_refused"),
    "update: no key": (Halt, "no_secret_key"),
    "update: a wrong key": (Halt, "invalid_secret_key"),
    "update: not a key": (Halt, "invalid_request"),
    "an unknown path": (Halt, "no_auth_header"),
    "update: a key without the scope": (Halt, "insufficient_scopes"),
    "update: blocked": (Halt, "request_temporarily_disabled"),
    "update: no such customer": (GiveUp, "customer_not_found"),
    "get: no such customer": (GiveUp, "customer_not_found"),
    "delete: no such customer": (GiveUp, "customer_not_found"),
    "update: the new id is taken": (GiveUp, "customer_already_exists"),
    "update: the key was used": (GiveUp, "duplicate_idempotency_key"),
    "update: Autumn's limiter": (Limited, "http_429"),
    "update: Stripe's limiter": (Limited, "stripe_rate_limit_exceeded"),
    "update: some other limiter": (Limited, "http_429"),
    "update: an internal error": (TryAgain, "internal_error"),
    "list: an internal error": (TryAgain, "internal_error"),
    "get: not available": (TryAgain, "service_unavailable"),
    "get_or_create: not available": (TryAgain, "service_unavailable"),
    "a proxy finds no server": (TryAgain, "http_502"),
    "a proxy waited too long": (TryAgain, "http_504"),
    "a proxy finds no Autumn": (TryAgain, "http_404"),
    "a proxy finds the body too large": (GiveUp, "http_413"),
    "a proxy waited too long for the request": (TryAgain, "http_408"),
    "the address moved": (Halt, "http_308"),
    "accepted, but not done": (TryAgain, "http_202"),
}


def translated(name: str, *, writing: bool = True) -> SyncError:
    row = ERRORS[name]
    body = row["text"] if "text" in row else json.dumps(row["json"])
    return error_from(row["status"], row["headers"], body.encode(), writing=writing)


def retry_after(value: str) -> float | None:
    error = error_from(503, {"retry-after": value}, b"", writing=False)
    assert isinstance(error, TryAgain)
    return error.after_seconds


def test_each_recorded_error_has_an_expectation() -> None:
    assert set(ERRORS) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_error_becomes_the_right_decision(name: str) -> None:
    error = translated(name)

    assert (type(error), error.code, error.service) == (*EXPECTED[name], "autumn")


@pytest.mark.parametrize(
    ("name", "maybe_applied"),
    [
        ("update: an internal error", True),
        ("a proxy waited too long", True),
        ("update: Stripe cannot be reached", True),
        ("accepted, but not done", True),
        ("update: Autumn's limiter", False),
        ("update: Stripe's limiter", False),
    ],
)
def test_failed_update_may_have_been_applied_unless_limited(name: str, *, maybe_applied: bool) -> None:
    error = translated(name)

    assert isinstance(error, TryAgain)
    assert error.maybe_applied is maybe_applied


@pytest.mark.parametrize(
    ("name", "may_land"),
    [
        ("a proxy finds no server", True),
        ("a proxy waited too long", True),
        ("a proxy waited too long for the request", True),
        ("a proxy finds no Autumn", True),
        ("accepted, but not done", True),
        ("update: an internal error", False),
        ("get_or_create: not available", False),
        ("update: Stripe cannot be reached", False),
        ("update: Autumn's limiter", False),
        ("update: Stripe's limiter", False),
    ],
)
def test_only_autumns_own_answer_ends_a_write(name: str, *, may_land: bool) -> None:
    error = translated(name)

    assert isinstance(error, TryAgain)
    assert error.may_land_for_seconds == (LATE_SECONDS if may_land else 0)
    assert error.maybe_applied or not may_land


@pytest.mark.parametrize(
    ("body", "may_land"),
    [
        ({"message": "no", "code": "internal_error", "env": "sandbox"}, False),
        ({"message": "no", "code": "bad_gateway"}, True),
        ({"message": "no", "env": "sandbox"}, True),
        (["internal_error"], True),
    ],
)
def test_gateway_that_answers_in_json_is_not_autumn(body: object, *, may_land: bool) -> None:
    error = error_from(502, {}, json.dumps(body).encode(), writing=True)

    assert isinstance(error, TryAgain)
    assert error.may_land_for_seconds == (LATE_SECONDS if may_land else 0)


def test_failed_read_has_applied_nothing() -> None:
    error = translated("get: not available", writing=False)

    assert isinstance(error, TryAgain)
    assert (error.maybe_applied, error.may_land_for_seconds) == (False, 0)


def test_retry_after_of_autumn_is_passed_on() -> None:
    error = translated("update: Autumn's limiter")

    assert isinstance(error, TryAgain)
    assert error.after_seconds == 1.0


@pytest.mark.parametrize(
    ("header", "after_seconds"),
    [("0", 0.0), ("2.5", 2.5), (" 3 ", 3.0), ("86400", RETRY_AFTER_MAX_SECONDS)],
)
def test_retry_after_is_bounded(header: str, after_seconds: float) -> None:
    assert retry_after(header) == after_seconds


@pytest.mark.parametrize("header", ["", "-1", "nan", "inf", "1e999", "soon", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_invalid_retry_after_is_ignored(header: str) -> None:
    assert retry_after(header) is None


@pytest.mark.parametrize("name", [name for name, (kind, _) in EXPECTED.items() if kind is Halt])
def test_halt_names_the_remedy_and_autumns_answer(name: str) -> None:
    message = translated(name).message

    assert message.split()[0] in {"Set", "Replace", "Check", "Give", "Ask", "Connect", "Reconnect"}
    parts = ERRORS[name].get("json", {}).get("message", "").split("am_sk_")
    assert parts[0] in message
    assert len(parts) == 1 or parts[1] not in message, "a part of the key shows"


@pytest.mark.parametrize("code", [None, 7, "", "Two words", "ann@example.com", "x" * 65, ["a"]])
def test_only_a_short_word_is_a_code(code: object) -> None:
    body = json.dumps({"code": code, "message": "no"}).encode()

    assert error_from(500, {}, body, writing=True).code == "http_500"


def test_refusal_with_a_name_like_a_key_does_not_halt() -> None:
    message = "(Stripe Error) Invalid string: API keys and...; must be at most 256 characters"
    body = json.dumps({"code": "stripe_error", "message": message}).encode()

    assert type(error_from(400, {}, body, writing=True)) is GiveUp


@pytest.mark.parametrize(
    "message",
    [
        "Invalid value for eu_vat.",
        "Invalid type: must be one of ad_nrt, ae_trn, or eu_vat",
        "Country 'QQ' is unknown. Try using a 2-character alphanumeric country code instead, such as 'US' or 'GB'.",
    ],
)
def test_billing_details_that_stripe_refuses_are_not_retried(message: str) -> None:
    body = json.dumps({"code": "stripe_error", "message": f"(Stripe Error) {message}", "env": "sandbox"}).encode()
    error = error_from(400, {}, body, writing=True)

    assert (type(error), error.code) == (GiveUp, "stripe_refused")


def test_deeply_nested_body_is_only_text() -> None:
    assert error_from(500, {}, b"[" * 200_000, writing=True).message == "[" * MESSAGE_MAX


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["code", "message", "env"]), inner),
)


@given(
    status=st.integers() | st.integers(100, 599),
    headers=st.dictionaries(st.sampled_from(["Retry-After", "retry-after", "x"]) | st.text(), st.text()),
    body=st.binary() | JSON.map(lambda value: json.dumps(value).encode()),
    writing=st.booleans(),
)
def test_any_answer_is_translated(status: int, headers: dict[str, str], body: bytes, *, writing: bool) -> None:
    error = error_from(status, headers, body, writing=writing)

    assert isinstance(error, (TryAgain, GiveUp, Halt, Absent))
    assert len(error.code) <= 64 or error.code == f"http_{status}"
    assert " " not in error.code
    if isinstance(error, TryAgain):
        assert error.after_seconds is None or 0 <= error.after_seconds <= RETRY_AFTER_MAX_SECONDS
        assert writing or not (error.maybe_applied or error.may_land_for_seconds)
