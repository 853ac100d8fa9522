"""Validation, retries and waiting of the client, driven without I/O."""

import json
from collections.abc import Generator
from typing import Any

import pytest

from autumn_sync_client import CustomerUpdate, InvalidEvents, InvalidField, RateLimited, Unauthorized, Unavailable
from autumn_sync_client.over_http import HttpAnswer, HttpRequest, HttpRequests
from autumn_sync_client.steps import BYTES_MAX, EVENTS_MAX, Pause, batches, prepared, sending, waiting

ANN = {"customer_id": "ann", "changes": {"name": "Ann"}}
WAITING = {"status": "waiting", "customer_id": "ann", "entry_id": "1-0"}


def accepted(request: HttpRequest) -> HttpAnswer:
    return HttpAnswer(202, {"ids": [event["event_id"] for event in events_of(request)]})


def events_of(request: HttpRequest) -> list[dict[str, Any]]:
    assert request.content is not None
    events: list[dict[str, Any]] = json.loads(request.content)
    return events


def value_of(steps: Generator[Any, Any, Any], answer: HttpAnswer) -> Any:
    """Give the last answer, and return the value of the call."""
    with pytest.raises(StopIteration) as end:
        steps.send(answer)
    return end.value.value


def test_event_without_an_id_gets_one_and_keeps_it_when_repeated() -> None:
    steps = sending(HttpRequests(), [ANN])
    first = next(steps)
    assert steps.throw(Unavailable("no answer")) == Pause(0.2)
    assert next(steps) == first
    assert steps.throw(Unavailable("no answer")) == Pause(1.0)
    assert next(steps) == first
    (event,) = events_of(first)
    assert value_of(steps, accepted(first)) == [event["event_id"]]
    assert len(event["event_id"]) == 32


def test_two_events_without_an_id_get_different_ones() -> None:
    first, second = events_of(next(sending(HttpRequests(), [ANN, ANN])))
    assert first["event_id"] != second["event_id"]


def test_third_failure_is_raised() -> None:
    steps = sending(HttpRequests(), [ANN])
    next(steps)
    for _ in range(2):
        assert isinstance(steps.throw(Unavailable("no answer")), Pause)
        next(steps)
    with pytest.raises(Unavailable, match="the last"):
        steps.throw(Unavailable("the last"))


@pytest.mark.parametrize("error", [RateLimited, Unavailable])
def test_pause_that_the_service_asks_for_is_kept_if_it_is_short(error: type[RateLimited | Unavailable]) -> None:
    steps = sending(HttpRequests(), [ANN])
    next(steps)
    assert steps.throw(error("later", 3.0)) == Pause(3.0)
    next(steps)
    last = error("much later", 4.0)
    with pytest.raises(error) as raised:
        steps.throw(last)
    assert raised.value is last


def test_refusal_is_not_repeated() -> None:
    steps = sending(HttpRequests(), [ANN])
    next(steps)
    with pytest.raises(Unauthorized):
        steps.throw(Unauthorized("unknown token"))


@pytest.mark.parametrize(("unknown", "is_cut"), [(99, False), (150, True)])
def test_error_says_if_more_may_be_wrong_than_it_names(unknown: int, is_cut: bool) -> None:
    wrong = {"customer_id": "ann", "changes": {f"field_{number}": 1 for number in range(unknown)}}
    with pytest.raises(InvalidEvents) as raised:
        next(sending(HttpRequests(), [wrong, {"customer_id": "ann"}]))
    assert str(raised.value).endswith("; more may be wrong than is listed") == is_cut


def test_wrong_fields_of_all_events_are_named_before_anything_is_sent() -> None:
    updates: list[dict[str, Any]] = [
        ANN,
        {"customer_id": "a b", "changes": {"emial": "secret@example.com"}},
        {"customer_id": "ann"},
        {**ANN, "event_id": ""},
        {**ANN, "event-id": "1"},
    ]
    with pytest.raises(InvalidEvents) as raised:
        next(sending(HttpRequests(), updates))
    assert [(each.entry, each.field) for each in raised.value.fields] == [
        (1, "customer_id"),
        (1, "changes.emial"),
        (2, "changes"),
        (3, "event_id"),
        (4, "event-id"),
    ]
    assert "event 1: changes.emial: unknown field" in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("update", ["abc", 7, None, [("customer_id", "ann")], {1: "x"}])
