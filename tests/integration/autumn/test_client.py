"""The client of Autumn against a server that answers like Autumn, and one that does not answer at all."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from jobs.autumn.client import AutumnClient, open_autumn
from jobs.autumn.errors import LATE_SECONDS, error_from
from jobs.errors import GiveUp, SyncError, TryAgain
from sandbox.serve import serving

DATA = Path(__file__).parents[2] / "data" / "autumn"
KEY = "am_sk_test_integration"


def rows(file: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads((DATA / file).read_text())}


CUSTOMER = rows("customers.json")["today's answer, with more fields"]
NAMELESS = rows("customers.json")["nothing but an e-mail"]
FIRST_PAGE = rows("pages.json")["the first page"]
ERRORS = rows("errors.json")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Autumn:
    """A server that records its requests and answers as the test chooses."""

    handler: Handler
    paths: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.paths.append(request.path)
        self.headers.append(request.headers)
        self.bodies.append(await request.read())
        self.connections.add(request.transport.get_extra_info("peername"))
        return await self.handler(request)


def answering(row: Mapping[str, Any]) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        text = row["text"] if "text" in row else json.dumps(row["json"])
        return web.Response(status=row["status"], headers=row["headers"], body=text.encode())

    return answer


@asynccontextmanager
async def autumn_of(
    handler: Handler, *, timeout_seconds: float = 60, max_connections: int = 20
) -> AsyncIterator[tuple[Autumn, AutumnClient]]:
    server = Autumn(handler)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    async with (
        serving(app) as url,
        open_autumn(
            base_url=url, secret_key=KEY, timeout_seconds=timeout_seconds, max_connections=max_connections
        ) as client,
    ):
        yield server, client


async def failed(call: Awaitable[object]) -> TryAgain:
    with pytest.raises(TryAgain) as raised:
        await call
    return raised.value


async def test_update_sends_changes_key_and_version_and_returns_the_customer() -> None:
    async with autumn_of(answering(CUSTOMER)) as (server, client):
        customer = await client.update("user_1", {"email": "ann@example.com", "name": None})

    assert (customer.id, customer.email) == ("user_1", "ann@example.com")
    assert server.paths == ["/v1/customers.update"]
    assert json.loads(server.bodies[0]) == {"customer_id": "user_1", "email": "ann@example.com", "name": None}
    (headers,) = server.headers
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["x-api-version"] == "2.3.0"
    assert (headers["Content-Type"], headers["Accept-Encoding"]) == ("application/json", "gzip")
    assert not {"idempotency-key", "x-skip-cache", "transfer-encoding"} & {name.lower() for name in headers}


async def test_get_reads_the_cache_that_writes_keep_current() -> None:
    async with autumn_of(answering(CUSTOMER)) as (server, client):
        customer = await client.get("user_1")

    assert customer.stripe_id == "cus_ann0001"
    assert (server.paths, "x-skip-cache" in server.headers[0]) == (["/v1/customers.get"], False)
    assert json.loads(server.bodies[0]) == {"customer_id": "user_1"}


async def test_list_page_begins_at_the_cursor() -> None:
    async with autumn_of(answering(FIRST_PAGE)) as (server, client):
        page = await client.list_page()
        await client.list_page("cursor-1", limit=2)

    assert [customer.id for customer in page.list] == ["user_1", None]
    assert server.paths == ["/v1/customers.list"] * 2
    assert [json.loads(body) for body in server.bodies] == [
        {"start_cursor": "", "limit": 1000},
        {"start_cursor": "cursor-1", "limit": 2},
    ]


@pytest.mark.parametrize("name", ["Jörg 🦊", "half a pair \ud800", 'quote " and \\ and \u2028', "nul \x00"])
async def test_any_text_reaches_autumn_unchanged(name: str) -> None:
    async with autumn_of(answering(CUSTOMER)) as (server, client):
        await client.update("user_1", {"name": name})

    assert json.loads(server.bodies[0])["name"] == name


async def test_number_that_json_cannot_express_is_refused_before_sending() -> None:
    async with autumn_of(answering(CUSTOMER)) as (server, client):
        with pytest.raises(GiveUp, match="not_json"):
            await client.update("user_1", {"metadata": {"ratio": float("nan")}})

    assert server.paths == []


@pytest.mark.parametrize("row", [CUSTOMER, NAMELESS], ids=["another", "without an id"])
async def test_answer_about_another_customer_is_refused(row: Mapping[str, Any]) -> None:
    async with autumn_of(answering(row)) as (_, client):
        for call in (client.get("cus_internal1"), client.update("cus_internal1", {})):
            with pytest.raises(GiveUp, match="other_customer"):
                await call


@pytest.mark.parametrize("name", ERRORS)
async def test_error_is_translated(name: str) -> None:
    row = ERRORS[name]
    body = row["text"] if "text" in row else json.dumps(row["json"])
    expected = error_from(row["status"], row["headers"], body.encode(), writing=True)

    async with autumn_of(answering(row)) as (_, client):
        with pytest.raises(SyncError) as raised:
            await client.update("user_1", {})

    assert type(raised.value) is type(expected)
    assert vars(raised.value) == vars(expected)


@pytest.mark.parametrize(
    ("answer", "text", "may_land"),
    [
        ({"text": "<html>Welcome</html>"}, "the answer: should be JSON", True),
        ({"text": ""}, "the answer: should be JSON", True),
        ({"json": [CUSTOMER["json"]]}, "the answer: should be an object", True),
        ({"json": {"status": "maintenance"}}, "id: field required", True),
        ({"json": {**CUSTOMER["json"], "email": 7}}, "email: should be a string", False),
    ],
)
async def test_unexpected_answer_is_retried_and_names_the_field(
    answer: Mapping[str, Any], text: str, *, may_land: bool
) -> None:
    async with autumn_of(answering({"status": 200, "headers": {}, **answer})) as (_, client):
        updating = await failed(client.update("user_1", {}))
        reading = await failed(client.get("user_1"))

    assert (updating.code, updating.message.split(";")[0], updating.maybe_applied) == (
        "unexpected_response",
        text,
        True,
    )
    assert updating.may_land_for_seconds == (LATE_SECONDS if may_land else 0)
    assert (reading.code, reading.maybe_applied, reading.may_land_for_seconds) == ("unexpected_response", False, 0)


async def test_odd_detail_is_named_and_stops_nothing() -> None:
    odd = {**CUSTOMER["json"], "balances": {"messages": {"granted": "9"}}, "purchases": [None]}
    async with autumn_of(answering({"status": 200, "headers": {}, "json": odd})) as (_, client):
        answers = [
            await client.update("user_1", {}),
            await client.get("user_1"),
            await client.get_or_create("user_1"),
        ]

    for answer in answers:
        assert (answer.id, answer.email) == ("user_1", "ann@example.com")
        assert {"purchases.0", "balances.messages.granted"} <= set(answer.oddities)


async def test_timed_out_update_may_have_been_applied() -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        return await asyncio.Future()

    async with autumn_of(never, timeout_seconds=2) as (_, client):
        updating = await failed(client.update("user_1", {}))
        reading = await failed(client.get("user_1"))

    assert (updating.code, updating.maybe_applied) == ("timeout", True)
    assert updating.may_land_for_seconds == LATE_SECONDS
    assert (reading.code, reading.maybe_applied, reading.may_land_for_seconds) == ("timeout", False, 0)


async def test_slow_body_exceeds_the_time_out_of_the_call() -> None:
    gone = asyncio.Event()

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while not gone.is_set():
            await response.write(b" ")
            with suppress(TimeoutError):
                await asyncio.wait_for(gone.wait(), timeout=0.05)
        return response

    async with autumn_of(trickle, timeout_seconds=2) as (_, client):
        error = await failed(client.update("user_1", {}))
        gone.set()

    assert (error.code, error.maybe_applied) == ("timeout", True)


@pytest.mark.parametrize("begun", [False, True], ids=["before", "within"])
async def test_update_on_a_cut_connection_may_have_been_applied(*, begun: bool) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        if begun:
            await response.prepare(request)
            await response.write(json.dumps(CUSTOMER["json"]).encode()[:100])
        request.transport.close()
        return response

    async with autumn_of(cut) as (server, client):
        error = await failed(client.update("user_1", {}))

    assert (error.code, error.maybe_applied) == ("connection_lost", True)
    assert error.may_land_for_seconds == LATE_SECONDS
    assert len(server.paths) == 1  # the transport has not repeated it


async def test_answer_in_another_encoding_than_named_is_retried() -> None:
    async def misnamed(_: web.Request) -> web.StreamResponse:
        return web.Response(headers={"Content-Encoding": "gzip"}, body=b"no gzip")

    async with autumn_of(misnamed) as (_, client):
        error = await failed(client.get("user_1"))

    assert (error.code, error.maybe_applied) == ("connection_lost", False)


async def test_answer_that_is_not_http_is_retried() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example.com ESMTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, open_autumn(base_url=f"http://127.0.0.1:{port}", secret_key=KEY) as client:
        error = await failed(client.update("user_1", {}))

    assert (error.code, error.maybe_applied) == ("connection_lost", True)


async def test_refused_connection_has_applied_nothing() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        # Bound but not listening: the port refuses, and no other process can take it.
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with open_autumn(base_url=url, secret_key=KEY) as client:
            error = await failed(client.update("user_1", {}))

    assert (error.code, error.maybe_applied, error.may_land_for_seconds) == ("no_connection", False, 0)


async def test_fifty_calls_at_once_share_the_connections() -> None:
    limit, at_once, most = 20, 0, 0
    full = asyncio.Event()

    async def together(request: web.Request) -> web.StreamResponse:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if at_once == limit:
            full.set()
        await full.wait()
        at_once -= 1
        return await answering(CUSTOMER)(request)

    async with autumn_of(together, max_connections=limit) as (server, client):
        for _ in range(3):
            await asyncio.gather(*(client.update("user_1", {}) for _ in range(50)))

    assert len(server.paths) == 150
    assert most == limit
    assert len(server.connections) == limit


async def test_long_wait_for_a_connection_has_applied_nothing() -> None:
    arrived, done = asyncio.Event(), asyncio.Event()

    async def hold(request: web.Request) -> web.StreamResponse:
        arrived.set()
        await done.wait()
        return await answering(CUSTOMER)(request)

    async with autumn_of(hold, timeout_seconds=2, max_connections=1) as (server, client):
        first = asyncio.create_task(failed(client.update("user_1", {})))
        await arrived.wait()
        second = await failed(client.update("user_2", {}))
        await first
        done.set()

    assert (second.code, second.maybe_applied) == ("no_connection", False)
    assert len(server.paths) == 1
