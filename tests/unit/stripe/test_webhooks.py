"""The check of a webhook's signature, with signatures made by Stripe's SDK."""

import json
from typing import Any

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.stripe.events import EventAnswer
from jobs.stripe.webhooks import WebhookError, verified_event
from tests.support.examples import examples

NOW = 1_700_000_000
OLD, NEW = "whsec_old", "whsec_new"
EVENT: dict[str, Any] = {
    "id": "evt_1",
    "object": "event",
    "type": "customer.updated",
    "created": NOW,
    "livemode": False,
    "request": None,
    "data": {"object": {"id": "cus_1", "name": "Zoë"}},
}
BODY = json.dumps(EVENT, ensure_ascii=False).encode()


def signed(body: bytes = BODY, secret: str = NEW, at: int = NOW) -> str:
    """Return the header of a body that is signed at a time."""
    return str(stripe.WebhookSignature.generate_signature_header(body.decode(), secret, at))


def refusal(payload: bytes, header: str, secrets: tuple[str, ...] = (NEW,)) -> str:
    """Return the text of the refusal."""
    with pytest.raises(WebhookError) as raised:
        verified_event(payload, header, secrets, now=NOW)
    return str(raised.value)


def test_signed_event_is_read() -> None:
    assert verified_event(BODY, signed(), [NEW], now=NOW) == EventAnswer.model_validate(EVENT)


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_each_secret_is_valid_while_one_is_rolled(secret: str) -> None:
    assert verified_event(BODY, signed(secret=secret), [NEW, OLD], now=NOW).id == "evt_1"


@pytest.mark.parametrize("secrets", [[NEW], [OLD], [OLD, NEW]])
def test_header_may_have_several_signatures(secrets: list[str]) -> None:
    signatures = [signed(secret=secret).partition(",")[2] for secret in (OLD, NEW)]
    header = f"t={NOW},{signatures[0]},{signatures[1]},v0=0123"
    assert verified_event(BODY, header, secrets, now=NOW).id == "evt_1"


@pytest.mark.parametrize(
    ("payload", "header", "secrets"),
    [
        (BODY.replace(b"cus_1", b"cus_2"), signed(), (NEW,)),
        (BODY + b" ", signed(), (NEW,)),
        (b"\xff", signed(), (NEW,)),
        (BODY, signed().replace(f"t={NOW}", f"t={NOW + 1}"), (NEW,)),
        (BODY, signed().replace("v1=", "v0="), (NEW,)),
        (BODY, f"t={NOW},v1=", (NEW,)),
        (BODY, f"t={NOW}", (NEW,)),
        (BODY, signed(secret=OLD), (NEW,)),
        (BODY, signed(), ()),
        (BODY, signed(), ("", " ", "\udcff")),
    ],
)
def test_wrong_signature_is_refused(payload: bytes, header: str, secrets: tuple[str, ...]) -> None:
    assert refusal(payload, header, secrets).startswith("no secret fits the signature")


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_signature_within_the_tolerance_is_valid(seconds: int) -> None:
    assert verified_event(BODY, signed(at=NOW + seconds), [NEW], now=NOW).id == "evt_1"


@pytest.mark.parametrize(("seconds", "text"), [(-301, "is too old"), (301, "is from the future")])
def test_signature_of_another_time_is_refused(seconds: int, text: str) -> None:
    assert text in refusal(BODY, signed(at=NOW + seconds))


def test_tolerance_can_be_chosen() -> None:
    header = signed(at=NOW - 301)
    assert verified_event(BODY, header, [NEW], tolerance_seconds=301, now=NOW).id == "evt_1"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "garbage",
        "v1=0123",
        "t=,v1=0123",
        "t=now,v1=0123",
        "t=-1,v1=0123",
        "t=1_0,v1=0123",
        f"t={'9' * 5000},v1=0123",
        "t=\uff11,v1=0123",
        f"t={NOW},v1=é",
    ],
)
def test_header_of_another_form_is_refused(header: str) -> None:
    assert refusal(BODY, header).startswith("no signature")


@pytest.mark.parametrize("more", ["t={now}", "t", "t=", "t={now}=1"])
@pytest.mark.parametrize("is_first", [True, False])
def test_second_time_cannot_renew_an_old_signature(more: str, *, is_first: bool) -> None:
    old, added = signed(at=NOW - 9_000), more.format(now=NOW)
    header = f"{added},{old}" if is_first else f"{old},{added}"
    assert refusal(BODY, header).startswith("no signature")


@pytest.mark.parametrize("time", [f" t={NOW}", f"t ={NOW}", f"T={NOW}"])
def test_time_with_another_name_does_not_count(time: str) -> None:
    assert "is too old" in refusal(BODY, f"{time},{signed(at=NOW - 9_000)}")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"1", b'"evt_1"', b"{", b"{}", b'{"id": "evt_1"}', b'{"object": "event"}', b"[" * 100_000],
)
def test_signed_body_that_is_no_event_is_refused(body: bytes) -> None:
    assert refusal(body, signed(body)).startswith("not an event")


@pytest.mark.parametrize("part", ["type", "created", "livemode", "data"])
def test_event_of_unknown_form_is_returned(part: str) -> None:
    body = json.dumps({**EVENT, part: "?"}).encode()
    assert verified_event(body, signed(body), [NEW], now=NOW).wrong == (part,)


@settings(max_examples=examples(200))
@given(st.binary(max_size=40), st.text(st.characters(), max_size=60), st.lists(st.text(st.characters(), max_size=8)))
def test_garbage_is_refused(payload: bytes, header: str, secrets: list[str]) -> None:
    refusal(payload, header, tuple(secrets))


@settings(max_examples=examples(200))
@given(st.text(max_size=60))
def test_signed_garbage_is_refused_without_its_values(text: str) -> None:
    body = text.encode()
    assert refusal(body, signed(body)).startswith("not an event")


@settings(max_examples=examples(200))
@given(st.integers(0, len(BODY) - 1), st.integers(0, 255))
def test_any_changed_byte_is_refused(place: int, byte: int) -> None:
    changed = BODY[:place] + bytes([byte]) + BODY[place + 1 :]
    if changed != BODY:
        assert refusal(changed, signed()).startswith("no secret fits")
