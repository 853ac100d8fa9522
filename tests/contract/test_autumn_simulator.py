"""The Autumn simulator against recordings of the real Autumn: the same answers, the same calls to Stripe.

What the rest of the tests find out about Autumn they find out from the simulator, so this is where it is held to the
truth. Neither recordings nor schemas are copied into the repository; CONTRACT_DATA names the folder that has them.
"""

import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from sandbox.autumn import AutumnSimulator
from sandbox.faults import Fault
from sandbox.serve import serving
from tests.contract import recordings
from tests.contract.recordings import CUSTOMER_FIELDS, History, Recording
from tests.contract.scripted_stripe import ScriptedStripe

FOLDER = recordings.folder()
if FOLDER is None:
    pytest.skip("CONTRACT_DATA does not say where the recordings of Autumn are", allow_module_level=True)

_OLD_SHAPE = "the worker pins 2.3; versions below 2.0 are refused with 501 rather than shown in another shape"
_REST = "the worker calls customers.* only; the older REST routes do the same under other names"
_EXPAND = "expand is about plans and invoices, which the worker never asks for"
_RECEIPTS = "what Autumn does when an invoice is paid starts at Stripe, and no part of the worker is in it"

LEFT_OUT: dict[str, str] = {
    "008-update-noop-vbeta": _OLD_SHAPE,
    "009-update-noop-v1.2": _OLD_SHAPE,
    "010-update-noop-v1.1": _OLD_SHAPE,
    "011-update-noop-v0.2": _OLD_SHAPE,
    "012-update-noop-v0.1": _OLD_SHAPE,
    "017-update-noop-calver-2025-05-05": _OLD_SHAPE,
    "018-update-noop-calver-2025-04-17": _OLD_SHAPE,
    "019-update-noop-calver-2025-04-01": _OLD_SHAPE,
    "020-update-noop-calver-2025-02-01": _OLD_SHAPE,
    "027-update-badversion-1.4": _OLD_SHAPE,
    "211-update-rich-v1.2": _OLD_SHAPE,
    "212-update-rich-v0.2": _OLD_SHAPE,
    "210-update-rich-v2.0": "plans and balances have another shape at 2.0, and the simulator has no plans of its own",
    "099-huge-body-150mb": "the recording holds only the beginning of its body",
    "109-rest-get": _REST,
    "110-rest-patch": _REST,
    "111-rest-post-update": _REST,
    "112-rest-post-create": _REST,
    "113-rest-delete": _REST,
    "237-rest-list-get-v1.2": _REST,
    "238-rest-list-get-v2.3": _REST,
    "214-get-rich-expand": _EXPAND,
    "215-update-rich-expand-in-body": _EXPAND,
    "216-err-bad-expand": _EXPAND,
    "218-update-billing_controls-config": "billing controls and config are not among the fields the worker sends",
    "411-invoice.paid-on": _RECEIPTS,
    "413-invoice.paid-already": _RECEIPTS,
    "522-db-down-list": "its message names the port of a database; a fault switch gives the same status and code",
}
RECORDED = 171

ALL = recordings.load(FOLDER)
REPLAYED = [one for one in ALL if one.file not in LEFT_OUT]
HISTORY = History(ALL)


def test_every_recording_is_replayed_or_left_out_for_a_reason() -> None:
    files = {one.file for one in ALL}
    assert set(LEFT_OUT) <= files
    assert all(LEFT_OUT.values())
    assert len(ALL) == RECORDED
    assert len(REPLAYED) == RECORDED - len(LEFT_OUT)


@pytest.mark.parametrize("recording", REPLAYED, ids=lambda recording: recording.file)
async def test_the_simulator_answers_as_recorded(recording: Recording) -> None:
    earlier = HISTORY.with_the_same_key(recording)
    stripe = ScriptedStripe([*earlier, recording])
    async with _scene(recording, stripe) as scene:
        for one in earlier:
            await scene.send(one)
        await scene.spend_the_limit(recording)
        planted = copy.deepcopy(scene.simulator.customers)
        answer = await scene.send(recording)
        _assert_same(answer, recording)
        assert stripe.calls == stripe.expected()
        if recording.status != 200 and recording.endpoint == "update":
            assert scene.simulator.customers == planted
        look = HISTORY.look_after(recording)
        if look is not None and look.file not in LEFT_OUT:
            _assert_same(await scene.send(look), look)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass(frozen=True)
class Scene:
    """A simulator in the state that a recording began with."""

    simulator: AutumnSimulator
    session: aiohttp.ClientSession
    url: str

    async def send(self, recording: Recording) -> Answer:
        """Send the recorded request."""
        headers = {**recording.headers, **self._authorization(recording)}
        async with self.session.request(
            recording.request["method"], self.url + recording.path, data=recording.sent, headers=headers
        ) as answer:
            lowered = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, lowered, await answer.text())

    async def spend_the_limit(self, recording: Recording) -> None:
        """A refusal by the limiter comes after as many requests as it allows."""
        if recording.header("retry-after") and recording.status == 429:
            for _ in range(int(recording.header("ratelimit-limit") or 0)):
                await self.send(recording)

    def _authorization(self, recording: Recording) -> dict[str, str]:
        """The recordings hide the key; a wrong one is told by the answer, which shows its beginning."""
        if recording.headers.get("Authorization") != "Bearer am_sk_test_***":
            return {}
        if recording.answer.get("code") == "invalid_secret_key":
            shown = recording.answer["message"].rpartition(" ")[2]
            return {"Authorization": f"Bearer {shown.replace('*', 'x')}"}
        return {"Authorization": f"Bearer {self.simulator.key}"}


@asynccontextmanager
async def _scene(recording: Recording, stripe: ScriptedStripe) -> AsyncIterator[Scene]:
    async with serving(stripe.app()) as stripe_url:
        simulator = _simulator(recording, stripe_url)
        for row in HISTORY.before(stripe.recordings[0]):
            fields = {name: copy.deepcopy(row[name]) for name in CUSTOMER_FIELDS if name in row}
            internal = {"internal_id": row["autumn_id"]} if "autumn_id" in row else {}
            simulator.seed(row["id"], **fields, **internal)
        if recording.status == 503:
            simulator.switches.add(Fault("503"))
        async with serving(simulator.app()) as url, aiohttp.ClientSession() as session:
            yield Scene(simulator, session, url)


def _simulator(recording: Recording, stripe_url: str) -> AutumnSimulator:
    """The organisation that a recording was made with, as far as the recording tells."""
    calls = recording.stripe_calls
    keys = [call["headers"]["Authorization"].removeprefix("Bearer ") for call in calls]
    unconnected = "no Stripe account linked" in recording.answer.get("message", "")
    own = recording.endpoint in ("list", "get", "get_or_create")
    limit = None if own else recording.header("ratelimit-limit")
    shown = [*recording.rows, *(look.rows if (look := HISTORY.look_after(recording)) else [])]
    now_seconds = next((row["created_at"] for row in shown), 0) / 1000
    return AutumnSimulator(
        stripe_url=stripe_url,
        env=recording.env,
        stripe_key=None if unconnected else next(iter(keys), "sk_test_acme"),
        updates_per_second=int(limit or 25),
        clock=lambda: now_seconds,
        forwards_metadata=any("metadata[" in call["body"].replace("metadata[autumn_", "") for call in calls),
    )


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
        assert _canonical(json.loads(answer.text)) == _canonical(recording.answer)


def _canonical(value: Any) -> str:
    """JSON as text, because to Python True equals 1."""
    return json.dumps(value, sort_keys=True, indent=1)
