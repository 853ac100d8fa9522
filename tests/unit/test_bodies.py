"""Bodies of POST /v1/events that are large or made to be expensive."""

import json
import tracemalloc
from typing import Any

import pytest

from autumn_sync_client.faults import FAULTS_MAX
from jobs.events import CHANGES_MAX_BYTES
from worker.web.api.bodies import EVENTS_AT_MOST, FAULTS_AT_MOST, read_events
from worker.web.api.events import BODY_BYTES
from worker.web.api.refusals import RefusalError

MEMORY_AT_MOST = 64 * 1024 * 1024


def refusal_of(body: bytes) -> dict[str, Any]:
    with pytest.raises(RefusalError) as caught:
        read_events(body, "shop")
    answer: dict[str, Any] = json.loads(caught.value.response().body)  # type: ignore[arg-type]  # it is bytes
    return answer


def body_of(value: str) -> bytes:
    """Return the largest body of one event whose metadata is a list of these values."""
    head, tail = '{"customer_id":"ann","changes":{"metadata":{"list":[', "]}}}"
    number = (BODY_BYTES - len(head) - len(tail)) // (len(value) + 1)
    return f"{head}{','.join([value] * number)}{tail}".encode()


@pytest.mark.parametrize("value", ["[]", '{"a":0}', "0", '""'])
def test_expensive_event_is_refused_in_little_memory(value: str) -> None:
    body = body_of(value)
    tracemalloc.start()
    try:
        answer = refusal_of(body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MEMORY_AT_MOST
    (fault,) = answer["fields"]
    assert fault["field"] == "changes"
    assert fault["message"].endswith(f"bytes long; at most {CHANGES_MAX_BYTES} are allowed")


def test_size_of_changes_is_that_of_their_characters_not_of_their_escapes() -> None:
    text = "\u044f" * (CHANGES_MAX_BYTES // 2 - 20)
    body = json.dumps({"customer_id": "ann", "changes": {"name": text}}).encode()
    assert len(body) > CHANGES_MAX_BYTES * 2
    (fields,) = read_events(body, "shop")
    assert len(fields["changes"].encode()) <= CHANGES_MAX_BYTES


def test_wrong_field_is_named_beside_changes_that_are_no_object() -> None:
    for changes in (None, "x", [0], 7):
        body = json.dumps([{"customer_id": "ann", "changes": changes, "pad": "x" * CHANGES_MAX_BYTES}]).encode()
        assert refusal_of(body)["error"] == "invalid_events"


def test_half_a_surrogate_pair_in_a_large_body_is_a_fault() -> None:
    event = {"customer_id": "ann", "changes": {"name": "\ud800"}}
    body = json.dumps([event] * EVENTS_AT_MOST).encode().ljust(CHANGES_MAX_BYTES + 1)
    (first, *_) = refusal_of(body)["fields"]
    assert first["field"] == "changes.name"


@pytest.mark.parametrize(("unknown", "is_cut"), [(99, False), (150, True)])
def test_answer_says_if_more_may_be_wrong_than_it_lists(unknown: int, is_cut: bool) -> None:
    wrong = {"customer_id": "ann", "changes": {f"field_{number}": 1 for number in range(unknown)}}
    answer = refusal_of(json.dumps([wrong, {"customer_id": "a b", "changes": {"name": "Ann"}}]).encode())
    assert len(answer["fields"]) == min(unknown, FAULTS_MAX) + 1
    assert ("More may be wrong than is listed." in answer["message"]) == is_cut


def test_answer_that_lists_as_many_faults_as_it_can_says_so() -> None:
    answer = refusal_of(json.dumps([{"customer_id": "ann", "changes": {"emial": 1}}] * EVENTS_AT_MOST).encode())
    assert len(answer["fields"]) == FAULTS_AT_MOST
    assert "More may be wrong than is listed." in answer["message"]
