"""The Autumn simulator against the recordings of the real Autumn, byte for byte: the answers and the calls to Stripe.

The recordings are not part of this repository; `CONTRACT_DATA` names their folder.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.autumn.models import UpdateCustomerResponse
from tests.contract import recordings
from tests.contract.facts import LEFT_OUT
from tests.contract.recordings import History, Recording
from tests.contract.replay import Answer, replay

RECORDED = 171
CUSTOMERS = 120
VERSIONS = {"2.1", "2.2", "2.3", "2.3.0", "2026-03-17", "2026-03-18", "2026-05-13"}
"""The versions with the shape of the twelve fields. A date is another name of a version."""

ALL = recordings.load(recordings.folder() or Path())
REPLAYED = [one for one in ALL if one.file not in LEFT_OUT]
HISTORY = History(ALL)


def test_each_recording_is_replayed_or_left_out_for_a_reason() -> None:
    assert len(ALL) == RECORDED
    assert set(LEFT_OUT) <= {one.file for one in ALL}
    assert len(REPLAYED) == RECORDED - len(LEFT_OUT)


@pytest.mark.parametrize("recording", REPLAYED, ids=lambda recording: recording.file)
async def test_simulator_answers_as_recorded(recording: Recording) -> None:
    exchange = HISTORY.exchange(recording)
    after = HISTORY.get_after(recording)

    replayed = await replay(exchange)

    _assert_same(replayed.answer, recording)
    assert replayed.stripe_calls == exchange.stripe_calls
    if recording.status != 200 and recording.endpoint == "update":
        assert replayed.unchanged
    if after is not None and after.file not in LEFT_OUT:
        assert replayed.after is not None
        _assert_same(replayed.after, after)


def test_model_accepts_each_recorded_customer() -> None:
    found = [
        row for one in ALL if one.headers.get("x-api-version") in VERSIONS and one.status == 200 for row in one.rows
    ]

    for customer in found:
        UpdateCustomerResponse.model_validate_json(json.dumps(customer))
    assert len(found) >= CUSTOMERS


def _assert_same(answer: Answer, recording: Recording) -> None:
    assert answer.status == recording.status, answer.text
    assert answer.headers["content-type"] == recording.header("content-type")
    for name in ("ratelimit-limit", "ratelimit-policy", "retry-after"):
        recorded = recording.header(name)
        if recorded is not None:
            assert (name, answer.headers.get(name)) == (name, recorded)
    if recording.response.get("json") is None:
        assert answer.text == recording.response["text"]
    else:
        assert _canonical(answer.json) == _canonical(recording.answer)


def _canonical(value: Any) -> str:
    """Return JSON as text, because in Python True equals 1."""
    return json.dumps(value, sort_keys=True, indent=1)
