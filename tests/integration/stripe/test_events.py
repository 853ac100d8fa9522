"""The list of Stripe's events, read by the client from a server with scripted answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from jobs.errors import Absent, Halt, TryAgain
from jobs.stripe.client import ENDPOINTS, LIST_EVENTS, open_stripe
from jobs.stripe.events import EventAnswer
from sandbox.serve import serving

TYPES = ("customer.updated", "customer.deleted")
FIRST, LAST = 1_700_000_000, 1_700_003_600


def event(event_id: str, **changed: Any) -> dict[str, Any]:
    return {
        "id": event_id,
        "object": "event",
        "type": "customer.updated",
        "created": FIRST,
        "livemode": False,
        "request": {"id": "req_1", "idempotency_key": "key"},
        "data": {"object": {"id": "cus_1"}, "previous_attributes": {"name": "Ann"}},
        **changed,
    }


class Server:
    """A server that gives one answer to every request and keeps the requests."""

    def __init__(self, body: object, status: int = 200) -> None:
        self.body = body
        self.status = status
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.throttled: list[str] = []

    async def page(self, after: str = "") -> tuple[list[EventAnswer], str | None]:
        """Return a page of events by the client."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with (
            serving(app) as url,
            open_stripe(api_key="sk_test_1", base_url=url, throttle=self._throttle, timeout_seconds=60.0) as gateway,
        ):
            return await gateway.event_page(TYPES, created_gte=FIRST, created_lte=LAST, after=after)

    @asynccontextmanager
    async def _throttle(self, endpoint: str) -> AsyncIterator[None]:
        self.throttled.append(endpoint)
        yield

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path, dict(request.query)))
        return web.json_response(self.body, status=self.status)


def answer(*events: object, has_more: bool = False) -> Server:
    return Server({"object": "list", "data": list(events), "has_more": has_more})


async def test_request_names_types_times_and_cursor() -> None:
    server = answer()
    await server.page("evt_9")
    parameters = {
        "types[0]": TYPES[0],
        "types[1]": TYPES[1],
        "created[gte]": str(FIRST),
        "created[lte]": str(LAST),
        "limit": "100",
        "starting_after": "evt_9",
    }
    assert server.requests == [("GET", "/v1/events", parameters)]
    assert server.throttled == [LIST_EVENTS]
    assert LIST_EVENTS in ENDPOINTS


async def test_first_page_has_no_cursor() -> None:
    server = answer()
    assert await server.page() == ([], None)
    assert "starting_after" not in server.requests[0][2]


async def test_next_cursor_is_the_last_event_of_a_page() -> None:
    events, after = await answer(event("evt_3"), event("evt_2"), has_more=True).page()
    assert ([each.id for each in events], after) == (["evt_3", "evt_2"], "evt_2")


async def test_repeated_events_are_returned_once() -> None:
    page = answer(event("evt_2"), event("evt_2"), event("evt_1"), event("evt_1"), has_more=True)
    events, after = await page.page("evt_2")
    assert ([each.id for each in events], after) == (["evt_1"], "evt_1")


async def test_event_of_unknown_form_does_not_stop_a_page() -> None:
    strange = event("evt_2", created="soon", data={"object": ["cus_1"]})
    events, after = await answer(event("evt_3"), strange, "evt", event("evt_1"), has_more=True).page()
    assert [each.id for each in events] == ["evt_3", "evt_2", "", "evt_1"]
    assert [each.wrong for each in events] == [
        (),
        ("created", "data"),
        ("id", "type", "created", "livemode", "data"),
        (),
    ]
    assert after == "evt_1"


@pytest.mark.parametrize("events", [(), (event("evt_9"),), ("evt", None)])
async def test_page_without_a_new_event_does_not_go_on(events: tuple[object, ...]) -> None:
    with pytest.raises(TryAgain, match="the list does not go on"):
        await answer(*events, has_more=True).page("evt_9")


@pytest.mark.parametrize("body", [{}, [], {"data": {}, "has_more": False}, {"data": [], "has_more": "maybe"}])
async def test_answer_that_is_no_list_is_unexpected(body: object) -> None:
    with pytest.raises(TryAgain, match="unexpected_response"):
        await Server(body).page()


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (403, {"message": "needs the permission rak_event_read"}, Halt),
        (401, {"message": "Invalid API Key"}, Halt),
        (400, {"code": "resource_missing", "message": "No such event: evt_9", "param": "starting_after"}, Absent),
        (500, {"message": "oops"}, TryAgain),
    ],
)
async def test_refusal_is_an_error_of_a_sync(status: int, error: dict[str, str], expected: type[Exception]) -> None:
    with pytest.raises(expected):
        await Server({"error": {"type": "invalid_request_error", **error}}, status).page("evt_9")
