"""Every answer of a service gives a result or an error of ours, also if it is fuzzed, huge or a redirect."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.autumn.client import ANSWER_BYTES_MAX as AUTUMN_BYTES_MAX
from jobs.autumn.client import AutumnClient, open_autumn
from jobs.errors import Halt, SyncError, TryAgain
from jobs.plan.steps import UpdateStripe
from jobs.stripe.client import StripeGateway, open_stripe
from sandbox.serve import serving
from tests.integration.autumn.test_client import CUSTOMER, FIRST_PAGE
from tests.support.examples import examples

STRIPE_CUSTOMER = {
    "id": "cus_1",
    "object": "customer",
    "name": "Ann",
    "email": "ann@example.com",
    "livemode": False,
    "metadata": {"autumn_id": "user_1"},
}
PAYMENT = {
    "id": "pi_1",
    "status": "succeeded",
    "receipt_email": None,
    "metadata": {},
    "latest_charge": {"id": "ch_1", "created": 1_700_000_000},
}
ERROR = {"error": {"type": "invalid_request_error", "code": "resource_missing", "message": "No such customer"}}
WELL_FORMED: list[Any] = [
    CUSTOMER["json"],
    FIRST_PAGE["json"],
    STRIPE_CUSTOMER,
    {"object": "list", "data": [STRIPE_CUSTOMER], "has_more": False},
    {"object": "list", "data": [PAYMENT], "has_more": True},
    ERROR,
    {"message": "no", "code": "stripe_error", "env": "sandbox"},
]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars, lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(st.text(max_size=8), deeper, max_size=3)
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Draw a well-formed answer with one part replaced by anything or removed."""
    answer = json.loads(json.dumps(draw(st.sampled_from(WELL_FORMED))))
    part: Any = answer
    while True:
        key = draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
        if isinstance(part[key], dict | list) and part[key] and draw(st.booleans()):
            part = part[key]
            continue
        if draw(st.booleans()):
            part[key] = draw(anything)
        else:
            del part[key]
        return json.dumps(answer).encode()


@dataclass
class Answer:
    """The server's next answer."""

    status: int = 200
    headers: dict[str, str] | None = None
    body: bytes = b""


answers = st.builds(
    Answer,
    status=st.just(200) | st.sampled_from([200, 201, 204, 302, 304, 400, 401, 402, 403, 404, 409, 422, 429, 500, 503]),
    headers=st.fixed_dictionaries(
        {},
        optional={
            "Retry-After": st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=9),
            "Content-Type": st.sampled_from(["application/json", "text/html", "nonsense"]),
            "Stripe-Rate-Limited-Reason": st.sampled_from(["global-rate", "endpoint-rate", "new-kind"]),
            "Stripe-Should-Retry": st.sampled_from(["true", "false", "maybe"]),
        },
    ),
    body=mutated() | anything.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200),
)


@dataclass
class Clients:
    """Both clients of one server, and the server's next answer."""

    says: Answer
    autumn: AutumnClient
    stripe: StripeGateway

    def calls(self) -> list[Callable[[], Awaitable[object]]]:
        """Return a call for every kind of answer that the clients parse."""
        return [
            lambda: self.autumn.get("user_1"),
            lambda: self.autumn.update("user_1", {"name": "Ann"}),
            lambda: self.autumn.get_or_create("user_1"),
            self.autumn.list_page,
            lambda: self.stripe.retrieve("cus_1"),
            lambda: self.stripe.find_ours("user_1", None),
            lambda: self.stripe.create("user_1", 0, lambda: None),
            lambda: self.stripe.update(UpdateStripe("cus_1", name="Ann"), "autumn:key", lambda: None),
            lambda: self.stripe.payments("cus_1", with_charges=True),
            lambda: self.stripe.payment("pi_1"),
        ]


@asynccontextmanager
async def clients_of(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[Clients]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with (
        serving(app) as url,
        open_autumn(base_url=url, secret_key="am_sk_test_x", timeout_seconds=10) as autumn,
        open_stripe(api_key="sk_test_x", base_url=url, throttle=lambda _: nullcontext(), timeout_seconds=10) as stripe,
    ):
        yield Clients(Answer(), autumn, stripe)


@settings(max_examples=examples(30))
@given(st.lists(answers, min_size=1, max_size=5))
def test_any_answer_is_parsed_or_raises_our_error(said: list[Answer]) -> None:
    async def run() -> None:
        now = Answer()

        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=now.status, headers=now.headers, body=now.body)

        async with clients_of(answer) as deps:
            for now in said:  # noqa: B007 - the server's next answer
                ends = await asyncio.gather(*(call() for call in deps.calls()), return_exceptions=True)
                for end in ends:
                    assert isinstance(end, SyncError) or not isinstance(end, BaseException), repr(end)
                    assert not isinstance(end, SyncError) or len(end.code) <= 64
                    assert "_test_x" not in str(end)

    asyncio.run(run())


CALLS = range(10)


@pytest.mark.parametrize("which", CALLS)
async def test_redirect_is_not_followed_with_the_key(which: int) -> None:
    elsewhere: list[web.Request] = []

    async def receive(request: web.Request) -> web.Response:
        elsewhere.append(request)
        return web.Response()

    other = web.Application()
    other.router.add_route("*", "/{path:.*}", receive)

    async with serving(other) as other_url:

        async def redirect(_: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": f"{other_url}/v1/customers"})

        async with clients_of(redirect) as deps:
            with pytest.raises(Halt, match="redirect"):
                await deps.calls()[which]()
    assert elsewhere == []


@pytest.mark.parametrize("which", CALLS)
async def test_endless_answer_is_cut_off(which: int) -> None:
    megabyte = b" " * 1024 * 1024
    sent = 0

    async def pour(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(megabyte)
                sent += 1
        except ConnectionError:
            return response

    async with clients_of(pour) as deps:
        with pytest.raises(TryAgain) as raised:
            await deps.calls()[which]()
    assert raised.value.code == "unexpected_response"
    assert sent < 100


async def test_decompression_bomb_is_cut_off() -> None:
    bomb = gzip.compress(b" " * (AUTUMN_BYTES_MAX + 1))

    async def explode(_: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with clients_of(explode) as deps:
        for call in deps.calls():
            with pytest.raises(TryAgain) as raised:
                await call()
            assert raised.value.code == "unexpected_response"


async def test_unreadable_reason_phrase_is_a_lost_answer() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Servi\xe7o indispon\xedvel\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, open_autumn(base_url=url, secret_key="am_sk_test_x") as autumn:
        with pytest.raises(TryAgain) as raised:
            await autumn.update("user_1", {"name": "Ann"})
    assert (raised.value.code, raised.value.maybe_applied) == ("connection_lost", True)
