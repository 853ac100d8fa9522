"""Waiting for an outcome over HTTP while the server says to try again later."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest
from aiohttp import web

from sandbox.serve import serving
from tests.e2e.clients.typescript.conftest import Intake
from tests.e2e.clients.typescript.test_send import OPENED
from tests.support.intake import SHOP
from tests.support.node import NodeApp
from worker.web.api.events import WAITS_OF_SOURCE

TRY_LATER: Final = {
    "too many requests wait": (429, "rate_limited"),
    "no Redis": (503, "redis_unavailable"),
    "a proxy without a worker": (503, None),
}


@asynccontextmanager
async def answering(answers: Sequence[tuple[int, object, dict[str, str]]]) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve the outcome of the event `a`. Yield the URL and the `wait` of each request. The last answer repeats."""
    waits: list[str] = []

    async def answer_next(request: web.Request) -> web.Response:
        status, body, headers = answers[min(len(waits), len(answers) - 1)]
        waits.append(request.query["wait"])
        return web.json_response(body, status=status, headers=headers)

    app = web.Application()
    app.add_routes([web.get("/v1/events/a", answer_next)])
    async with serving(app) as url:
        yield url, waits


def waiting(seconds: float) -> str:
    """Return a script that prints the outcome of the event `a` or the error, and the seconds until then."""
    return f"""{OPENED["http"]}
        const before = Date.now();
        const outcome = await client.outcome("a", {{ waitSeconds: {seconds} }}).catch((error) => error);
        const {{ status = null, code = null, retryAfterSeconds = null }} = outcome;
        console.log(JSON.stringify([status, code, retryAfterSeconds, (Date.now() - before) / 1000]));
    """


@pytest.mark.parametrize("case", TRY_LATER)
async def test_outcome_is_read_again_after_the_time_to_wait(node_app: NodeApp, case: str) -> None:
    status, code = TRY_LATER[case]
    later = (status, {"error": code}, {"Retry-After": "1"})
    done = {"id": "a", "status": "applied"}
    async with answering([later, later, (200, done, {})]) as (url, waits):
        found, _, _, seconds = await node_app.result_of(waiting(60), SYNC_URL=url, SYNC_TOKEN=SHOP)
    assert found == "applied"
    assert waits == ["30", "30", "30"]
    assert 2 <= seconds < 30


@pytest.mark.parametrize("case", TRY_LATER)
async def test_last_error_is_thrown_when_the_wait_is_over(node_app: NodeApp, case: str) -> None:
    status, code = TRY_LATER[case]
    async with answering([(status, {"error": code}, {"Retry-After": "3600"})]) as (url, waits):
        error = await node_app.result_of(waiting(1.9), SYNC_URL=url, SYNC_TOKEN=SHOP)
    assert error[:3] == [None, code or "unexpected_answer", 3600]
    # The server counts only requests that wait, so the last one does not.
    assert (waits[0], set(waits[1:])) == ("1", {"0"})
    assert 1.9 <= error[3] < 30


async def test_error_without_time_to_wait_is_not_repeated_at_once(node_app: NodeApp) -> None:
    async with answering([(503, None, {})]) as (url, waits):
        error = await node_app.result_of(waiting(1.9), SYNC_URL=url, SYNC_TOKEN=SHOP)
    assert error[:2] == [None, "unexpected_answer"]
    assert 2 <= len(waits) <= 6


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_other_error_ends_the_wait(node_app: NodeApp, status: int) -> None:
    async with answering([(status, {"error": "another"}, {"Retry-After": "1"})]) as (url, waits):
        error = await node_app.result_of(waiting(60), SYNC_URL=url, SYNC_TOKEN=SHOP)
    assert error[:2] == [None, "another"]
    assert waits == ["30"]


async def test_more_outcomes_are_read_than_the_server_lets_wait(node_app: NodeApp, services: Intake) -> None:
    script = f"""{OPENED["http"]}
        const id = await client.send({{ customer_id: "user_42", changes: {{ name: "Ann" }} }});
        const reads = Array.from({{ length: {WAITS_OF_SOURCE + 8} }}, () => client.outcome(id, {{ waitSeconds: 3 }}));
        const found = await Promise.all(reads.map((read) => read.catch((error) => error)));
        console.log(JSON.stringify([...new Set(found.map(({{ status, code }}) => status ?? code))]));
    """
    assert await node_app.result_of(script, **services.variables) == ["waiting"]