def test_value_that_is_no_event_is_named(update: Any) -> None:
    with pytest.raises(InvalidEvents, match="event 1: ") as raised:
        next(sending(HttpRequests(), [ANN, update]))
    assert {each.entry for each in raised.value.fields} == {1}


def test_event_made_without_validation_of_its_size_is_validated() -> None:
    huge = CustomerUpdate.model_validate({"customer_id": "ann", "changes": {"name": "x" * 300_000}})
    with pytest.raises(InvalidEvents, match="changes: is 300011 bytes long"):
        next(sending(HttpRequests(), [huge]))


def test_null_of_an_event_stays_and_unset_field_is_omitted() -> None:
    update = CustomerUpdate.model_validate({"customer_id": "ann", "changes": {"email": None}, "event_id": "e1"})
    (event,) = events_of(next(sending(HttpRequests(), [update])))
    assert event == {"customer_id": "ann", "type": "customer.updated", "changes": {"email": None}, "event_id": "e1"}


def test_many_events_are_sent_in_requests_of_a_thousand() -> None:
    steps = sending(HttpRequests(), [{**ANN, "event_id": f"e{number}"} for number in range(EVENTS_MAX + 1)])
    first = next(steps)
    assert len(events_of(first)) == EVENTS_MAX
    second = steps.send(accepted(first))
    assert [event["event_id"] for event in events_of(second)] == [f"e{EVENTS_MAX}"]
    assert value_of(steps, accepted(second)) == [f"e{number}" for number in range(EVENTS_MAX + 1)]


def test_large_events_are_sent_in_requests_that_fit() -> None:
    large = {"customer_id": "ann", "changes": {"name": "ü" * 130_000}}
    requests = [HttpRequests().to_send(batch) for batch in batches(prepared([large] * 20))]
    assert [len(events_of(request)) for request in requests] == [4, 4, 4, 4, 4]
    assert all(len(request.content or b"") <= BYTES_MAX for request in requests)


def test_fields_that_the_service_refuses_count_from_the_first_event() -> None:
    steps = sending(HttpRequests(), [ANN] * (EVENTS_MAX + 3))
    steps.send(accepted(next(steps)))
    refused = {"fields": [{"entry": 2, "field": "changes.name", "message": "unknown field"}], "error": "invalid_events"}
    with pytest.raises(InvalidEvents) as raised:
        steps.send(HttpAnswer(400, refused))
    assert raised.value.fields == (InvalidField(EVENTS_MAX + 2, "changes.name", "unknown field"),)


def test_no_event_needs_no_request() -> None:
    with pytest.raises(StopIteration) as end:
        next(sending(HttpRequests(), []))
    assert end.value.value == []


def test_waiting_outcome_is_read_again_and_final_one_returned() -> None:
    steps = waiting(HttpRequests(), "e1", 60)
    assert next(steps) == HttpRequest("GET", "/v1/events/e1?wait=30", wait_seconds=30)
    assert isinstance(steps.send(HttpAnswer(404, {"error": "unknown_event"})), Pause)
    assert isinstance(next(steps), HttpRequest)
    assert isinstance(steps.send(HttpAnswer(200, WAITING)), Pause)
    next(steps)
    dead = {**WAITING, "status": "dead", "reason": "customer_not_found", "at": 1700000000000}
    outcome = value_of(steps, HttpAnswer(200, dead))
    assert (outcome.status, outcome.reason, outcome.at) == ("dead", "customer_not_found", 1700000000000)


@pytest.mark.parametrize(("status", "seconds"), [(429, 2.0), (503, None)])
def test_wait_goes_on_after_a_refusal_to_wait(status: int, seconds: float | None) -> None:
    steps = waiting(HttpRequests(), "e1", 60)
    for _ in range(5):
        assert isinstance(next(steps), HttpRequest)
        pause = steps.send(HttpAnswer(status, {"error": "later"}, seconds))
        assert isinstance(pause, Pause)
        assert pause.seconds >= (seconds or 0.5)
    next(steps)
    assert isinstance(steps.send(HttpAnswer(200, WAITING)), Pause)


def test_outcome_without_a_wait_is_read_once() -> None:
    steps = waiting(HttpRequests(), "a/b?c é", 0)
    assert next(steps).path == "/v1/events/a%2Fb%3Fc%20%C3%A9?wait=0"
    assert value_of(steps, HttpAnswer(404, {"error": "unknown_event"})) is None
