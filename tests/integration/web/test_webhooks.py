"""Stripe's webhooks over HTTP: signature, size, what is answered when, and the log without values."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import ClientSession
from pydantic import SecretStr
from redis.asyncio import Redis
from structlog.testing import capture_logs

from jobs.stripe.events import EventAnswer
from sandbox.serve import serving
from tests.support.processes import free_port
from worker.loops.heartbeat import Heartbeat
from worker.status.shared_state import SharedState
from worker.telemetry.metrics import Metrics
from worker.web.server import FORM_BYTES, make_app
from worker.web.webhooks import EVENT_BYTES, PATH, Act, webhooks_of

OLD, NEW = "whsec_old", "whsec_new"
HIDDEN = "ann@hidden.example"


def body_of(event_id: str = "evt_1", size: int = 0) -> bytes:
    customer = {"id": "cus_1", "object": "customer", "email": HIDDEN, "metadata": {"filler": ""}}
    event = {
        "id": event_id,
        "object": "event",
        "type": "customer.updated",
        "created": 1_700_000_000,
        "livemode": False,
        "request": {"id": None, "idempotency_key": None},
        "data": {"object": customer, "previous_attributes": {"email": None}},
    }
    customer["metadata"] = {"filler": "x" * max(0, size - len(json.dumps(event)))}
    return json.dumps(event).encode()


def signed(body: bytes, secret: str = NEW, at: float | None = None) -> dict[str, str]:
    seconds = int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={seconds},v1={digest}"}


@dataclass
class Endpoint:
    """The served application, and the ids of the events that were acted on."""

    http: ClientSession
    url: str = ""
    acted: list[str] = field(default_factory=list)

    async def send(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        async with self.http.post(self.url + PATH, data=body, headers=headers) as answer:
            return answer.status, await answer.text()

    async def note(self, event: EventAnswer) -> None:
        self.acted.append(event.id)


async def no_state() -> SharedState | None:
    return None


@asynccontextmanager
async def endpoint(act: Act | None = None, *, secrets: tuple[str, ...] = (OLD, NEW)) -> AsyncIterator[Endpoint]:
    async with ClientSession() as http:
        found = Endpoint(http)
        hooks = webhooks_of([SecretStr(secret) for secret in secrets], act or found.note)
        metrics = Metrics()
        async with serving(make_app(Heartbeat(metrics.lagged), no_state, metrics, add_more=hooks)) as found.url:
            yield found


@pytest.mark.parametrize("secret", [OLD, NEW])
async def test_signed_event_is_acted_on_before_the_answer(secret: str) -> None:
    async with endpoint() as stripe:
        body = body_of()
        assert (await stripe.send(body, signed(body, secret)))[0] == 200
        assert stripe.acted == ["evt_1"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Stripe-Signature": ""},
        {"Stripe-Signature": "t=1,v1=\u00e4"},
        signed(body_of("evt_2")),
        signed(body_of(), "whsec_of_another_endpoint"),
        signed(body_of(), at=time.time() - 3600),
    ],
)
async def test_event_without_valid_signature_is_refused(headers: Mapping[str, str]) -> None:
    async with endpoint() as stripe:
        status, text = await stripe.send(body_of(), headers)
        assert (status, stripe.acted) == (400, [])
        assert len(text) < 200
        assert HIDDEN not in text


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"object": "customer"}', b"\xff\xfe"])
async def test_signed_body_that_is_no_event_is_refused(body: bytes) -> None:
    async with endpoint() as stripe:
        assert (await stripe.send(body, signed(body)))[0] == 400
        assert stripe.acted == []


async def test_route_exists_only_with_secrets() -> None:
    async with endpoint(secrets=()) as stripe:
        assert (await stripe.send(body_of(), signed(body_of())))[0] == 404
    assert webhooks_of([SecretStr(NEW)], None) == [], "no process without a watch receives events"


async def test_only_this_route_reads_large_bodies() -> None:
    async with endpoint() as stripe:
        full = body_of(size=EVENT_BYTES)
        assert len(full) == EVENT_BYTES
        assert (await stripe.send(full, signed(full)))[0] == 200
        over = body_of(size=EVENT_BYTES + 1)
        assert (await stripe.send(over, signed(over)))[0] == 413
        async with stripe.http.post(f"{stripe.url}/healthz", data=b"x" * (FORM_BYTES + 1)) as answer:
            assert answer.status == 413
        assert stripe.acted == ["evt_1"]


async def test_only_post_is_accepted() -> None:
    async with endpoint() as stripe, stripe.http.get(stripe.url + PATH) as answer:
        assert answer.status == 405


async def test_event_is_sent_again_while_redis_is_away() -> None:
    async with Redis.from_url(f"redis://127.0.0.1:{free_port()}/0") as away:

        async def act(event: EventAnswer) -> None:
            await away.set(event.id, "1")

        async with endpoint(act) as stripe:
            status, text = await stripe.send(body_of(), signed(body_of()))
            assert (status, text) == (503, "The event could not be stored. Send it again.\n")


async def test_answer_waits_for_redis(redis: Redis) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def act(event: EventAnswer) -> None:
        begun.set()
        await may_end.wait()
        await redis.set(event.id, "1")

    async with endpoint(act) as stripe, asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(stripe.send(body_of(), signed(body_of())))
        await begun.wait()
        assert not answer.done()
        may_end.set()
        assert (await answer)[0] == 200
        assert await redis.get("evt_1") == b"1"


async def test_fault_of_this_software_is_logged_without_its_message() -> None:
    async def act(event: EventAnswer) -> None:
        raise KeyError(event.data and event.data.object["email"])

    with capture_logs() as logs:
        async with endpoint(act) as stripe:
            status, text = await stripe.send(body_of(), signed(body_of()))
    assert status == 500
    assert [line["event"] for line in logs] == ["webhook_failed"]
    assert HIDDEN not in text + str(logs)


async def test_each_reason_of_refusals_is_logged_once_in_ten_minutes() -> None:
    refused: dict[str, Any] = {"body": body_of(), "headers": signed(body_of(), "whsec_of_another_endpoint")}
    with capture_logs() as logs:
        async with endpoint() as stripe:
            for _ in range(3):
                await stripe.send(**refused)
            await stripe.send(body_of(), signed(body_of()))
            await stripe.send(**refused)
            await stripe.send(body_of(), {})
    assert [line["event"] for line in logs] == ["webhook_refused"] * 2
    assert not any(secret in str(logs) for secret in ("whsec", HIDDEN, "evt_1", "cus_1"))
