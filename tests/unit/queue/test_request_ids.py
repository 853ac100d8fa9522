"""The event ids of the watch's requests, and what can be read back from them."""

import re
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.events import EVENT_ID_MAX
from jobs.queue.watch.request_ids import happened_at_seconds, is_from_watch, request_id
from tests.support.examples import examples


@dataclass(frozen=True)
class Event:
    id: str = "evt_1"
    created: int = 1_700_000_000


def test_id_has_event_customer_and_time() -> None:
    assert re.fullmatch(r"stripe-evt_1-[0-9a-f]{8}-1700000000", request_id(Event(), "ann", later=False))
    assert re.fullmatch(r"stripe-evt_1-[0-9a-f]{8}-later-1700000000", request_id(Event(), "ann", later=True))


def test_each_request_has_its_own_id() -> None:
    ids = {
        request_id(Event(event_id), customer, later=later)
        for event_id in ("evt_1", "evt_2", "evt 1", "evt 2")
        for customer in ("ann", "bob")
        for later in (False, True)
    }
    assert len(ids) == 16


@pytest.mark.parametrize(
    "event_id",
    [
        "",
        "stripe",
        "stripe-evt_1",
        "stripe-evt_1-1700000000",
        "stripe-evt_1-0123456789-1700000000",
        "stripe-evt_1-01234567-soon",
        "stripe-evt_1-01234567-1700000000\n",
        "scan-evt_1-01234567-1700000000",
        "my-stripe-evt_1-01234567-1700000000",
    ],
)
def test_id_of_another_sender_is_not_from_the_watch(event_id: str) -> None:
    assert not is_from_watch(event_id)
    assert happened_at_seconds(event_id) is None


@settings(max_examples=examples(200))
@given(st.text(st.characters(), max_size=300), st.text(max_size=500), st.integers(1, 10**11), st.booleans())
def test_time_is_read_back_from_any_id(event_id: str, customer_id: str, created: int, later: bool) -> None:
    made = request_id(Event(event_id, created), customer_id, later=later)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", made)
    assert len(made) <= EVENT_ID_MAX
    assert is_from_watch(made)
    for noted in (made, f"{made}-1700000000123"):
        assert is_from_watch(noted)
        assert happened_at_seconds(noted) == (None if later else created)


@settings(max_examples=examples(200))
@given(st.text(st.characters()))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert is_from_watch(text) is (happened_at_seconds(text) is not None)
