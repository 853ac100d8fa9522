"""Waiting for an outcome over HTTP while the server says to try again later."""

from typing import Final

import pytest

from tests.e2e.clients.typescript.conftest import Intake
from tests.e2e.clients.typescript.test_send import OPENED
from tests.support.intake import SHOP
from tests.support.node import NodeApp
from tests.support.scripted import Answer, scripted
from worker.web.api.events import WAITS_OF_SOURCE

TRY_LATER: Final = {
    "too many requests wait": (429, "rate_limited"),
    "no Redis": (503, "redis_unavailable"),
    "a proxy without a worker": (503, None),
}


def read(wait: str) -> str:
    """Return the request for the outcome of the event `a`."""
    return f"GET /v1/events/a?wait={wait}"


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
    later: Answer = (status, {"error": code}, {"Retry-After": "1"})
    done: Answer = (200, {"id": "a", "status": "applied"}, {})
    async with scripted(later, later, done) as server:
        found, _, _, seconds = await node_app.result_of(waiting(60), SYNC_URL=server.url, SYNC_TOKEN=SHOP)
    assert found == "applied"
    assert server.requests == [read("30")] * 3
    assert 2 <= seconds < 30


@pytest.mark.parametrize("case", TRY_LATER)
async def test_last_error_is_thrown_when_the_wait_is_over(node_app: NodeApp, case: str) -> None:
    status, code = TRY_LATER[case]
    later: Answer = (status, {"error": code}, {"Retry-After": "3600"})
    async with scripted(later, repeats_last=True) as server:
        error = await node_app.result_of(waiting(7.9), SYNC_URL=server.url, SYNC_TOKEN=SHOP)
    assert error[:3] == [None, code or "unexpected_answer", 3600]
    # The server counts only requests that wait, so the last one does not.
    assert (server.requests[0], set(server.requests[1:])) == (read("7"), {read("0")})
    assert 7.9 <= error[3] < 120


async def test_error_without_time_to_wait_is_not_repeated_at_once(node_app: NodeApp) -> None:
    async with scripted((503, None, {}), repeats_last=True) as server:
        error = await node_app.result_of(waiting(7.9), SYNC_URL=server.url, SYNC_TOKEN=SHOP)
    assert error[:2] == [None, "unexpected_answer"]
    assert 2 <= len(server.requests) <= 20


@pytest.mark.parametrize("status", [400, 401, 500])
async def test_other_error_ends_the_wait(node_app: NodeApp, status: int) -> None:
    another: Answer = (status, {"error": "another"}, {"Retry-After": "1"})
    async with scripted(another, repeats_last=True) as server:
        error = await node_app.result_of(waiting(60), SYNC_URL=server.url, SYNC_TOKEN=SHOP)
    assert error[:2] == [None, "another"]
    assert server.requests == [read("30")]


async def test_more_outcomes_are_read_than_the_server_lets_wait(node_app: NodeApp, services: Intake) -> None:
    script = f"""{OPENED["http"]}
        const id = await client.send({{ customer_id: "user_42", changes: {{ name: "Ann" }} }});
        const reads = Array.from({{ length: {WAITS_OF_SOURCE + 8} }}, () => client.outcome(id, {{ waitSeconds: 10 }}));
        const found = await Promise.all(reads.map((read) => read.catch((error) => error)));
        console.log(JSON.stringify([...new Set(found.map(({{ status, code }}) => status ?? code))]));
    """
    assert await node_app.result_of(script, **services.variables) == ["waiting"]
